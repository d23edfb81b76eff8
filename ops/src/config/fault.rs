//! Everything that is wrong with a configuration, told at once.

use serde::Serialize;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigFault {
    /// The key: `worker.concurrency`.
    pub key: String,
    /// Where the value came from: `default`, a file, an environment variable.
    pub from: String,
    /// What is wrong. Holds no secret.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// All of them. The program does not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        write!(f, "the configuration has {n} fault{}", if n == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            let ConfigFault { key, from, problem, remedy } = fault;
            write!(f, "\n\n  {key} (from {from})\n    {problem}\n    -> {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}
