//! What waits to be sent over a wake-up channel: a bounded set, so that a sender never waits and
//! the same token twice goes out once.

use crate::WakeToken;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Tokens that may wait. Beyond that one [`WakeToken::Resync`] stands for all of them.
const CAPACITY: usize = 4096;

/// The waiting tokens of one channel. For implementations of [`crate::Wake`].
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<BTreeSet<WakeToken>>,
    some: Notify,
}

impl Outbox {
    /// Adds tokens. Never waits.
    pub fn push(&self, tokens: &[WakeToken]) {
        if tokens.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.contains(&WakeToken::Resync) {
            for token in tokens {
                add(&mut waiting, *token);
            }
        }
        if waiting.len() > CAPACITY || waiting.contains(&WakeToken::Resync) {
            // A cancellation is for one job and is not found by looking for work, but workers also
            // hear of it when they renew the job's lease.
            waiting.clear();
            waiting.insert(WakeToken::Resync);
        }
        drop(waiting);
        self.some.notify_one();
    }

    /// All that waits, as soon as there is something.
    pub async fn take(&self) -> Vec<WakeToken> {
        loop {
            let taken = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting)
            };
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            self.some.notified().await;
        }
    }
}

/// Of work in one lane with one priority, only the earliest is kept.
fn add(waiting: &mut BTreeSet<WakeToken>, token: WakeToken) {
    if let WakeToken::Work(lane, priority, at) = token {
        let of = |at| WakeToken::Work(lane, priority, at);
        let all = of(DateTime::<Utc>::MIN_UTC)..=of(DateTime::<Utc>::MAX_UTC);
        match waiting.range(all).next().copied() {
            Some(WakeToken::Work(_, _, earliest)) if earliest <= at => return,
            Some(later) => waiting.remove(&later),
            None => false,
        };
    }
    waiting.insert(token);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LaneId;

    fn lane(n: i32) -> WakeToken {
        WakeToken::Lane(LaneId(n))
    }

    #[tokio::test]
    async fn the_same_token_waits_once() {
        let outbox = Outbox::default();
        outbox.push(&[lane(1), lane(2), lane(1)]);
        outbox.push(&[lane(2)]);
        assert_eq!(outbox.take().await, [lane(1), lane(2)]);
    }

    #[tokio::test]
    async fn the_earliest_work_of_a_lane_stands_for_all() {
        let work = |lane, priority, micros| {
            let at = DateTime::from_timestamp_micros(micros).unwrap_or_default();
            WakeToken::Work(LaneId(lane), priority, at)
        };
        let outbox = Outbox::default();
        outbox.push(&[
            work(1, 0, 30),
            work(1, 0, 10),
            work(1, 0, 20),
            work(1, 5, 5),
            work(2, 0, 40),
        ]);
        assert_eq!(outbox.take().await, [work(1, 0, 10), work(1, 5, 5), work(2, 0, 40)]);
    }

    #[tokio::test]
    async fn too_many_become_one_resync() {
        let outbox = Outbox::default();
        for n in 0..10_000 {
            outbox.push(&[lane(n)]);
        }
        let taken = outbox.take().await;
        assert_eq!(taken.first(), Some(&WakeToken::Resync));
        assert_eq!(taken.len(), 1);
    }

    #[tokio::test]
    async fn taking_waits_for_the_next_push() {
        let outbox = std::sync::Arc::new(Outbox::default());
        let taker = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.take().await }
        });
        tokio::task::yield_now().await;
        assert!(!taker.is_finished());
        outbox.push(&[lane(3)]);
        assert_eq!(taker.await.ok(), Some(vec![lane(3)]));
    }
}
