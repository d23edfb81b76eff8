//! What goes wrong for the person at the terminal: what, and what to do about it.

use std::error::Error;
use std::fmt;

/// A failure with its remedy. The source, if any, is kept for the log.
#[derive(Debug)]
pub struct Fault {
    /// Stable word for programs, `snake_case`.
    pub code: &'static str,
    /// What happened, a sentence without a full stop.
    pub what: String,
    /// What to do about it, if that is known.
    pub remedy: Option<String>,
    /// The cause below.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure without a known remedy.
    pub fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), remedy: None, source: None }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Names the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The chain of causes, outermost first, joined by colons.
    #[must_use]
    pub fn chain(&self) -> String {
        switchyard_queue::causes(self).join(": ")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
