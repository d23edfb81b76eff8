//! Keeping the background loops running.
//!
//! A panic in one of them is a defect of ours. It is logged and the loop is started anew: every
//! loop can begin again at any time, because what it works on is in the worker's shared tables,
//! and a worker that goes on is worth more than one that leaves its jobs to the lease.

use crate::backoff::jittered;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Before a loop that panicked is started anew.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs a loop in a task of its own until it returns, or `done` fires.
pub(crate) fn keep<F>(
    name: &'static str,
    done: &CancellationToken,
    mut start: impl FnMut() -> F + Send + 'static,
) -> AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let done = done.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let run = async {
            while AssertUnwindSafe(async { start().await }).catch_unwind().await.is_err() {
                tracing::error!(name, "a loop of the worker panicked and is started anew");
                tokio::time::sleep(jittered(PAUSE)).await;
            }
        };
        tokio::select! {
            () = done.cancelled() => {}
            () = run => {}
        }
    }))
}
