//! What checks, retention and copies found, as JSON: for the record of runs and for the command line.

use serde_json::{Value, json};
use switchyard_backup::copy::Copied;
use switchyard_backup::prune::Pruned;
use switchyard_backup::shelf::Problem;
use switchyard_backup::verify::Verified;

/// Problems that are told; a spoilt archive may have thousands, all alike.
const MOST: usize = 50;

fn problems(all: &[Problem]) -> Vec<Value> {
    all.iter().take(MOST).map(|p| json!({ "key": p.key, "why": p.why })).collect()
}

/// What a check found.
#[must_use]
pub fn verified(v: &Verified) -> Value {
    json!({
        "backups": v.backups,
        "files": v.objects,
        "bytes": v.bytes,
        "sound": v.is_sound(),
        "problems": problems(&v.problems),
    })
}

/// What retention took away, or would.
#[must_use]
pub fn pruned(p: &Pruned) -> Value {
    let dropped = p.dropped.iter().map(|d| json!({ "backup": d.manifest.id, "why": d.reason }));
    let dropped: Vec<Value> = dropped.collect();
    json!({
        "dry_run": p.dry_run,
        "kept": p.kept.len(),
        "dropped": dropped,
        "orphans": p.orphans.len(),
        "unfinished": p.unfinished,
        "bytes": p.bytes,
        "refused": problems(&p.refused),
        "problems": problems(&p.problems),
        "doubt": p.doubt,
    })
}

/// What was copied.
#[must_use]
pub fn copied(c: &Copied) -> Value {
    json!({ "backups": c.backups, "files": c.objects, "bytes": c.bytes, "skipped": c.skipped })
}
