//! The contract of the wake-up channel, run against both implementations.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use secrecy::SecretString;
use sqlx::PgConnection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_queue::{JobId, LaneId, NewJob, Options, RedisWake, Wake, WakeToken};
use switchyard_store::{DbConfig, PgWake, Scope};
use switchyard_tests::{TestDb, redis_url};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// One channel that several programs share.
trait Channel: Send {
    /// A program's end of it.
    fn open(&self) -> Arc<dyn Wake>;
    /// Breaks every connection of the channel, on the server's side; gives how many.
    async fn cut(&mut self) -> usize;
}

struct Pg {
    test: TestDb,
    owner: PgConnection,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl Pg {
    async fn new() -> Self {
        let test = TestDb::new().await;
        let owner = test.owner().await;
        let stop = CancellationToken::new();
        Self { test, owner, _guard: stop.clone().drop_guard(), stop }
    }
}

impl Channel for Pg {
    fn open(&self) -> Arc<dyn Wake> {
        PgWake::start(&DbConfig::new(self.test.url.clone()), self.stop.clone()).unwrap()
    }

    async fn cut(&mut self) -> usize {
        let cut: Vec<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database()
               and application_name in ('switchyard listen', 'switchyard notify')",
        )
        .fetch_all(&mut self.owner)
        .await
        .unwrap();
        cut.len()
    }
}

/// A user of its own, because `CLIENT KILL USER` is the one way to cut exactly these connections.
struct Redis {
    url: String,
    user: String,
    admin: redis::aio::MultiplexedConnection,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl Redis {
    async fn new() -> Self {
        let user = format!("wake-{}", Uuid::new_v4().simple());
        let client = redis::Client::open(redis_url()).unwrap();
        let mut admin = client.get_multiplexed_async_connection().await.unwrap();
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER").arg(&user).arg(&["on", ">pw", "~*", "&*", "+@all"]);
        acl.exec_async(&mut admin).await.unwrap();
        let mut url = reqwest::Url::parse(&redis_url()).unwrap();
        url.set_username(&user).unwrap();
        url.set_password(Some("pw")).unwrap();
        let stop = CancellationToken::new();
        Self { url: url.into(), user, admin, _guard: stop.clone().drop_guard(), stop }
    }
}

impl Channel for Redis {
    fn open(&self) -> Arc<dyn Wake> {
        let prefix = format!("{}:", self.user);
        RedisWake::start(&self.url, &prefix, self.stop.clone()).unwrap()
    }

