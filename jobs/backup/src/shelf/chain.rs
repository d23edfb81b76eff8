//! Which backups restore a moment: a full one, a differential of it that helps, and the increments after it.

use super::{SNAPSHOT_LSN, Shelf};
use crate::BackupFault;
use crate::model::{BackupId, Kind, Lsn, Manifest, Object};
use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;
use std::sync::Arc;

/// Up to where is to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// As far as there are backups.
    Newest,
    /// Every transaction that was committed up to this moment, by the database's clock.
    Time(DateTime<Utc>),
    /// Every transaction whose commit stands at or before this position of the log.
    Lsn(Lsn),
    /// The state at the end of this backup.
    Backup(BackupId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("the newest state"),
            Self::Time(at) => {
                write!(f, "the state of {}", at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            Self::Lsn(lsn) => write!(f, "the state at {lsn}"),
            Self::Backup(id) => write!(f, "the state of backup {id}"),
        }
    }
}

/// What is restored, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The full backup.
    pub full: Arc<Manifest>,
    /// A differential of it, which stands for the increments before its end.
    pub differential: Option<Arc<Manifest>>,
    /// The increments, without a gap. The first may begin before [`Chain::start`]: transactions that
    /// end at or before it are left out.
    pub increments: Vec<Arc<Manifest>>,
}

impl Chain {
    /// Increments are applied from this position on: where the differential ends, else the full begins.
    #[must_use]
    pub fn start(&self) -> Lsn {
        match (&self.differential, &self.full.kind) {
            (Some(differential), _) => end_of(differential),
            (None, Kind::Full { start, .. }) => *start,
            (None, _) => Lsn::default(),
        }
    }

    /// The position up to which the chain knows the log.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.increments.last().map_or_else(|| self.start(), |i| end_of(i))
    }

    /// The whole chain's state is at least as new as this, by the database's clock.
    #[must_use]
    pub fn covers(&self) -> DateTime<Utc> {
        self.manifests().map(|m| m.covers).max().unwrap_or(self.full.covers)
    }

    /// Whether another chain reaches further. In one log by the position, for the server's clock may have been
    /// put back; over two servers there is only the time.
    fn is_behind(&self, other: &Self) -> bool {
        let log = |chain: &Self| (chain.full.source.system.clone(), chain.full.source.timeline);
        if log(self) != log(other) {
            return self.covers() < other.covers();
        }
        let reach = |chain: &Self| (chain.end().max(noted(&chain.full)), end_of(&chain.full));
        reach(self) < reach(other)
    }

    /// Its backups, in the order in which they are restored.
    pub fn manifests(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        [&self.full].into_iter().chain(&self.differential).chain(&self.increments)
    }

    /// All its files.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.manifests().flat_map(|m| m.objects())
    }
}

/// Where an increment or a differential ends; a full backup has no end in the log.
fn end_of(manifest: &Manifest) -> Lsn {
    match manifest.kind {
        Kind::Incremental { to, .. } | Kind::Differential { to, .. } => to,
        Kind::Full { start, .. } => start,
    }
}

/// The position at which a full backup's snapshot was taken, if that was noted.
fn noted(full: &Manifest) -> Lsn {
    full.notes.get(SNAPSHOT_LSN).and_then(|noted| noted.parse().ok()).unwrap_or_default()
}

/// The increments that go on from a position, and why there are no more.
struct Run {
    increments: Vec<Arc<Manifest>>,
    stopped: Option<String>,
}

impl Shelf {
    /// The backups that restore a target. Of several ways, the one from the newest full backup.
    ///
    /// # Errors
    /// [`BackupFault::OutOfReach`]: a gap, before the first backup, after the last one. It says what can be
    /// restored.
    pub fn chain_for(&self, target: &Target) -> Result<Chain, BackupFault> {
        match target {
            Target::Newest => self.newest_chain(),
            Target::Backup(id) => self.chain_of(self.find(id)?),
            Target::Time(_) | Target::Lsn(_) => {
                let mut first_why = None;
                for full in self.fulls().rev().filter(|full| self.begins_before(full, target)) {
                    match self.beginning_with(full, target) {
                        Ok(chain) => return Ok(chain),
                        Err(why) => first_why = first_why.or(Some(why)),
                    }
                }
                let why =
                    first_why.unwrap_or_else(|| "no full backup was taken before that".to_owned());
                Err(self.out_of_reach(target.to_string(), why))
            }
        }
    }

    /// The chain that reaches furthest; of those that reach equally far, the one with the newest full.
    fn newest_chain(&self) -> Result<Chain, BackupFault> {
        let chains = self.fulls().map(|full| self.longest(full));
        chains.reduce(|best, chain| if chain.is_behind(&best) { best } else { chain }).ok_or_else(
            || self.out_of_reach(Target::Newest.to_string(), "there is no full backup".to_owned()),
        )
    }

    /// Everything that goes on from a full backup, with its newest differential.
    pub(crate) fn longest(&self, full: &Arc<Manifest>) -> Chain {
        let plain = self.without_differential(full);
        let with = self.differentials(&full.id).rev().find_map(|differential| {
            let run = self.run(full, end_of(differential));
            let chain = Chain {
                full: Arc::clone(full),
                differential: Some(Arc::clone(differential)),
                increments: run.increments,
            };
            (chain.end() >= plain.end()).then_some(chain)
        });
        with.unwrap_or(plain)
    }

    /// A full backup and all increments that go on from it.
    pub(crate) fn without_differential(&self, full: &Arc<Manifest>) -> Chain {
        let start = match full.kind {
            Kind::Full { start, .. } => start,
            _ => Lsn::default(),
        };
        let increments = self.run(full, start).increments;
        Chain { full: Arc::clone(full), differential: None, increments }
    }

