//! Runs for the tests of what is made of them.

use chrono::{DateTime, Utc};
use switchyard_store::backups::runs::{Run, RunKind, RunState};
use uuid::Uuid;

/// One that succeeded.
pub(super) fn run(kind: RunKind, began: DateTime<Utc>, ended: DateTime<Utc>) -> Run {
    Run {
        id: Uuid::now_v7(),
        kind,
        state: RunState::Succeeded,
        asked_by: "schedule".to_owned(),
        job: None,
        backup: None,
        covers: None,
        from_lsn: None,
        to_lsn: None,
        stored_bytes: None,
        rows: None,
        evidence: None,
        error: None,
        began_at: began,
        finished_at: Some(ended),
    }
}
