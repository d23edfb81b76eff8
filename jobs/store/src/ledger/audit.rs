//! The audit: every entry is hashed anew and held against its leaf, the leaves against every signed
//! head, and what follows from entries against them. What anybody changed behind the triggers is named.

use super::balances::out_of_balance;
use super::beside;
use super::log::{heads, sealed, signed};
use crate::{Db, Result, Scope, Tx};
use chrono::NaiveDate;
use serde::Serialize;
use std::collections::HashMap;
use switchyard_domain::ledger::{Frontier, Hash, SignedHead};
use uuid::Uuid;

/// Leaves a transaction.
const BATCH: i64 = 2000;
/// Findings that are listed; more are only counted.
const MOST: usize = 1000;

/// What is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Finding {
    /// The entry, or its postings, are not what was sequenced.
    Altered {
        /// Its place.
        position: u64,
        /// The row of `ledger.entries`.
        entry: Uuid,
    },
    /// The entry is in the log and gone from the ledger.
    Deleted {
        /// Its place.
        position: u64,
        /// The row that was.
        entry: Uuid,
    },
    /// The entry is in the ledger, was never queued for the log, and is not in it.
    Inserted {
        /// The row of `ledger.entries`.
        entry: Uuid,
    },
    /// Postings name an entry that is not there.
    Loose {
        /// The row of `ledger.entries` that they name.
        entry: Uuid,
    },
    /// A place of the log is empty.
    PlaceMissing {
        /// The place.
        position: u64,
    },
    /// The leaves lead to another root than was signed.
    OtherRoot {
        /// The head's size.
        size: u64,
    },
    /// A head is not signed by its key, or by another key than this platform's.
    BadSignature {
        /// The head's size.
        size: u64,
    },
    /// The log is shorter than a head that was signed or kept elsewhere.
    Shortened {
        /// Leaves that the head covers.
        signed: u64,
        /// Leaves that there are.
        found: u64,
    },
    /// The accounts of a currency do not sum to zero.
    NotZero {
        /// ISO 4217.
        currency: String,
        /// What they sum to, in minor units.
        sum: String,
    },
    /// An account's balance is not the sum of its postings.
    WrongBalance {
        /// The account.
        account: Uuid,
    },
    /// An account's kind, owner, books or currency are not those that its id was made of.
    WrongAccount {
        /// The account.
        account: Uuid,
    },
    /// A node of the log is missing, is not the hash of what lies below it, or covers what is not there.
    WrongNode {
        /// Its level; leaves have 0.
        level: u8,
        /// Its place on that level.
        index: u64,
    },
    /// The figures of a closed month are not the sums of its entries, or it is open though entries were put
    /// off to the month after because it was closed.
    WrongMonth {
        /// In whose books.
        agency: Uuid,
        /// Its first day.
        month: NaiveDate,
    },
    /// A payout's state, owner or amount is not what is booked for it, or a booking has no payout.
    WrongPayout {
        /// The payout; of a booking without one the entry.
        id: Uuid,
    },
    /// A file for the bank says another sum, count, currency or method than the payouts that went out by it.
    WrongFile {
        /// The file.
        id: Uuid,
    },
}

/// A head that was kept outside the database: in a backup's manifest, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSeen {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Entries that were hashed.
    pub entries: u64,
    /// Signed heads that were held against them.
    pub heads: u64,
    /// What is wrong, at most 1,000.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub found: u64,
}

impl AuditReport {
    fn add(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < MOST {
            self.findings.push(finding);
        }
    }
}

