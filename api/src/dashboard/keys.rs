//! Keys of encrypted arguments: which there are, and what lies under each. The rows are counted only on
//! demand, because that reads all of history.

use super::assets::Asset;
use super::error::Screen;
use super::format::grouped;
use super::shell::{Shell, page};
use crate::Api;
use crate::auth::{Caller, JobsRead};
use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;
use switchyard_queue::ArgsCipher;
use switchyard_store::jobs;
use switchyard_store::maintenance::KeepDays;
use switchyard_store::sealing::{self, KeyUse};

/// A key's row.
struct KeyView {
    /// Its id; none for what lies there in plain text.
    key: Option<String>,
    class: &'static str,
    standing: &'static str,
    /// What lies under it, in the order of [`COLUMNS`]; empty if nothing was counted.
    counts: Vec<i64>,
}

/// What is counted of a key. The second: open jobs that a rotation seals under the current one.
const COLUMNS: [&str; 4] = ["Open jobs", "Wait for rotation", "Unique keys", "History"];

impl KeyView {
    /// A key that nothing was counted of: this process has it.
    fn plain(key: String, current: bool) -> Self {
        let (class, standing) = if current { ("go", "current") } else { ("", "old") };
        Self { key: Some(key), class, standing, counts: Vec::new() }
    }

    fn counted(u: KeyUse) -> Self {
        let (class, standing) = match (&u.key, u.current, u.present) {
            (None, ..) => ("warn", "not encrypted"),
            (_, true, _) => ("go", "current"),
            (_, _, true) => ("", "old"),
            _ => ("bad", "missing here"),
        };
        let waits = if u.current { 0 } else { u.open };
        let counts = vec![u.open, waits, u.unique_keys, u.history];
        Self { key: u.key, class, standing, counts }
    }

    /// (column, number, whether it is none).
    fn cells(&self) -> impl Iterator<Item = (&'static str, String, bool)> {
        COLUMNS.iter().zip(&self.counts).map(|(name, n)| (*name, grouped(*n), *n == 0))
    }
}

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    shell: Shell,
    rows: Vec<KeyView>,
    counted: bool,
    /// Open jobs that wait for a rotation, once they are counted.
    waiting: i64,
    /// Kinds whose arguments are encrypted.
    kinds: Vec<String>,
}

/// Whether to count.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    #[serde(default)]
    count: bool,
}

/// `GET /ops/keys`; with `count=true` all rows are counted.
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    shell: Shell,
    Query(Ask { count }): Query<Ask>,
) -> Screen {
    let rows: Vec<KeyView> = if count {
        // Until when the history is kept is not shown here: the scheduler's settings say that.
        let uses = sealing::uses(&api.db, KeepDays::default()).await?;
        uses.into_iter().map(KeyView::counted).collect()
    } else {
        let mine = api.db.cipher().map(ArgsCipher::keys).unwrap_or_default();
        mine.into_iter().enumerate().map(|(n, key)| KeyView::plain(key, n == 0)).collect()
    };
    let all = jobs::kinds(&api.db).await?.into_iter();
    let encrypted = all.filter(|k| k.rules.as_ref().is_some_and(|r| r.encrypted));
    page(&Keys {
        waiting: rows.iter().filter_map(|k| k.counts.get(1)).sum(),
        rows,
        counted: count,
        kinds: encrypted.map(|k| k.kind).collect(),
        shell: shell.at("/ops/keys"),
    })
}
