//! The rules of the contract, over whole ranges of input where there is a range.
#![allow(clippy::unwrap_used)]

use crate::{
    ClaimedJob, Context, Entropy, ErrorClass, Fence, Job, JobError, JobId, JobResult, JobState,
    LaneId, ManualClock, NewJob, Options, Outcome, QueueName, Registry, RetryPolicy, SeededEntropy,
    TraceContext, UniqueKey, UniqueUntil, WakeToken, WorkerId,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Always the same number.
struct Fixed(f64);

impl Entropy for Fixed {
    fn unit(&self) -> f64 {
        self.0
    }
}

proptest! {
    #[test]
    fn a_wait_lies_between_the_floor_and_the_bound(
        base in 1_u64..100_000, cap in 1_u64..10_000_000, floor in 0_u64..10_000,
        failed in any::<u16>(), seed in any::<u64>(),
    ) {
        let policy = RetryPolicy {
            base: Duration::from_millis(base),
            cap: Duration::from_millis(cap),
            floor: Duration::from_millis(floor),
        };
        let wait = policy.delay(failed, &SeededEntropy::new(seed));
        prop_assert!(wait >= policy.floor);
        prop_assert!(wait <= policy.bound(failed));
        prop_assert!(policy.bound(failed) <= policy.cap.max(policy.floor));
        prop_assert!(policy.bound(failed) <= policy.bound(failed.saturating_add(1)));
    }

    #[test]
    fn a_trace_context_reads_what_it_writes(
        trace_id in 1_u128.., span_id in 1_u64.., flags in any::<u8>(),
    ) {
        let trace = TraceContext { trace_id, span_id, flags };
        let text = trace.to_string();
        prop_assert_eq!(text.len(), 55);
        prop_assert_eq!(text.parse(), Ok(trace));
        let json = serde_json::to_string(&trace).expect("a string");
        prop_assert_eq!(serde_json::from_str::<TraceContext>(&json).expect("the same"), trace);
    }

    #[test]
    fn a_trace_context_never_panics_on_what_a_stranger_sends(text in "\\PC{0,70}") {
        if let Ok(trace) = text.parse::<TraceContext>() {
            prop_assert_eq!(trace.to_string(), text);
        }
    }

    #[test]
    fn a_wake_token_reads_what_it_writes(
        lane in any::<i32>(),
        id in any::<u128>(),
        priority in any::<i16>(),
        micros in 0..4_000_000_000_000_000_i64,
    ) {
        let at = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
        let tokens = [
            WakeToken::Lane(LaneId(lane)),
            WakeToken::Work(LaneId(lane), priority, at),
            WakeToken::Cancel(JobId(uuid::Uuid::from_u128(id))),
            WakeToken::Resync,
        ];
        for token in tokens {
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
}

#[test]
fn the_default_waits_double_from_two_seconds_to_an_hour() {
    let policy = RetryPolicy::default();
    let longest: Vec<u64> = (1..=13).map(|n| policy.bound(n).as_secs()).collect();
    let doubling = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];
    assert_eq!(longest[..11], doubling);
    assert_eq!(longest[11..], [3600, 3600]);
    assert_eq!(policy.delay(1, &Fixed(0.0)), policy.floor, "chance cannot make a busy loop");
    assert_eq!(policy.delay(3, &Fixed(0.5)), Duration::from_secs(4));
}

#[test]
fn a_trace_context_refuses_what_the_standard_refuses() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(good.parse::<TraceContext>().is_ok());
    let bad = [
        "",
        "00",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", // a version we do not know
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", // upper case
        "00-00000000000000000000000000000000-b7ad6b7169203331-01", // no trace
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", // no span
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    for text in bad {
        assert!(text.parse::<TraceContext>().is_err(), "{text}");
    }
}

#[test]
fn a_child_keeps_the_trace_and_gets_a_span_of_its_own() {
    let root = TraceContext::new_root();
    let child = root.child();
    assert_eq!((child.trace_id, child.flags), (root.trace_id, root.flags));
    assert_ne!(child.span_id, root.span_id);
}

#[test]
fn every_state_is_found_by_its_code_and_its_word() {
    for state in JobState::ALL {
        assert_eq!(JobState::from_code(state.code()), Some(state));
        assert_eq!(state.as_str().parse(), Ok(state));
    }
    assert_eq!(JobState::from_code(5), None);
    assert!("done".parse::<JobState>().unwrap_err().contains("quarantined"));
}

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

type Heard = Arc<Mutex<Vec<String>>>;

impl Job for Greet {
    type State = Heard;

    const KIND: &'static str = "greet";
    const ALIASES: &'static [&'static str] = &["hello", "hallo"];
    const ABOUT: &'static str = "Says hello.";
    const QUEUE: QueueName = QueueName("talk");
    const TIMEOUT: Duration = Duration::from_secs(7);

    fn options(&self) -> Options {
        Options::new().unique_by(&self.name).partition(&self.name).max_attempts(3).priority(-1)
    }

    async fn run(self, cx: &Context<Heard>) -> JobResult {
        cx.state().lock().unwrap_or_else(|e| e.into_inner()).push(self.name);
        Ok(Outcome::Done)
    }
}

#[derive(Serialize, Deserialize)]
struct Impostor {}

impl Job for Impostor {
    type State = Heard;

    const KIND: &'static str = "impostor";
    const ALIASES: &'static [&'static str] = &["hallo"];
    const ABOUT: &'static str = "Claims a name that is taken.";
    const QUEUE: QueueName = QueueName("talk");

    async fn run(self, _: &Context<Heard>) -> JobResult {
        Ok(Outcome::Done)
    }
}

