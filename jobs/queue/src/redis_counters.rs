//! Counters that all replicas share, in Redis.

use crate::counters::{Allowance, Counters, LocalCounters, Taken};
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult};
use std::fmt;
use std::time::Duration;

/// A request does not wait longer for Redis: it is then counted in this process.
const PATIENCE: Duration = Duration::from_millis(50);
/// Connecting goes on behind the requests that do not wait for it.
const CONNECT: Duration = Duration::from_secs(2);

/// One step for rate and quota: what the one refuses is not taken from the other. The clock is
/// Redis's, because the replicas' differ. Gives 0, or the microseconds to wait; -1: the quota.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local quota = tonumber(ARGV[3])
if quota > 0 and tonumber(redis.call('GET', KEYS[2]) or '0') >= quota then return -1 end
local interval = tonumber(ARGV[1])
if interval > 0 then
  local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + interval
  local early = arrival - now - tonumber(ARGV[2])
  if early > 0 then return early end
  redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
end
if quota > 0 then
  redis.call('INCR', KEYS[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 0
";

/// Counts in Redis, under `<prefix>count:`; while Redis is away or slow, in this process.
pub struct RedisCounters {
    connection: ConnectionManager,
    prefix: String,
    nearby: LocalCounters,
}

impl fmt::Debug for RedisCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCounters").finish_non_exhaustive()
    }
}

impl RedisCounters {
    /// Connects when it is first asked. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the URL is not one.
    pub fn new(url: &str, prefix: &str) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?;
        Ok(Self { connection, prefix: prefix.to_owned(), nearby: LocalCounters::default() })
    }

    async fn shared(
        &self,
        key: &str,
        allowance: Allowance,
        now: DateTime<Utc>,
    ) -> RedisResult<Taken> {
        let mut connection = self.connection.clone();
        let (interval, room) = allowance.rate.map_or((0, 0), |(rate, burst)| {
            let interval = rate.interval();
            (interval, interval.saturating_mul(burst.max(1).into()))
        });
        let (window, left, quota) = allowance.quota.map_or((0, Duration::ZERO, 0), |quota| {
            let (window, left) = quota.window(now.timestamp_micros());
            (window, left, quota.count)
        });
        // The braces keep both keys on one node of a cluster.
        let prefix = &self.prefix;
        let wait: i64 = redis::cmd("EVAL")
            .arg(TAKE)
            .arg(2)
            .arg(format!("{prefix}count:{{{key}}}:rate"))
            .arg(format!("{prefix}count:{{{key}}}:quota:{window}"))
            .arg(interval)
            .arg(room)
            .arg(quota)
            .arg(left.as_millis().max(1).to_string())
            .query_async(&mut connection)
            .await?;
        Ok(match wait {
            0 => Ok(()),
            -1 => Err(left),
            micros => Err(Duration::from_micros(micros.unsigned_abs())),
        })
    }
}

impl Counters for RedisCounters {
    fn take<'a>(
        &'a self,
        key: &'a str,
        allowance: Allowance,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Taken> {
        async move {
            match tokio::time::timeout(PATIENCE, self.shared(key, allowance, now)).await {
                Ok(Ok(taken)) => taken,
                Ok(Err(e)) => {
                    tracing::debug!(error = %e, "limits: counted here, Redis does not answer");
                    self.nearby.take_now(key, allowance, now)
                }
                Err(_) => self.nearby.take_now(key, allowance, now),
            }
        }
        .boxed()
    }
}