/// Audits the whole ledger in memory that does not grow with it. `key` is the platform's public key for
/// heads, where it is known; `seen` are heads that were kept elsewhere. `step` hears how many entries
/// were looked at.
///
/// # Errors
/// If the database is not available. What is wrong is no error but in the report.
pub async fn audit(
    db: &Db,
    key: Option<[u8; 32]>,
    seen: &[HeadSeen],
    mut step: impl FnMut(u64),
) -> Result<AuditReport> {
    let mut report = AuditReport::default();
    let mut roots = Roots::read(db, key, seen, &mut report).await?;
    let mut tree = Frontier::default();
    loop {
        let leaves = leaves(db, tree.size()).await?;
        let Some((last, ..)) = leaves.last().copied() else { break };
        let entries = rehashed(db, &leaves).await?;
        let mut made = Vec::new();
        for (position, entry, leaf) in leaves {
            while tree.size() < position {
                report.add(Finding::PlaceMissing { position: tree.size() });
                made.extend(tree.push([0; 32]));
            }
            match entries.get(&entry) {
                None => report.add(Finding::Deleted { position, entry }),
                Some(now) if *now != leaf => report.add(Finding::Altered { position, entry }),
                Some(_) => {}
            }
            made.extend(tree.push(leaf));
            roots.check(&tree, &mut report);
        }
        beside::nodes(db, &made).await?.into_iter().for_each(|f| report.add(f));
        report.entries = last + 1;
        step(report.entries);
    }
    for size in roots.0.keys().copied().collect::<Vec<_>>() {
        report.add(Finding::Shortened { signed: size, found: tree.size() });
    }
    let mut tx = db.begin(Scope::Platform).await?;
    // These read every posting.
    sqlx::raw_sql("set local statement_timeout = '30min'").execute(tx.conn()).await?;
    for entry in unlogged(&mut tx).await? {
        report.add(Finding::Inserted { entry });
    }
    let (sums, accounts) = out_of_balance(&mut tx).await?;
    sums.into_iter().for_each(|(currency, sum)| report.add(Finding::NotZero { currency, sum }));
    accounts.into_iter().for_each(|a| report.add(Finding::WrongBalance { account: a.0 }));
    tx.rollback().await?;
    let found = beside::differing(db, || step(report.entries)).await?;
    found.into_iter().for_each(|f| report.add(f));
    Ok(report)
}

/// Heads that the tree has not reached yet, by size.
struct Roots(HashMap<u64, Vec<Hash>>);

impl Roots {
    async fn read(
        db: &Db,
        key: Option<[u8; 32]>,
        seen: &[HeadSeen],
        report: &mut AuditReport,
    ) -> Result<Self> {
        let mut roots: HashMap<u64, Vec<Hash>> = HashMap::new();
        let mut tx = db.begin(Scope::Platform).await?;
        let mut after = 0;
        loop {
            let page = heads(&mut tx, after, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = last.size;
            for head in &page {
                report.heads += 1;
                if !is_ours(head, key) {
                    report.add(Finding::BadSignature { size: head.size });
                }
                roots.entry(head.size).or_default().push(head.root);
            }
        }
        for head in seen.iter().filter(|head| head.size > 0) {
            roots.entry(head.size).or_default().push(head.root);
        }
        Ok(Self(roots))
    }

    fn check(&mut self, tree: &Frontier, report: &mut AuditReport) {
        let Some(expected) = self.0.remove(&tree.size()) else { return };
        let root = tree.root();
        if expected.iter().any(|e| *e != root) {
            report.add(Finding::OtherRoot { size: tree.size() });
        }
    }
}

fn is_ours(head: &SignedHead, key: Option<[u8; 32]>) -> bool {
    head.is_signed() && key.is_none_or(|key| key == head.public_key)
}

async fn leaves(db: &Db, from: u64) -> Result<Vec<(u64, Uuid, Hash)>> {
    let mut tx = db.begin(Scope::Platform).await?;
    let rows: Vec<(i64, Uuid, Vec<u8>)> = sqlx::query_as(
        "select position, entry_id, leaf from ledger.log where position >= $1 order by position limit $2",
    )
    .bind(signed(from)?)
    .bind(BATCH)
    .fetch_all(tx.conn())
    .await?;
    // A leaf of another length cannot stand in the table; if it does, it is nobody's hash.
    let read = |(position, entry, leaf): (i64, Uuid, Vec<u8>)| {
        (position.unsigned_abs(), entry, leaf.try_into().unwrap_or([0; 32]))
    };
    Ok(rows.into_iter().map(read).collect())
}

async fn rehashed(db: &Db, leaves: &[(u64, Uuid, Hash)]) -> Result<HashMap<Uuid, Hash>> {
    let mut tx = db.begin(Scope::Platform).await?;
    let ids: Vec<Uuid> = leaves.iter().map(|(_, entry, _)| *entry).collect();
    let entries = sealed(&mut tx, &ids).await?;
    Ok(entries.iter().map(|e| (e.id, e.leaf())).collect())
}

/// Entries without a place that do not wait for one either: nobody who writes by the rules leaves any.
async fn unlogged(tx: &mut Tx) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar(
        "select e.id from ledger.entries e
         where not exists (select from ledger.log l where l.entry_id = e.id)
           and not exists (select from ledger.unsequenced u where u.entry_id = e.id)
         order by e.id limit 1000",
    )
    .fetch_all(tx.conn())
    .await?)
}
