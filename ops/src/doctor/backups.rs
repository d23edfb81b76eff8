//! Backups as the doctor sees them: whether there are any, how old they are, whether one was proven, and
//! whether this system waits for its release.

use super::Finding;
use crate::compose::Base;
use crate::config::written_duration;
use chrono::Utc;
use std::time::Duration;
use switchyard_catalog::backup::{self, Status};

/// A restore must have been proven within this.
const PROVEN: u64 = 24 * 3600;

/// Looks at all of it.
pub(super) async fn look(base: &Base) -> Vec<Finding> {
    let stands = backup::status(&base.db, base.platform.backups.as_deref(), Utc::now()).await;
    let stands = match stands {
        Ok(stands) => stands,
        Err(e) => {
            let chain = switchyard_queue::causes(&e).join(": ");
            let remedy = "look at the findings about the database first";
            return vec![Finding::fail("backups", chain, remedy)];
        }
    };
    let mut found = vec![age(&stands), proof(&stands)];
    let b = &base.config.backup;
    if b.archive.is_some() && (b.signing_key.is_none() || b.recipients.is_empty()) {
        found.push(Finding::warn(
            "backup keys",
            "there is an archive, but no keys to write to it: workers do not start",
            "set backup.signing_key and backup.recipients; `switchyard backup keygen` makes them",
        ));
    }
    if stands.restored.as_ref().is_some_and(|r| r.released_at.is_none()) {
        found.push(Finding::warn(
            "released",
            "this system was restored and is not released: nothing leaves it",
            "look at what waits in its queues, then run `switchyard release`",
        ));
    }
    found.extend(stands.alarms.iter().map(|a| {
        let found = format!("{}: {}", a.key, a.text);
        Finding::warn("alarm", found, "see docs/backups.md, and `switchyard backup status`")
    }));
    found
}

fn seconds(n: u64) -> String {
    written_duration(Duration::from_secs(n))
}

fn age(s: &Status) -> Finding {
    let Some(archive) = &s.archive else {
        let remedy = "set backup.archive; docs/backups.md shows how in five lines";
        return Finding::warn("backups", "no archive is configured: there are none", remedy);
    };
    match (s.exposed_seconds, s.rpo_seconds) {
        (None, _) => Finding::warn(
            "backups",
            format!("there is none in {archive} yet"),
            "one is taken within a minute of the start of workers and scheduler",
        ),
        (Some(age), Some(rpo)) if age > rpo => Finding::fail(
            "backups",
            format!(
                "the newest in {archive} is {} old, {} are promised",
                seconds(age),
                seconds(rpo)
            ),
            "look at the failed runs: `switchyard backup status`",
        ),
        (Some(age), _) => {
            Finding::ok("backups", format!("the newest in {archive} is {} old", seconds(age)))
        }
    }
}

fn proof(s: &Status) -> Finding {
    match &s.proof {
        None => Finding::warn(
            "proven restore",
            "no restore was proven yet",
            "the first drill follows the first full backup; it needs backup.drill_identity",
        ),
        Some(p) if p.age_seconds > PROVEN => Finding::fail(
            "proven restore",
            format!("the last one was {} ago", seconds(p.age_seconds)),
            "run `switchyard backup now drill`, and look at what it says",
        ),
        Some(p) => Finding::ok("proven restore", format!("{} ago", seconds(p.age_seconds))),
    }
}