    async fn cut(&mut self) -> usize {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("USER").arg(&self.user);
        kill.query_async(&mut self.admin).await.unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let user = self.user.clone();
        let clean = std::thread::spawn(move || {
            let mut connection = redis::Client::open(redis_url())?.get_connection()?;
            redis::cmd("ACL").arg("DELUSER").arg(user).exec(&mut connection)
        });
        let _ = clean.join();
    }
}

fn lane(n: i32) -> WakeToken {
    WakeToken::Lane(LaneId(n))
}

/// The next token, or a failure after ten seconds.
async fn next(from: &mut Receiver<WakeToken>, what: &str) -> WakeToken {
    loop {
        match tokio::time::timeout(Duration::from_secs(10), from.recv()).await {
            // Another program's probe, see `connected`.
            Ok(Ok(WakeToken::Lane(LaneId(..0)))) => {}
            Ok(Ok(token)) => return token,
            Ok(Err(RecvError::Lagged(_))) => return WakeToken::Resync,
            Ok(Err(RecvError::Closed)) => panic!("the subscription ended, waiting for {what}"),
            Err(_) => panic!("never came: {what}"),
        }
    }
}

/// Reads until the token comes; gives what came before.
async fn expect(from: &mut Receiver<WakeToken>, token: WakeToken) -> Vec<WakeToken> {
    let mut before = Vec::new();
    loop {
        match next(from, &token.to_string()).await {
            got if got == token => return before,
            other => before.push(other),
        }
    }
}

/// Anything, so that two programs' probes differ.
fn rand_u16() -> u16 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// A program's end that is known to be connected both ways: it hears itself. (The Resync that comes
/// first may be out before anybody can subscribe.)
async fn connected(channel: &impl Channel) -> (Arc<dyn Wake>, Receiver<WakeToken>) {
    let wake = channel.open();
    let mut from = wake.subscribe();
    let until = Instant::now() + Duration::from_secs(10);
    let probe = lane(-1 - i32::from(rand_u16()));
    loop {
        assert!(Instant::now() < until, "never came: the connection");
        wake.send(&[probe]);
        let heard = async { while from.recv().await != Ok(probe) {} };
        if tokio::time::timeout(Duration::from_millis(500), heard).await.is_ok() {
            return (wake, from);
        }
    }
}

async fn reaches_every_subscriber_in_every_program(channel: impl Channel) {
    let (one, mut first) = connected(&channel).await;
    let (two, mut third) = connected(&channel).await;
    let mut second = one.subscribe();
    let cancel = WakeToken::Cancel(JobId::new());
    one.send(&[lane(7), cancel]);
    for from in [&mut first, &mut second, &mut third] {
        let mut got = [next(from, "a token").await, next(from, "a token").await];
        got.sort();
        assert_eq!(got, [lane(7), cancel]);
    }
    two.send(&[lane(8)]);
    for from in [&mut first, &mut second, &mut third] {
        assert_eq!(next(from, "a token").await, lane(8));
    }
}

async fn sends_the_same_token_once_in_a_while(channel: impl Channel) {
    let (wake, mut from) = connected(&channel).await;
    let begun = Instant::now();
    for _ in 0..5000 {
        wake.send(&[lane(1)]);
    }
    let took = begun.elapsed().as_millis();
    wake.send(&[lane(2)]);
    let before = expect(&mut from, lane(2)).await;
    assert!(!before.is_empty(), "the first of them came");
    let most = usize::try_from(took / 3 + 2).unwrap();
    assert!(before.len() <= most, "{} came in {took} ms", before.len());
    // Debouncing must not swallow what comes after the first went out.
    for n in 0..50 {
        wake.send(&[lane(n)]);
        assert_eq!(expect(&mut from, lane(n)).await, []);
    }
}

async fn mends_itself_and_says_so(mut channel: impl Channel) {
    let (one, mut first) = connected(&channel).await;
    let (two, mut second) = connected(&channel).await;
    one.send(&[lane(1)]);
    two.send(&[lane(2)]);
    for from in [&mut first, &mut second] {
        let mut got = [next(from, "a token").await, next(from, "a token").await];
        got.sort();
        assert_eq!(got, [lane(1), lane(2)]);
    }
    for round in 10..13 {
        assert_eq!(channel.cut().await, 4, "two programs, two connections each");
        // Sent into the break: it may be late, and it may be missed by those who were away, but
        // then they are told to look everywhere.
        one.send(&[lane(round)]);
        for from in [&mut first, &mut second] {
            expect(from, WakeToken::Resync).await;
        }
        let after = lane(100 + round);
        two.send(&[after]);
        one.send(&[lane(200 + round)]);
        for from in [&mut first, &mut second] {
            let marks = [after, lane(200 + round)];
            let mut seen = 0;
            while seen < 2 {
                seen += usize::from(marks.contains(&next(from, "a token after the break").await));
            }
        }
    }
}

async fn never_holds_a_sender_up(wake: Arc<dyn Wake>) {
    let mut from = wake.subscribe();
    let begun = Instant::now();
    for n in 0..100_000 {
        wake.send(&[lane(n)]);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody answers, and nobody waits");
    assert!(from.try_recv().is_err());
}

#[tokio::test]
async fn postgres_reaches_every_subscriber() {
    reaches_every_subscriber_in_every_program(Pg::new().await).await;
}

#[tokio::test]
async fn redis_reaches_every_subscriber() {
    reaches_every_subscriber_in_every_program(Redis::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_debounces() {
    sends_the_same_token_once_in_a_while(Pg::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_debounces() {
    sends_the_same_token_once_in_a_while(Redis::new().await).await;
}

#[tokio::test]
async fn postgres_mends_itself() {
    mends_itself_and_says_so(Pg::new().await).await;
}

#[tokio::test]
async fn redis_mends_itself() {
    mends_itself_and_says_so(Redis::new().await).await;
}

/// Nothing listens on port 1.
#[tokio::test]
async fn postgres_never_holds_a_sender_up() {
    let config = DbConfig::new(SecretString::from("postgres://nobody@127.0.0.1:1/none"));
    never_holds_a_sender_up(PgWake::start(&config, CancellationToken::new()).unwrap()).await;
}

#[tokio::test]
async fn redis_never_holds_a_sender_up() {
    let stop = CancellationToken::new();
    never_holds_a_sender_up(RedisWake::start("redis://127.0.0.1:1", "x", stop).unwrap()).await;
}

#[tokio::test]
async fn a_wake_up_goes_out_after_the_commit_and_only_then() {
    let channel = Pg::new().await;
    let (wake, mut from) = connected(&channel).await;
    let db = channel.test.with_wake(wake.clone());
    let job = |partition: &str, options: Options| {
        let options = options.partition(partition);
        NewJob::raw("k", "q", Duration::from_secs(1), serde_json::Value::Null, options)
    };

    let mut tx = db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job("undone", Options::new())).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job("later", Options::new().delay(Duration::from_secs(60)))).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let due = tx.enqueue(job("due", Options::new())).await.unwrap();
    tx.commit().await.unwrap();
    let heard = next(&mut from, "the work").await;
    let WakeToken::Work(lane, 0, at) = heard else { panic!("{heard:?}") };
    assert_eq!(lane, due.lane);
    let row = switchyard_store::jobs::find(&db, due.id).await.unwrap();
    assert_eq!(at, row.run_at, "the wake-up says where in the lane the work is");

    switchyard_store::jobs::pause(&db, "q", false).await.unwrap();
    assert_eq!(next(&mut from, "the end of a pause").await, WakeToken::Resync);
}
