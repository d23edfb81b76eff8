//! What the program says: tables for people or JSON for programs, on the standard output; what goes
//! wrong, on the standard error stream.

use crate::Fault;
use crate::config::ConfigFaults;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// How a command ends when it does not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was tried and did not work: exit code 1.
    Failed(Fault),
    /// The command line is wrong: exit code 2.
    Usage(Fault),
    /// The configuration is wrong: exit code 2.
    Config(ConfigFaults),
    /// Everything has been said already.
    Said(u8),
    /// More than a sentence: what is said as JSON, and to people.
    Told {
        /// Exit code.
        code: u8,
        /// What stands under `error`.
        error: serde_json::Value,
        /// The same for people.
        people: String,
    },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<ConfigFaults> for Failure {
    fn from(faults: ConfigFaults) -> Self {
        Self::Config(faults)
    }
}

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// One answer: as JSON, or as people read it.
    pub(super) fn answer<T: Serialize + ?Sized>(self, value: &T, people: impl FnOnce() -> String) {
        let text = if self.json {
            serde_json::to_string_pretty(value).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
        } else {
            people()
        };
        say(&text);
    }

    /// Says what went wrong and gives the exit code.
    pub(super) fn failure(self, failure: &Failure) -> ExitCode {
        let (code, value, people) = match failure {
            Failure::Failed(f) => (1, of_fault(f), told(f)),
            Failure::Usage(f) => (2, of_fault(f), told(f)),
            Failure::Config(faults) => {
                let error = json!({
                    "code": "configuration",
                    "message": faults.to_string().lines().next(),
                    "faults": faults,
                });
                (2, error, faults.to_string())
            }
            Failure::Said(code) => return ExitCode::from(*code),
            Failure::Told { code, error, people } => (*code, error.clone(), people.clone()),
        };
        let text = if self.json { json!({ "error": value }).to_string() } else { people };
        // With a closed stream there is nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        ExitCode::from(code)
    }
}

fn of_fault(fault: &Fault) -> serde_json::Value {
    json!({ "code": fault.code, "message": fault.chain(), "remedy": fault.remedy })
}

fn told(fault: &Fault) -> String {
    let remedy = fault.remedy.as_ref().map(|r| format!("\n  -> {r}")).unwrap_or_default();
    format!("switchyard: {}{remedy}", fault.chain())
}

/// A line on the standard output. Whoever closed it does not want the rest.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}

/// A table: columns as wide as their widest cell, numbers of the last row included.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push('\n');
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["żółw".into(), "1".into()], vec!["a".into(), "22".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name  n\nżółw  1\na     22");
    }

    #[test]
    fn an_empty_table_is_its_head() {
        assert_eq!(table(&["id", "state"], &[]), "id  state");
    }
}