fn registry() -> Registry<Heard> {
    Registry::new().with::<Greet>()
}

fn claimed(kind: &str, args: serde_json::Value) -> Arc<ClaimedJob> {
    let now = chrono::Utc::now();
    Arc::new(ClaimedJob {
        id: JobId::new(),
        fence: Fence(1),
        worker: WorkerId(1),
        lease: Duration::from_secs(30),
        lane: LaneId(1),
        kind: kind.to_owned(),
        args,
        priority: 0,
        attempt: 1,
        max_attempts: 3,
        crashes: 0,
        timeout: Duration::from_secs(1),
        tenant: None,
        trace: None,
        request_id: None,
        created_at: now,
        run_at: now,
        limited: false,
    })
}

#[test]
fn a_job_given_by_name_gets_the_options_of_its_type() {
    for name in ["greet", "hello", "hallo"] {
        let job = registry().parse(name, json!({"name": "Ada"})).expect("it fits");
        assert_eq!(job.kind, "greet", "an alias is stored under the permanent name");
        assert_eq!(job.queue, "talk");
        assert_eq!(job.partition, "Ada");
        assert_eq!(job.unique_key.as_deref(), Some(r#"greet "Ada""#), "without an earlier name");
        assert_eq!((job.max_attempts, job.priority), (3, -1));
        assert_eq!(job.timeout, Duration::from_secs(7));
    }
}

#[test]
fn a_job_that_is_not_known_or_does_not_fit_is_refused_with_a_sentence() {
    let unknown = registry().parse("greed", json!({})).expect_err("no such kind");
    assert_eq!(unknown, "`greed` is no kind of job; known are greet");
    let misfit = registry().parse("greet", json!({"nom": "Ada"})).expect_err("no name");
    assert!(
        misfit.starts_with("the arguments do not fit `greet`: missing field `name`"),
        "{misfit}"
    );
}

#[test]
#[should_panic(expected = "two jobs claim the kind `hallo`")]
fn two_jobs_cannot_have_the_same_name() {
    let _ = registry().with::<Impostor>();
}

#[tokio::test]
async fn a_dispatcher_runs_a_stored_job_by_any_of_its_names() {
    let heard = Heard::default();
    let clock = Arc::new(ManualClock::at(chrono::Utc::now()));
    let dispatcher = registry().bind(heard.clone(), clock, Arc::new(SeededEntropy::new(1)));
    for name in dispatcher.names() {
        let job = claimed(name, json!({"name": name}));
        let result = dispatcher.run(job, CancellationToken::new()).await;
        assert!(matches!(result, Ok(Outcome::Done)), "{name}: {result:?}");
    }
    assert_eq!(*heard.lock().expect("nobody panicked"), ["greet", "hallo", "hello"]);

    let misfit = dispatcher.run(claimed("greet", json!(7)), CancellationToken::new()).await;
    assert_eq!(misfit.expect_err("no object").class(), ErrorClass::Permanent);
    let unknown = dispatcher.run(claimed("sing", json!({})), CancellationToken::new()).await;
    assert_eq!(unknown.expect_err("no such kind").class(), ErrorClass::Lost);
}

#[test]
fn options_keep_their_bounds() {
    let raw = |options| NewJob::raw("k", "q", Duration::from_secs(30), json!({}), options);
    assert_eq!(raw(Options::new().max_attempts(0)).max_attempts, 1);
    assert_eq!(raw(Options::new().max_attempts(u16::MAX)).max_attempts, i16::MAX);
    let later = raw(Options::new().delay(Duration::from_secs(5)).timeout(Duration::from_secs(9)));
    assert_eq!(later.delay, Some(Duration::from_secs(5)));
    assert_eq!((later.run_at, later.timeout), (None, Duration::from_secs(9)));
    let at = chrono::Utc::now();
    let fixed = raw(Options::new().delay(Duration::from_secs(5)).run_at(at));
    assert_eq!((fixed.delay, fixed.run_at), (None, Some(at)), "what was said last counts");
    let plain = raw(Options::new());
    assert_eq!((plain.priority, plain.max_attempts, plain.unique_key), (0, 20, None));
}

/// What `greet` became: the second version calls its field otherwise, and greets in a language.
#[derive(Serialize, Deserialize)]
struct GreetAnew {
    who: String,
    #[serde(default)]
    language: String,
}

impl Job for GreetAnew {
    type State = Heard;

    const KIND: &'static str = "greet";
    const ALIASES: &'static [&'static str] = &["hello"];
    const VERSION: u16 = 3;
    const READS_FROM: u16 = 1;
    const ABOUT: &'static str = "Says hello.";
    const QUEUE: QueueName = QueueName("talk");

    fn options(&self) -> Options {
        Options::new().unique_by(&self.who)
    }

    fn upgrade(mut args: serde_json::Value, from: u16) -> serde_json::Value {
        if from == 1 {
            args["who"] = args["name"].take();
        }
        args
    }

    async fn run(self, cx: &Context<Heard>) -> JobResult {
        let said = format!("{}/{}", self.who, self.language);
        cx.state().lock().unwrap_or_else(|e| e.into_inner()).push(said);
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_program_runs_the_versions_that_it_knows_and_no_other() {
    let anew = || Registry::new().with::<GreetAnew>();
    let job = GreetAnew { who: "Ada".to_owned(), language: "pl".to_owned() };
    let new = NewJob::of(&job).expect("JSON");
    assert_eq!(new.kind, "greet@3");
    assert_eq!(new.unique_key.as_deref(), Some(r#"greet "Ada""#), "all versions share it");

    assert_eq!(registry().names(), ["greet", "hallo", "hello"]);
    let names = ["greet", "greet@2", "greet@3", "hello", "hello@2", "hello@3"];
    assert_eq!(anew().names(), names);
    let heard = Heard::default();
    let clock = Arc::new(ManualClock::at(chrono::Utc::now()));
    let dispatcher = anew().bind(heard.clone(), clock, Arc::new(SeededEntropy::new(1)));
    let stop = CancellationToken::new;
    for (kind, args) in [
        ("greet", json!({"name": "Eve"})),
        ("hello@2", json!({"who": "Bob"})),
        ("greet@3", json!({"who": "Ada", "language": "pl"})),
    ] {
        let result = dispatcher.run(claimed(kind, args), stop()).await;
        assert!(matches!(result, Ok(Outcome::Done)), "{kind}: {result:?}");
    }
    assert_eq!(*heard.lock().expect("nobody panicked"), ["Eve/", "Bob/", "Ada/pl"]);
    let later = dispatcher.run(claimed("greet@4", json!({"who": "Ada"})), stop()).await;
    assert_eq!(later.expect_err("not known").class(), ErrorClass::Lost);

    // By name: what this program checked is of its version, unless an older one is asked for.
    let given = |kind, args| anew().parse(kind, args).map(|job| job.kind);
    assert_eq!(given("hello", json!({"who": "Ada"})).as_deref(), Ok("greet@3"));
    assert_eq!(given("greet@2", json!({"who": "Ada"})).as_deref(), Ok("greet@2"));
    assert!(given("greet", json!({"name": "Ada"})).is_err(), "the first version's arguments");
    let unknown = given("greet@4", json!({"who": "Ada"})).expect_err("not known");
    assert_eq!(unknown, "version 4 of `greet` is not known here, only 1 to 3");
}

#[test]
fn a_key_says_how_long_it_is_kept() {
    let raw = |options| NewJob::raw("k@2", "q", Duration::from_secs(30), json!({"a": 1}), options);
    let by = || Options::new().unique_by("x y");
    let key = |options| raw(options).unique_key.unwrap_or_default();
    assert_eq!(key(by()), r#"k "x y""#);
    assert_eq!(key(by().unique_until(UniqueUntil::Start)), r#"k start:"x y""#);
    let all = Options::new().unique_by_args().unique_until(UniqueUntil::Start);
    assert!(key(all).starts_with("k start:sha256:"));
    for until in UniqueUntil::ALL {
        let stored = key(by().unique_until(until));
        let read = UniqueKey::read(&stored);
        assert_eq!((read.kind, read.until, read.key), ("k", until, r#""x y""#));
        assert_eq!(until.as_str().parse(), Ok(until));
        // Another key in its place is kept as long; another while is another key.
        let other = raw(by().unique_until(until)).unique_by("z");
        assert_eq!(UniqueKey::read(other.unique_key.as_deref().unwrap()).until, until);
        let until = UniqueUntil::Finish;
        let changed = raw(by().unique_until(UniqueUntil::Start)).unique_until(until);
        assert_eq!(changed.unique_key, raw(by().unique_until(until)).unique_key);
    }
    // A key that looks like a mark is JSON, and so it is none.
    let odd = key(Options::new().unique_by("start:x"));
    assert_eq!(UniqueKey::read(&odd).until, UniqueUntil::Finish);
    let hour = Duration::from_secs(3600);
    let held = raw(by().unique_until(UniqueUntil::Start).unique_for(hour));
    assert_eq!((held.unique_for, held.unique_key.as_deref()), (Some(hour), Some(r#"k "x y""#)));
    assert_eq!(raw(by().unique_for(hour).unique_until(UniqueUntil::Start)).unique_for, None);
}

#[test]
fn an_error_shows_its_whole_chain() {
    #[derive(Debug, thiserror::Error)]
    #[error("the message could not be sent")]
    struct Outer(#[source] std::io::Error);

    let error = JobError::from(Outer(std::io::Error::other("connection refused")));
    assert_eq!(error.class(), ErrorClass::Retry { after: None });
    assert_eq!(error.chain(), ["the message could not be sent", "connection refused"]);
}

#[test]
fn a_follow_up_carries_the_trace_and_the_request() {
    let mut job = Arc::unwrap_or_clone(claimed("greet", json!({})));
    job.trace = Some(TraceContext::new_root());
    job.request_id = Some("req-1".to_owned());
    let clock = Arc::new(ManualClock::at(chrono::Utc::now()));
    let entropy = Arc::new(SeededEntropy::new(1));
    let trace = job.trace;
    let cx = Context::new((), Arc::new(job), CancellationToken::new(), clock, entropy);
    let next = cx.follow_up(NewJob::of(&Greet { name: "Ada".to_owned() }).expect("JSON"));
    assert_eq!((next.trace, next.request_id.as_deref()), (trace, Some("req-1")));
}