    fn chain_of(&self, wanted: &Arc<Manifest>) -> Result<Chain, BackupFault> {
        let alone = |full: &Arc<Manifest>, differential| Chain {
            full: Arc::clone(full),
            differential,
            increments: Vec::new(),
        };
        match &wanted.kind {
            Kind::Full { .. } => Ok(alone(wanted, None)),
            Kind::Differential { full, .. } => {
                Ok(alone(self.find(full)?, Some(Arc::clone(wanted))))
            }
            Kind::Incremental { to, .. } => {
                let target = Target::Lsn(*to);
                let leads = |chain: &Chain| chain.increments.iter().any(|i| i.id == wanted.id);
                let before = self.fulls().rev().filter(|f| f.covers <= wanted.covers);
                let mut chains = before.filter_map(|full| {
                    let chain = self.beginning_with(full, &target).ok()?;
                    // A differential that ends where it ends stands for it, if it leads there too.
                    (leads(&chain) || leads(&self.without_differential(full))).then_some(chain)
                });
                chains.next().ok_or_else(|| {
                    let why = "no full backup leads to it without a gap".to_owned();
                    self.out_of_reach(format!("backup {}", wanted.id), why)
                })
            }
        }
    }

    /// Whether a full backup's own state is not newer than the target.
    fn begins_before(&self, full: &Arc<Manifest>, target: &Target) -> bool {
        match target {
            Target::Time(at) => full.covers <= *at,
            Target::Lsn(lsn) => self.settled(full).is_some_and(|settled| settled <= *lsn),
            Target::Newest | Target::Backup(_) => true,
        }
    }

    /// A position of the log at which a full backup's snapshot had been taken for sure.
    fn settled(&self, full: &Arc<Manifest>) -> Option<Lsn> {
        if let Some(noted) = full.notes.get(SNAPSHOT_LSN) {
            return noted.parse().ok();
        }
        let run = self.without_differential(full).increments;
        run.iter().find(|i| i.covers >= full.finished).map(|i| end_of(i))
    }

    /// The chain from one full backup, with the differential that saves most.
    fn beginning_with(&self, full: &Arc<Manifest>, target: &Target) -> Result<Chain, String> {
        let reached = |m: &Manifest| match target {
            Target::Time(at) => m.covers >= *at,
            Target::Lsn(lsn) => !matches!(m.kind, Kind::Full { .. }) && end_of(m) >= *lsn,
            Target::Newest | Target::Backup(_) => false,
        };
        let passed = |m: &Manifest| match target {
            Target::Time(at) => m.covers > *at,
            Target::Lsn(lsn) => end_of(m) > *lsn,
            Target::Newest | Target::Backup(_) => false,
        };
        let bases = self.differentials(&full.id).rev().filter(|d| !passed(d)).map(Some);
        let mut why = String::new();
        for differential in bases.chain([None]) {
            let base = differential.unwrap_or(full);
            let run = self.run(full, end_of(base));
            let needed = match reached(base) {
                true => Some(0),
                false => run.increments.iter().position(|i| reached(i)).map(|at| at + 1),
            };
            if let Some(needed) = needed {
                return Ok(Chain {
                    full: Arc::clone(full),
                    differential: differential.cloned(),
                    increments: run.increments.into_iter().take(needed).collect(),
                });
            }
            why = run.stopped.unwrap_or_else(|| "the newest increment ends before that".to_owned());
        }
        Err(why)
    }

    /// The increments that go on from a position without a gap, of the slot that reaches furthest.
    fn run(&self, full: &Manifest, start: Lsn) -> Run {
        let runs = self.logs.keys().map(|slot| self.run_of(slot, full, start));
        runs.max_by_key(|run| (run.increments.last().map(|i| end_of(i)), run.stopped.is_some()))
            .unwrap_or(Run { increments: Vec::new(), stopped: None })
    }

    fn run_of(&self, slot: &str, full: &Manifest, start: Lsn) -> Run {
        let mut run = Run { increments: Vec::new(), stopped: None };
        let Some(log) = self.logs.get(slot) else { return run };
        // The one that holds the position, or that begins there.
        let first = log.range(..=start).next_back().filter(|(_, i)| end_of(i) > start);
        let mut next = first.map(|(from, _)| *from);
        let mut reached = start;
        while let Some(increment) = next.and_then(|from| log.get(&from)) {
            if let Some(why) = differs(&full.source, increment) {
                run.stopped = Some(why);
                return run;
            }
            reached = end_of(increment);
            run.increments.push(Arc::clone(increment));
            // One that is empty would lead to itself.
            next = Some(reached).filter(|to| next < Some(*to));
        }
        let later = log.range(reached..).next();
        if let Some((from, _)) = later.filter(|_| !run.increments.is_empty()) {
            run.stopped = Some(self.gap(slot, reached, *from));
        }
        run
    }

    fn gap(&self, slot: &str, from: Lsn, to: Lsn) -> String {
        let key = crate::format::layout::increment_manifest(slot, from);
        match self.problems.iter().find(|p| p.key == key) {
            Some(spoilt) => spoilt.why.clone(),
            None => format!("the increments from {from} to {to} of the slot {slot} are missing"),
        }
    }
}

/// Why an increment does not go on from a full backup although its position does.
fn differs(source: &crate::model::Source, increment: &Manifest) -> Option<String> {
    let other = &increment.source;
    if (&source.system, &source.database) != (&other.system, &other.database) {
        Some(format!("increment {} is of another database", increment.id))
    } else if source.timeline != other.timeline {
        Some(format!("the server went over to another timeline before increment {}", increment.id))
    } else if source.schema != other.schema {
        Some(format!("the schema was changed before increment {}", increment.id))
    } else {
        None
    }
}
