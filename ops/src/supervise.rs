//! Parts that run side by side in one process. One that panics or ends by itself is started again,
//! so that a fault in one does not take the others down.

use crate::Fault;
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first wait before a part is started again; it doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(10);
/// A part that ran this long was well; the next wait is the first again.
const WELL: Duration = Duration::from_secs(60);

/// Runs what `make` makes until `stop` fires and it has come to its end.
pub async fn supervise<F, Fut>(name: &'static str, stop: CancellationToken, make: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), Fault>> + Send + 'static,
{
    run(name, stop, FIRST, make).await;
}

async fn run<F, Fut>(name: &'static str, stop: CancellationToken, first: Duration, mut make: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let mut wait = first;
    loop {
        let since = tokio::time::Instant::now();
        let ended = tokio::spawn(make()).await;
        if stop.is_cancelled() {
            if let Err(e) = ended {
                tracing::error!(part = name, error = %e, "panicked while it was stopping");
            }
            return;
        }
        match ended {
            Ok(Ok(())) => tracing::error!(part = name, "ended by itself"),
            Ok(Err(fault)) => tracing::error!(part = name, error = fault.chain(), "failed"),
            Err(e) => tracing::error!(part = name, error = %e, "panicked"),
        }
        if since.elapsed() > WELL {
            wait = first;
        }
        tracing::info!(part = name, "starting again in {wait:?}");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn what_panics_fails_or_ends_is_started_again_until_the_stop() {
        let stop = CancellationToken::new();
        let runs = Arc::new(AtomicU32::new(0));
        let (token, counter) = (stop.clone(), Arc::clone(&runs));
        run("part", stop, Duration::from_millis(1), move || {
            let (token, counter) = (token.clone(), Arc::clone(&counter));
            async move {
                match counter.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("on purpose"),
                    1 => Err(Fault::new("test", "on purpose")),
                    2 => Ok(()),
                    _ => {
                        token.cancel();
                        Ok(())
                    }
                }
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }
}
