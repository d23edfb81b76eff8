//! Asks Redis for a sign of life, for readiness and for `doctor`.

use crate::Fault;
use redis::AsyncConnectionConfig;
use secrecy::{ExposeSecret, SecretString};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(2);

/// What Redis answered.
#[derive(Clone, Debug)]
pub struct Pong {
    /// Its version.
    pub version: String,
    /// How long the answer took.
    pub took: Duration,
}

/// Connects and asks.
///
/// # Errors
/// If there is no answer within two seconds.
pub async fn ping(url: &SecretString) -> Result<Pong, Fault> {
    let away = || Fault::new("redis", "Redis does not answer");
    let asked = tokio::time::timeout(PATIENCE, ask(url)).await.map_err(|e| away().caused_by(e))?;
    asked.map_err(|e| away().caused_by(e))
}

async fn ask(url: &SecretString) -> redis::RedisResult<Pong> {
    let client = redis::Client::open(url.expose_secret())?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let since = Instant::now();
    let _: String = redis::cmd("PING").query_async(&mut connection).await?;
    let took = since.elapsed();
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = info.lines().find_map(|l| l.strip_prefix("redis_version:")).unwrap_or("unknown");
    Ok(Pong { version: version.trim().to_owned(), took })
}
