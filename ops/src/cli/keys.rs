//! `keys`: under which keys encrypted arguments lie, and sealing them under the current one.

use super::args::{Global, Keys};
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use crate::compose::Base;
use crate::config::Needs;
use serde_json::json;
use switchyard_store::sealing::{self, KeyUse};

pub(super) async fn run(global: &Global, command: &Keys, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let keep = config.scheduler.keep_days;
    let base = Base::open(config)?;
    let ended = async {
        let done = match command {
            Keys::List => None,
            Keys::Rotate => Some(sealing::reseal(&base.db).await?),
        };
        Ok((done, sealing::uses(&base.db, keep).await?))
    }
    .await;
    base.close().await;
    let (done, uses) = ended.map_err(away)?;
    output.answer(&json!({ "resealed": done, "keys": uses }), || {
        let said = done.map(|d| {
            let failed = match d.failed {
                0 => String::new(),
                n => format!("; {n} could not be opened, see the log"),
            };
            format!("{} jobs were sealed under the current key{failed}\n\n", d.done)
        });
        let head = ["KEY", "", "OPEN", "UNIQUE KEYS", "HISTORY", "UNTIL", "MAY BE REMOVED"];
        let rows: Vec<_> = uses.iter().map(row).collect();
        said.unwrap_or_default() + &table(&head, &rows)
    });
    Ok(())
}

fn row(u: &KeyUse) -> Vec<String> {
    let standing = match (&u.key, u.current, u.present) {
        (None, ..) => "not encrypted",
        (_, true, _) => "current",
        (_, _, true) => "old",
        _ => "missing",
    };
    vec![
        u.key.clone().unwrap_or_else(|| "-".to_owned()),
        standing.to_owned(),
        u.open.to_string(),
        u.unique_keys.to_string(),
        u.history.to_string(),
        u.history_until.map(instant).unwrap_or_default(),
        removable(u).to_owned(),
    ]
}

/// Whether the key may be taken out of the configuration.
fn removable(u: &KeyUse) -> &'static str {
    match u {
        KeyUse { key: None, .. } | KeyUse { current: true, .. } | KeyUse { present: false, .. } => {
            ""
        }
        KeyUse { open: 1.., .. } => "no: `switchyard keys rotate` first",
        KeyUse { unique_keys: 1.., .. } => "no: unique keys are held under it",
        KeyUse { history: 1.., .. } => "yes, if the history need not be run again or revealed",
        _ => "yes",
    }
}
