//! Wake-ups: how an idle worker hears of new work at once. They carry no job and may be lost at
//! any moment; the sweep finds what they missed.

use crate::{JobId, LaneId};
use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;
use tokio::sync::broadcast;

/// What a wake-up says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WakeToken {
    /// A lane has due work, wherever.
    Lane(LaneId),
    /// A lane has due work with this priority, none of it due before this instant.
    Work(LaneId, i16, DateTime<Utc>),
    /// Somebody asked to cancel this job.
    Cancel(JobId),
    /// The channel was away for a while: look everywhere.
    Resync,
}

impl fmt::Display for WakeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(l) => write!(f, "lane:{}", l.0),
            Self::Work(l, priority, at) => {
                write!(f, "work:{}:{priority}:{}", l.0, at.timestamp_micros())
            }
            Self::Cancel(j) => write!(f, "cancel:{j}"),
            Self::Resync => f.write_str("resync"),
        }
    }
}

impl FromStr for WakeToken {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        match s.split_once(':') {
            Some(("lane", n)) => n.parse().map(|n| Self::Lane(LaneId(n))).map_err(|_| ()),
            Some(("work", rest)) => work(rest).ok_or(()),
            Some(("cancel", id)) => id.parse().map(Self::Cancel).map_err(|_| ()),
            None if s == "resync" => Ok(Self::Resync),
            _ => Err(()),
        }
    }
}

fn work(text: &str) -> Option<WakeToken> {
    let mut parts = text.split(':');
    let lane = LaneId(parts.next()?.parse().ok()?);
    let priority = parts.next()?.parse().ok()?;
    let at = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
    parts.next().is_none().then_some(WakeToken::Work(lane, priority, at))
}

/// A wake-up could not be sent. Callers log it and go on.
#[derive(Debug, thiserror::Error)]
#[error("a wake-up could not be sent")]
pub struct WakeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A channel for wake-ups. One contract, two implementations: PostgreSQL NOTIFY and Redis.
///
/// The contract, which one test suite checks on both: a token that is sent reaches every
/// subscriber that is connected, in any process, or the subscriber gets [`WakeToken::Resync`] once
/// it is connected again; `send` returns without waiting for the other side; a broken channel
/// mends itself and never ends a subscription.
pub trait Wake: Send + Sync + 'static {
    /// Queues tokens for sending. They are debounced: the same token twice within a few
    /// milliseconds goes out once, and of work in one lane with one priority the earliest stands
    /// for all.
    fn send(&self, tokens: &[WakeToken]);

    /// From now on, every token that arrives. A receiver that lags must look everywhere.
    fn subscribe(&self) -> broadcast::Receiver<WakeToken>;
}
