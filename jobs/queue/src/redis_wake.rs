//! Wake-ups over Redis publish/subscribe.

use crate::{Outbox, Wake, WakeError, WakeToken};
use futures::{FutureExt, StreamExt};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// The first token goes out at once; what follows within this time goes out together.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// Tokens that a slow subscriber may be behind before it must look everywhere.
const BACKLOG: usize = 4096;
/// Waits between attempts to connect.
const RECONNECT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// A subscribed connection that was silent this long is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long connecting, publishing or a ping may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Wake-ups by publish and subscribe on the channel `<prefix>wake`. Carries numbers of lanes and
/// ids of jobs, nothing personal. Both sides reconnect for ever; after every (re)connection the
/// subscribers get [`WakeToken::Resync`], because nobody knows what they missed.
pub struct RedisWake {
    outbox: Arc<Outbox>,
    arrived: broadcast::Sender<WakeToken>,
}

impl fmt::Debug for RedisWake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisWake").finish_non_exhaustive()
    }
}

impl RedisWake {
    /// Starts both sides in the background; they end with `shutdown`.
    ///
    /// # Errors
    /// If the URL is not one.
    pub fn start(
        url: &str,
        prefix: &str,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, WakeError> {
        let open = || -> RedisResult<Client> {
            let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(LIMIT);
            Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
        };
        let client = open().map_err(|e| WakeError(Box::new(e)))?;
        let channel = format!("{prefix}wake");
        let outbox = Arc::new(Outbox::default());
        let (arrived, _) = broadcast::channel(BACKLOG);
        let listening = receive(client.clone(), channel.clone(), arrived.clone());
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(listening).map(drop));
        let publishing = transmit(client, channel, outbox.clone());
        tokio::spawn(shutdown.run_until_cancelled_owned(publishing).map(drop));
        Ok(Arc::new(Self { outbox, arrived }))
    }
}

impl Wake for RedisWake {
    fn send(&self, tokens: &[WakeToken]) {
        self.outbox.push(tokens);
    }

    fn subscribe(&self) -> broadcast::Receiver<WakeToken> {
        self.arrived.subscribe()
    }
}

/// Hands on what arrives, over one connection after the other.
async fn receive(client: Client, channel: String, arrived: broadcast::Sender<WakeToken>) {
    let mut wait = RECONNECT[0];
    loop {
        match within(listen(&client, &channel)).await {
            Ok(connection) => {
                wait = RECONNECT[0];
                // Nobody may be subscribed; that is no fault.
                let _ = arrived.send(WakeToken::Resync);
                hand_on(connection, &arrived).await;
                tracing::warn!("wake-ups: the subscribed connection broke");
            }
            Err(e) => tracing::debug!(error = %e, "wake-ups: no subscribed connection"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RECONNECT[1]);
    }
}

async fn listen(client: &Client, channel: &str) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
    Ok(connection)
}

/// Ends when the connection is gone.
async fn hand_on(connection: PubSub, arrived: &broadcast::Sender<WakeToken>) {
    let (mut commands, mut messages) = connection.split();
    loop {
        match tokio::time::timeout(PING_EVERY, messages.next()).await {
            Ok(Some(message)) => {
                let payload = String::from_utf8_lossy(message.get_payload_bytes());
                // A word that is no token comes from a newer program; the sweep finds the work.
                for token in payload.split(' ').filter_map(|t| t.parse().ok()) {
                    let _ = arrived.send(token);
                }
            }
            Ok(None) => return,
            Err(_) => {
                if within(commands.ping::<redis::Value>()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends what waits in the outbox. A batch that could not be sent is sent again, so a token may
/// arrive twice but is not lost.
async fn transmit(client: Client, channel: String, outbox: Arc<Outbox>) {
    let mut connection: Option<MultiplexedConnection> = None;
    loop {
        let batch = outbox.take().await;
        let payload = batch.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut wait = RECONNECT[0];
        while let Err(e) = publish(&client, &mut connection, &channel, &payload).await {
            tracing::debug!(error = %e, "wake-ups: could not be sent, trying again");
            connection = None;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT[1]);
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

async fn publish(
    client: &Client,
    connection: &mut Option<MultiplexedConnection>,
    channel: &str,
    payload: &str,
) -> RedisResult<()> {
    let open = match connection {
        Some(open) => open,
        None => {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(LIMIT))
                .set_response_timeout(Some(LIMIT));
            let fresh = client.get_multiplexed_async_connection_with_config(&config).await?;
            connection.insert(fresh)
        }
    };
    redis::cmd("PUBLISH").arg(channel).arg(payload).query_async(open).await
}

async fn within<T>(work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}
