//! Which backups stay. No I/O.

use super::Policy;
use crate::model::{BackupId, Kind, Lsn, Manifest};
use crate::shelf::{Chain, Shelf, Target};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How many differentials of a full backup stay: the newest, and one in case it is damaged.
const DIFFERENTIALS: usize = 2;

/// A backup that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The backup.
    pub manifest: Arc<Manifest>,
    /// Why, one or more reasons.
    pub reasons: Vec<String>,
}

/// A backup that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The backup.
    pub manifest: Arc<Manifest>,
    /// Why.
    pub reason: String,
}

/// What stays and what goes. What goes is in the order in which it is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What stays, the oldest first.
    pub kept: Vec<Kept>,
    /// What goes: increments and differentials first, full backups last, the oldest first.
    pub dropped: Vec<Dropped>,
}

/// Decides for every backup of a shelf.
#[must_use]
pub fn decide(shelf: &Shelf, policy: &Policy, now: DateTime<Utc>) -> Decision {
    let mut keep = Keep::default();
    let fulls: Vec<&Arc<Manifest>> = shelf.fulls().collect();
    keep.by_count(&fulls, policy);
    let begin = now
        .checked_sub_signed(TimeDelta::days(i64::from(policy.window_days)))
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    // Every moment of the window is restored from this full backup on.
    let older = fulls.iter().rev().find(|f| f.covers <= begin);
    let anchor = older.or(fulls.first()).copied();
    if let Some(anchor) = anchor {
        keep.add(anchor, "every moment since the window began is restored from it on");
    }
    if let Ok(newest) = shelf.chain_for(&Target::Newest) {
        for part in newest.manifests() {
            keep.add(part, "the newest state is restored from it");
        }
    }
    keep.roots(shelf, &fulls, anchor);
    for manifest in shelf.all() {
        match &manifest.kind {
            Kind::Full { .. } => {}
            Kind::Incremental { to, .. } => {
                if anchor.is_none_or(|anchor| !is_before(manifest, *to, anchor)) {
                    keep.add(manifest, "a moment in the window is restored with it");
                }
            }
            Kind::Differential { full, .. } => {
                // Which full backups stay is known by now.
                let in_window = |of: &Arc<Manifest>| anchor.is_some_and(|a| of.age() >= a.age());
                let serves = keep.0.contains_key(full) && shelf.get(full).is_some_and(in_window);
                let newer = shelf.differentials(full).filter(|d| d.age() > manifest.age()).count();
                if serves && newer < DIFFERENTIALS {
                    keep.add(manifest, "it makes the restore from its full backup shorter");
                }
            }
        }
    }
    keep.decision(shelf)
}

/// Whether an increment ends before a full backup began, so that nothing from that on needs it. By the
/// position and by the time: either clock may have jumped, and a log may be of another server.
fn is_before(increment: &Manifest, to: Lsn, full: &Manifest) -> bool {
    let Kind::Full { start, .. } = full.kind else { return false };
    let same_log = increment.source.system == full.source.system
        && increment.source.timeline == full.source.timeline;
    increment.covers < full.began && (!same_log || to <= start)
}

#[derive(Default)]
struct Keep(BTreeMap<BackupId, Vec<String>>);

impl Keep {
    fn add(&mut self, manifest: &Manifest, reason: &str) {
        let reasons = self.0.entry(manifest.id.clone()).or_default();
        if reasons.iter().all(|r| r != reason) {
            reasons.push(reason.to_owned());
        }
    }

    /// Grandfather, father, son: the newest of each of the newest days, weeks, months, years.
    fn by_count(&mut self, fulls: &[&Arc<Manifest>], policy: &Policy) {
        let at_least_one = policy.last.max(1) as usize;
        for full in fulls.iter().rev().take(at_least_one) {
            self.add(full, "it is among the newest full backups");
        }
        type Bucket = fn(DateTime<Utc>) -> (i32, u32);
        let rules: [(u32, &str, Bucket); 4] = [
            (policy.daily, "it is the newest of its day", |at| (at.year(), at.ordinal())),
            (policy.weekly, "it is the newest of its week", |at| {
                (at.iso_week().year(), at.iso_week().week())
            }),
            (policy.monthly, "it is the newest of its month", |at| (at.year(), at.month())),
            (policy.yearly, "it is the newest of its year", |at| (at.year(), 0)),
        ];
        for (count, reason, bucket) in rules {
            let mut seen = HashSet::new();
            for full in fulls.iter().rev() {
                if seen.len() >= count as usize {
                    break;
                }
                if seen.insert(bucket(full.covers)) {
                    self.add(full, reason);
                }
            }
        }
    }

    /// Where the log from an older full backup breaks off (a lost slot, another schema), the moments after it are
    /// restored from a later one: that stays too.
    fn roots(&mut self, shelf: &Shelf, fulls: &[&Arc<Manifest>], anchor: Option<&Arc<Manifest>>) {
        let Some(anchor) = anchor else { return };
        let serving = fulls.iter().filter(|f| f.age() >= anchor.age());
        let mut led_to: HashSet<BackupId> = HashSet::new();
        for full in serving {
            let chain: Chain = shelf.without_differential(full);
            let leads_on = chain.increments.iter().any(|i| !led_to.contains(&i.id));
            if leads_on {
                self.add(full, "moments in the window can be restored from no older one");
            }
            if self.0.contains_key(&full.id) {
                led_to.extend(chain.increments.iter().map(|i| i.id.clone()));
            }
        }
    }

    /// In the order in which they go: at no moment does what is still there refer to what is gone.
    fn decision(mut self, shelf: &Shelf) -> Decision {
        let mut decision = Decision::default();
        for manifest in shelf.all() {
            let manifest = Arc::clone(manifest);
            if let Some(reasons) = self.0.remove(&manifest.id) {
                decision.kept.push(Kept { manifest, reasons });
                continue;
            }
            let reason = match manifest.kind {
                Kind::Full { .. } => "no rule of the policy wants it",
                _ => "no full backup that stays needs it",
            };
            decision.dropped.push(Dropped { manifest, reason: reason.to_owned() });
        }
        // By their ids two increments of one second may stand the wrong way round.
        decision.dropped.sort_by_key(|gone| match &gone.manifest.kind {
            Kind::Differential { .. } => (0, String::new(), Lsn(0)),
            Kind::Incremental { slot, from, .. } => (1, slot.clone(), *from),
            Kind::Full { .. } => (2, String::new(), Lsn(0)),
        });
        decision
    }
}
