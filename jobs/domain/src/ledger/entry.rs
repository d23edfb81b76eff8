//! The bytes of an entry: each part with its length before it, so that no two entries share them.

use super::hexed;
use super::merkle::{Hash, leaf_hash};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Names the format; another one gets another name.
const LEAF_V1: &[u8] = b"switchyard-ledger-entry-v1";
const CONTENT_V1: &[u8] = b"switchyard-ledger-content-v1";

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The hash of what a posting request says, without what the ledger adds to it (id, period, time of
/// booking): the same key may come again with the same content only.
#[must_use]
pub fn content_hash(parts: &[&[u8]]) -> Hash {
    let mut bytes = Bytes::new(CONTENT_V1);
    parts.iter().for_each(|part| bytes.put(part));
    sha256(&bytes.0)
}

/// An entry with its postings as it is stored: what a leaf of the log is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Its id.
    pub id: Uuid,
    /// Its idempotency key.
    pub key: String,
    /// The hash of what was asked for.
    #[serde(with = "hexed")]
    pub content_hash: Vec<u8>,
    /// Whose books.
    pub agency: Uuid,
    /// First day of the month that it counts in.
    pub period: NaiveDate,
    /// What it is.
    pub kind: String,
    /// Whose deal.
    pub agent: Option<Uuid>,
    /// Which event's line it changes.
    pub event: Option<Uuid>,
    /// Which lead.
    pub lead: Option<Uuid>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was booked.
    pub booked_at: DateTime<Utc>,
    /// The explanation as the database writes it.
    pub explanation: String,
    /// Account, currency and amount, in the order of their numbers.
    pub postings: Vec<(i16, Uuid, String, i64)>,
}

impl Sealed {
    /// The leaf: every column that anybody could rewrite is in it.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        let mut bytes = Bytes::new(LEAF_V1);
        bytes.put(self.id.as_bytes());
        bytes.put(self.key.as_bytes());
        bytes.put(&self.content_hash);
        bytes.put(self.agency.as_bytes());
        bytes.put(self.period.to_string().as_bytes());
        bytes.put(self.kind.as_bytes());
        for id in [self.agent, self.event, self.lead] {
            // An absent id has no bytes, a present one 16.
            bytes.put(id.as_ref().map_or(&[][..], |id| id.as_bytes()));
        }
        bytes.put(&self.occurred_at.timestamp_micros().to_be_bytes());
        bytes.put(&self.booked_at.timestamp_micros().to_be_bytes());
        bytes.put(self.explanation.as_bytes());
        for (n, account, currency, amount) in &self.postings {
            bytes.put(&n.to_be_bytes());
            bytes.put(account.as_bytes());
            bytes.put(currency.as_bytes());
            bytes.put(&amount.to_be_bytes());
        }
        leaf_hash(&bytes.0)
    }
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn new(format: &[u8]) -> Self {
        let mut bytes = Self(Vec::with_capacity(512));
        bytes.put(format);
        bytes
    }

    fn put(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Sealed {
        Sealed {
            id: Uuid::from_u128(1),
            key: "k".into(),
            content_hash: vec![7; 32],
            agency: Uuid::from_u128(2),
            period: NaiveDate::default(),
            kind: "commission".into(),
            agent: None,
            event: Some(Uuid::from_u128(3)),
            lead: None,
            occurred_at: DateTime::UNIX_EPOCH,
            booked_at: DateTime::UNIX_EPOCH,
            explanation: "{}".into(),
            postings: vec![
                (0, Uuid::from_u128(4), "EUR".into(), 5),
                (1, Uuid::from_u128(5), "EUR".into(), -5),
            ],
        }
    }

    #[test]
    fn whatever_is_changed_changes_the_leaf() {
        let changes: [fn(&mut Sealed); 14] = [
            |e| e.id = Uuid::from_u128(9),
            |e| e.key.push('x'),
            |e| e.content_hash[0] ^= 1,
            |e| e.agency = Uuid::from_u128(9),
            |e| e.period = e.period.succ_opt().expect("a currency"),
            |e| e.kind.push('x'),
            |e| e.agent = e.event,
            |e| (e.event, e.lead) = (e.lead, e.event),
            |e| e.occurred_at += chrono::Duration::microseconds(1),
            |e| e.booked_at += chrono::Duration::microseconds(1),
            |e| e.explanation = "{ }".into(),
            |e| e.postings[0].3 = 6,
            |e| e.postings.truncate(1),
            |e| e.postings[1].1 = Uuid::from_u128(4),
        ];
        let mut seen = vec![entry().leaf()];
        for change in changes {
            let mut changed = entry();
            change(&mut changed);
            let leaf = changed.leaf();
            assert!(!seen.contains(&leaf), "{changed:?}");
            seen.push(leaf);
        }
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(content_hash(&[b"ab", b"c"]), content_hash(&[b"a", b"bc"]));
        assert_ne!(content_hash(&[b"a"]), content_hash(&[b"a", b""]));
    }
}
