//! Why a message was not sent, and what to do about it.

use std::error::Error;
use std::time::Duration;

/// What to do about a message that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFault {
    /// Try again: it certainly was not sent. After this long, if the other side said so or if it
    /// is known to take that long; otherwise by the retry policy.
    Retry {
        /// The least wait.
        after: Option<Duration>,
    },
    /// Trying again cannot help: the message or its recipient is refused.
    Permanent,
    /// Nobody knows: the request may have reached the provider, and the answer did not reach us.
    /// Sending again might deliver twice.
    Unknown,
}

/// A message that was not sent, or not known to be.
///
/// Neither the message nor the source holds a secret or the text of the message; the provider's
/// words may name the recipient, so they belong in the messages table and not in a log.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub struct SendError {
    /// What to do.
    pub class: SendFault,
    /// The provider's code, or a word of ours (`connect`, `timeout`, `reset`, ...). Stable, fit
    /// for a label.
    pub code: String,
    /// One sentence for people, with what to do where that is known.
    pub message: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl SendError {
    /// How long a message waits whose sending failed for a reason that only an operator can mend:
    /// refused credentials, a blocked account, an unknown sender. The message is not to blame, so
    /// it is neither given up nor tried every few seconds, which providers punish by locking the
    /// account.
    pub const OPERATOR_WAIT: Duration = Duration::from_secs(15 * 60);

    /// A failure of a class.
    pub fn new(class: SendFault, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class, code: code.into(), message: message.into(), source: None }
    }

    /// It was not sent; another try may succeed.
    pub fn retry(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(SendFault::Retry { after: None }, code, message)
    }

    /// It was not sent, and will not be until an operator mends something.
    pub fn wait(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(SendFault::Retry { after: Some(Self::OPERATOR_WAIT) }, code, message)
    }

    /// It was refused for good.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(SendFault::Permanent, code, message)
    }

    /// It may have been sent.
    pub fn unknown(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(SendFault::Unknown, code, message)
    }

    /// The same, to be dealt with in another way.
    #[must_use]
    pub fn classed(mut self, class: SendFault) -> Self {
        self.class = class;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
