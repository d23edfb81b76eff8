//! How a portal's bodies are read, where the headers do not say it or say it wrongly.

use super::charset::is_known;
use super::kind::BodyType;
use crate::FieldFault;
use serde::{Deserialize, Serialize};

/// The largest body of any portal, in bytes, compressed or not.
pub const LARGEST_BODY: usize = 10 << 20;
const DEPTH: u16 = 127;
const NODES: u32 = 200_000;
const FIELDS: u32 = 5_000;

/// How bodies are read. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BodySettings {
    /// What they are, whatever their content type says.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub body_type: Option<BodyType>,
    /// Their character set, whatever the headers say: a label such as `windows-1252`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// How tables are written.
    pub csv: CsvSettings,
    /// How XML becomes objects.
    pub xml: XmlSettings,
    /// How much is read.
    pub limits: BodyLimits,
}

/// How tables are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CsvSettings {
    /// One ASCII character; without it, the one of `,` `;` tab and `|` that the first line has most of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The first row holds the columns' names.
    pub header: bool,
    /// The columns' names where no row holds them; without them `1`, `2` and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

impl Default for CsvSettings {
    fn default() -> Self {
        Self { delimiter: None, header: true, columns: Vec::new() }
    }
}

/// How XML becomes objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XmlSettings {
    /// Elements that are lists, even where only one is sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<String>,
}

/// How much of a body is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BodyLimits {
    /// Bytes, as it comes and inflated; without it, the server's `http.body_limit` (1 MiB). At most
    /// 10 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// Levels of nesting, 1 to 127.
    pub depth: u16,
    /// Values in all, 1 to 1,000,000.
    pub nodes: u32,
    /// Members of one object, fields of a form, columns of a table; 1 to 50,000.
    pub fields: u32,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: None, depth: DEPTH, nodes: NODES, fields: FIELDS }
    }
}

impl BodyLimits {
    /// The most that a body may have, given what the server allows by itself.
    #[must_use]
    pub fn bytes_or(&self, server: usize) -> usize {
        self.bytes.unwrap_or(server)
    }
}

impl BodySettings {
    /// What is wrong with them; the pointers begin with `/body`.
    pub(crate) fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |at: &str, code: &str, message: String| {
            faults.push(FieldFault::new(format!("/body{at}"), code, message));
        };
        if let Some(label) = self.charset.as_deref().filter(|l| !is_known(l)) {
            let message =
                format!("`{label}` is no character set; write one such as `windows-1252`.");
            fault("/charset", "unknown_charset", message);
        }
        if self.csv.delimiter.is_some_and(|c| !c.is_ascii() || "\"\r\n\0".contains(c)) {
            let message = "The delimiter is one ASCII character, such as `;`.";
            fault("/csv/delimiter", "invalid_delimiter", message.to_owned());
        }
        let limits = &self.limits;
        let mut bound = |name: &str, value: u64, most: u64| {
            if !(1..=most).contains(&value) {
                let message = format!("`{name}` is between 1 and {most}, not {value}.");
                fault(&format!("/limits/{name}"), "out_of_range", message);
            }
        };
        bound("bytes", limits.bytes.unwrap_or(1) as u64, LARGEST_BODY as u64);
        bound("depth", limits.depth.into(), DEPTH.into());
        bound("nodes", limits.nodes.into(), 1_000_000);
        bound("fields", limits.fields.into(), 50_000);
        faults
    }
}
