//! What is in an archive, as people read it.

use crate::backups;
use crate::cli::jobs::instant;
use crate::cli::output::{Failure, Output, table};
use serde_json::{Value, json};
use switchyard_backup::model::{Kind, Manifest};
use switchyard_backup::{Shelf, Vault};

pub(super) async fn list(vault: &Vault, output: Output) -> Result<(), Failure> {
    let shelf = Shelf::load(vault).await.map_err(backups::fault)?;
    let all: Vec<Value> = shelf.all().iter().rev().map(|m| view(m)).collect();
    let windows = shelf.windows();
    let windows: Vec<Value> =
        windows.iter().map(|w| json!({ "from": w.from, "to": w.to })).collect();
    let problems: Vec<Value> =
        shelf.problems().iter().map(|p| json!({ "key": p.key, "why": p.why })).collect();
    let answer = json!({ "archive": vault.archive.name(), "backups": all,
        "restorable": windows, "problems": problems });
    output.answer(&answer, || {
        let rows: Vec<_> = shelf.all().iter().rev().map(|m| row(m)).collect();
        let head = ["BACKUP", "KIND", "STATE OF", "TO", "STORED", "ROWS"];
        let mut text = table(&head, &rows);
        for window in shelf.windows() {
            let (from, to) = (instant(window.from), instant(window.to));
            text.push_str(&format!("\n\nEvery moment from {from} to {to} can be restored."));
        }
        for problem in shelf.problems() {
            text.push_str(&format!("\n! {} {}", problem.key, problem.why));
        }
        text
    });
    Ok(())
}

fn kind(m: &Manifest) -> &'static str {
    match m.kind {
        Kind::Full { .. } => "full",
        Kind::Incremental { .. } => "incremental",
        Kind::Differential { .. } => "differential",
    }
}

fn rows(m: &Manifest) -> u64 {
    match &m.kind {
        Kind::Full { tables, .. } => tables.iter().map(|t| t.sums.rows).sum(),
        Kind::Incremental { changes, .. } => *changes,
        Kind::Differential { segments, .. } => segments.iter().flatten().map(|o| o.rows).sum(),
    }
}

fn to(m: &Manifest) -> String {
    match &m.kind {
        Kind::Full { start, .. } => start.to_string(),
        Kind::Incremental { to, .. } | Kind::Differential { to, .. } => to.to_string(),
    }
}

fn view(m: &Manifest) -> Value {
    json!({
        "id": m.id, "kind": kind(m), "covers": m.covers, "began": m.began, "finished": m.finished,
        "to": to(m), "stored_bytes": m.stored_bytes(), "rows": rows(m), "notes": m.notes,
    })
}

fn row(m: &Manifest) -> Vec<String> {
    vec![
        m.id.to_string(),
        kind(m).to_owned(),
        instant(m.covers),
        to(m),
        size(m.stored_bytes()),
        rows(m).to_string(),
    ]
}

/// Bytes, in the unit that suits.
pub(super) fn size(bytes: u64) -> String {
    // Two digits are enough for people.
    #[allow(clippy::cast_precision_loss)]
    let n = bytes as f64;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", n / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n / 1_048_576.0),
        _ => format!("{:.1} GiB", n / 1_073_741_824.0),
    }
}

/// A record of simple values, a line each.
pub(super) fn facts(value: &Value) -> String {
    let Value::Object(facts) = value else { return value.to_string() };
    let line = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(all) => format!("{}", all.len()),
            other => other.to_string(),
        };
        vec![name.replace('_', " "), value]
    };
    table(&["", ""], &facts.iter().map(line).collect::<Vec<_>>())
}
