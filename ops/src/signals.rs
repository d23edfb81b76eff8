//! Ctrl-C and SIGTERM: the first asks everything to drain, the second forces the end.

use crate::Fault;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals of this process have said so far.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Stop in good order.
    pub stop: CancellationToken,
    /// Stop at once.
    pub force: CancellationToken,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn listen() -> Result<Self, Fault> {
        let refused =
            |e: std::io::Error| Fault::new("signals", "signals cannot be listened to").caused_by(e);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
        let signals = Self::default();
        let heard = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if heard.stop.is_cancelled() {
                    heard.force.cancel();
                    return;
                }
                tracing::info!("stopping; once more to force it");
                heard.stop.cancel();
            }
        });
        Ok(signals)
    }
}
