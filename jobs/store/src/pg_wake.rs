//! Wake-ups over PostgreSQL: LISTEN on one connection, NOTIFY on another.
//!
//! Both connections are direct, outside the pools: a transaction pooler does not carry LISTEN, and
//! NOTIFY takes a lock over the whole database when its transaction commits, so it must never be
//! part of the caller's. Whoever waits in this process hears at once, without that way round.

use crate::db::ENGINE_ROLE;
use crate::engine::line::{WATCHFUL, within};
use crate::{DbConfig, Result};
use futures::FutureExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use switchyard_queue::{Outbox, Wake, WakeToken};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// The channel; PostgreSQL keeps those of different databases apart.
const CHANNEL: &str = "switchyard_wake";
/// The first token goes out at once; what follows within this time goes out together.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// Tokens that a slow subscriber may be behind before it must look everywhere.
const BACKLOG: usize = 4096;
/// Tokens in one payload: at most 44 bytes each, and a payload is shorter than 8,000.
const PER_PAYLOAD: usize = 150;
/// Waits between attempts to connect.
const RECONNECT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// A listening connection that was silent this long is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long a statement of this channel may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Wake-ups by LISTEN and NOTIFY. Both sides reconnect for ever; after every (re)connection the
/// subscribers get [`WakeToken::Resync`], because nobody knows what they missed.
pub struct PgWake {
    outbox: Arc<Outbox>,
    arrived: broadcast::Sender<WakeToken>,
}

impl fmt::Debug for PgWake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgWake").finish_non_exhaustive()
    }
}

/// What the two sides tell each other. While this process listens, what it sends is handed on here, at
/// the moment when it goes out, and skipped when it comes back.
#[derive(Default)]
struct Own {
    /// The backend of the sending connection.
    backend: AtomicU32,
    listening: AtomicBool,
}

impl PgWake {
    /// Starts both sides in the background; they end with `shutdown`.
    ///
    /// # Errors
    /// If the configured URL is not one.
    pub fn start(config: &DbConfig, shutdown: CancellationToken) -> Result<Arc<Self>> {
        let listen = config.options(ENGINE_ROLE, "switchyard listen")?.options(WATCHFUL);
        let notify = config.options(ENGINE_ROLE, "switchyard notify")?.options(WATCHFUL);
        let outbox = Arc::new(Outbox::default());
        let (arrived, _) = broadcast::channel(BACKLOG);
        let own = Arc::new(Own::default());
        let listening = receive(listen, arrived.clone(), own.clone());
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(listening).map(drop));
        let notifying = transmit(notify, outbox.clone(), arrived.clone(), own);
        tokio::spawn(shutdown.run_until_cancelled_owned(notifying).map(drop));
        Ok(Arc::new(Self { outbox, arrived }))
    }
}

impl Wake for PgWake {
    fn send(&self, tokens: &[WakeToken]) {
        self.outbox.push(tokens);
    }

    fn subscribe(&self) -> broadcast::Receiver<WakeToken> {
        self.arrived.subscribe()
    }
}

/// Hands on what arrives, over one connection after the other.
async fn receive(options: PgConnectOptions, arrived: broadcast::Sender<WakeToken>, own: Arc<Own>) {
    let mut wait = RECONNECT[0];
    loop {
        match listen(&options).await {
            Ok((mut listener, _pool)) => {
                wait = RECONNECT[0];
                // Nobody may be subscribed; that is no fault.
                let _ = arrived.send(WakeToken::Resync);
                own.listening.store(true, Ordering::Release);
                let why = hand_on(&mut listener, &arrived, &own).await;
                own.listening.store(false, Ordering::Release);
                tracing::warn!(error = %why, "wake-ups: the listening connection broke");
            }
            Err(e) => tracing::debug!(error = %e, "wake-ups: no listening connection"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RECONNECT[1]);
    }
}

/// The listener's pool. Closed before the listener is dropped, so that its connection is closed too
/// and not tried out for another use, which there is none for, while the server may be stopping.
struct OnePool(PgPool);

impl Drop for OnePool {
    fn drop(&mut self) {
        // The call closes it; what is not waited for is the end of its connections.
        drop(self.0.close());
    }
}

async fn listen(options: &PgConnectOptions) -> Result<(PgListener, OnePool)> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(LIMIT)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    // A connection that mends itself in silence would hide that tokens were missed.
    listener.eager_reconnect(false);
    within(LIMIT, async { Ok(listener.listen(CHANNEL).await?) }).await?;
    Ok((listener, OnePool(pool)))
}

/// Ends when the connection is gone, with the reason.
async fn hand_on(
    listener: &mut PgListener,
    arrived: &broadcast::Sender<WakeToken>,
    own: &Own,
) -> sqlx::Error {
    let gone = |kind: std::io::ErrorKind| sqlx::Error::Io(kind.into());
    loop {
        match tokio::time::timeout(PING_EVERY, listener.try_recv()).await {
            Ok(Ok(Some(n))) if n.process_id() == own.backend.load(Ordering::Acquire) => {}
            Ok(Ok(Some(notification))) => {
                // A word that is no token comes from a newer program; the sweep finds the work.
                for token in notification.payload().split(' ').filter_map(|t| t.parse().ok()) {
                    let _ = arrived.send(token);
                }
            }
            Ok(Ok(None)) => return gone(std::io::ErrorKind::ConnectionAborted),
            Ok(Err(e)) => return e,
            Err(_) => {
                let ping = sqlx::query("select 1").execute(&mut *listener);
                match tokio::time::timeout(LIMIT, ping).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(e)) => return e,
                    Err(_) => return gone(std::io::ErrorKind::TimedOut),
                }
            }
        }
    }
}

/// Sends what waits in the outbox. A batch that could not be sent is sent again, so a token may
/// arrive twice but is not lost.
async fn transmit(
    options: PgConnectOptions,
    outbox: Arc<Outbox>,
    arrived: broadcast::Sender<WakeToken>,
    own: Arc<Own>,
) {
    let mut connection: Option<PgConnection> = None;
    loop {
        let batch = outbox.take().await;
        // What goes out before this process listens is covered by the `Resync` that begins it.
        if own.listening.load(Ordering::Acquire) {
            for token in &batch {
                let _ = arrived.send(*token);
            }
        }
        let payloads: Vec<String> = batch
            .chunks(PER_PAYLOAD)
            .map(|c| c.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        let mut wait = RECONNECT[0];
        while let Err(e) = within(LIMIT, notify(&options, &mut connection, &own, &payloads)).await {
            tracing::debug!(error = %e, "wake-ups: could not be sent, trying again");
            connection = None;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT[1]);
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

async fn notify(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
    own: &Own,
    payloads: &[String],
) -> Result<()> {
    let open = match connection {
        Some(open) => open,
        None => {
            let mut new = PgConnection::connect_with(options).await?;
            let pid: i32 =
                sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut new).await?;
            own.backend.store(pid.unsigned_abs(), Ordering::Release);
            connection.insert(new)
        }
    };
    sqlx::query("select pg_notify($1, payload) from unnest($2::text[]) payload")
        .bind(CHANNEL)
        .bind(payloads)
        .execute(open)
        .await?;
    Ok(())
}
