//! What a backup says about itself: ids, positions in the log, manifests.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The version of the format. A reader refuses what is newer.
pub const FORMAT: u32 = 2;

/// A backup's name: `20261123T051500Z-9f3a61c2`. Names sort by the second in which they began; of two of one
/// second [`Manifest::age`] tells which is older.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupId(String);

impl BackupId {
    /// A new name; `random` tells two of one second apart.
    #[must_use]
    pub fn new(at: DateTime<Utc>, random: u32) -> Self {
        Self(format!("{}-{random:08x}", at.format("%Y%m%dT%H%M%SZ")))
    }

    /// The text, safe as a part of a path or a key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BackupId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let fits = text.len() == 25
            && text.is_ascii()
            && digits(&text[..8])
            && &text[8..9] == "T"
            && digits(&text[9..15])
            && &text[15..17] == "Z-"
            && text[17..].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is no backup's name; `switchyard backup list` shows them"))
        }
    }
}

/// A position in the write-ahead log, in bytes; written `16/B374D848` as PostgreSQL does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let half = |s: &str| u32::from_str_radix(s, 16).ok().map(u64::from);
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| format!("`{text}` is no position in the log, such as 16/B374D848"))
    }
}

impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which transactions a full backup's copy holds: PostgreSQL's `pg_snapshot`. A transaction of the log
/// that it holds must not be applied to it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every transaction below it was over.
    pub xmin: u64,
    /// Every transaction from it on had not begun.
    pub xmax: u64,
    /// Those between that were under way, ascending.
    pub running: Vec<u64>,
}

impl Snapshot {
    /// Whether the copy holds a transaction, named by the 32 bits that the log has of its number.
    /// Right while the two are less than 2^31 transactions apart, which PostgreSQL itself enforces.
    #[must_use]
    pub fn holds(&self, xid: u32) -> bool {
        // The number nearest to xmax that ends in these 32 bits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let distance = i64::from(xid.wrapping_sub(self.xmax as u32) as i32);
        let full = self.xmax.saturating_add_signed(distance);
        full < self.xmin || (full < self.xmax && self.running.binary_search(&full).is_err())
    }
}

/// The row count and checksums of a table, equal for equal contents whatever the order of its rows:
/// of XXH3 (128 bits, seed 0) of each line as `COPY ... TO STDOUT` writes it, without the line feed, the
/// lower 64 bits summed up and the upper ones in an exclusive or. In manifests of format 1:
/// `sum(hashtextextended(row::text, 0))` and `bit_xor(hashtextextended(row::text, 1))`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Rows.
    pub rows: u64,
    /// The sum, a decimal number that may pass 64 bits.
    pub sum: String,
    /// The exclusive or, as a signed 64-bit number.
    pub xor: i64,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its key below the prefix of the archive.
    pub key: String,
    /// Its size as it is stored, in bytes.
    pub bytes: u64,
    /// SHA-256 of what is stored, in hexadecimal digits.
    pub sha256: String,
    /// Its size before compression and encryption.
    pub plain_bytes: u64,
    /// Rows (of a table) or lines (of changes) in it.
    pub rows: u64,
}

/// A table of a full backup. Of a partitioned table its partitions that hold rows, each by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `schema.name` as plain text, without quotes.
    pub name: String,
    /// The partitioned table at its root, under whose name its changes come; itself if there is none.
    pub root: String,
    /// The columns that are copied, in order: all that are not generated.
    pub columns: Vec<String>,
    /// Its contents.
    pub sums: Sums,
    /// Its files, in order.
    pub objects: Vec<Object>,
}

/// Where a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// `schema.name`.
    pub name: String,
    /// Its last value. Restored with a margin if increments follow.
    pub last_value: i64,
    /// Whether that value was given out.
    pub is_called: bool,
}

/// A partition as it stood, so that one made after the full backup can be made again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// `schema.name`.
    pub name: String,
    /// The table that it is a partition of.
    pub parent: String,
    /// `FOR VALUES ...` or `DEFAULT`, from `pg_get_expr(relpartbound, oid)`.
    pub bound: String,
}

/// Which database it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The cluster's number from `pg_control_system()`, in decimal digits.
    pub system: String,
    /// The database's name.
    pub database: String,
    /// The timeline.
    pub timeline: u32,
    /// `server_version_num`, such as 150008.
    pub server_version: u32,
    /// The newest migration.
    pub migration: Option<i64>,
    /// SHA-256 of the schema's dump without its partitions: a change of it forces a full backup.
    pub schema: String,
}

/// What kind a backup is, and what is only in that kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Every row under one snapshot.
    Full {
        /// What the copy holds.
        snapshot: Snapshot,
        /// Increments that end after this position go on from it.
        start: Lsn,
        /// The schema up to the tables, without indexes: run before the rows are loaded.
        schema_before: Object,
        /// Keys, indexes, constraints, triggers, policies, grants: run after.
        schema_after: Object,
        /// The tables.
        tables: Vec<Table>,
        /// Where sequences stand.
        sequences: Vec<Sequence>,
    },
    /// The changes of a stretch of the log, in the order of commits.
    Incremental {
        /// Which slot: `name/number`; changes of two slots do not follow one another.
        slot: String,
        /// After this position (that of the increment before).
        from: Lsn,
        /// Up to and with this one.
        to: Lsn,
        /// The newest commit in it; none if nothing was committed.
        newest_commit: Option<DateTime<Utc>>,
        /// Transactions.
        transactions: u64,
        /// Rows changed.
        changes: u64,
        /// The files, in order.
        objects: Vec<Object>,
        /// Where sequences stand.
        sequences: Vec<Sequence>,
    },
    /// All changes since a full backup, the last one of each key.
    Differential {
        /// The full backup.
        full: BackupId,
        /// After this position.
        from: Lsn,
        /// Up to and with this one: increments that end after it go on from here.
        to: Lsn,
        /// The newest commit in it.
        newest_commit: Option<DateTime<Utc>>,
        /// Segments, to be applied in order; in one segment each key comes once.
        segments: Vec<Vec<Object>>,
        /// Where sequences stand.
        sequences: Vec<Sequence>,
    },
}

/// What a backup says about itself. Signed; whatever it does not name is no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name.
    pub id: BackupId,
    /// The database.
    pub source: Source,
    /// When it began, by the database's clock.
    pub began: DateTime<Utc>,
    /// The state that it restores is at least as new as this, by the database's clock.
    pub covers: DateTime<Utc>,
    /// When it was complete.
    pub finished: DateTime<Utc>,
    /// Its kind.
    #[serde(flatten)]
    pub kind: Kind,
    /// The partitions there were.
    pub partitions: Vec<Partition>,
    /// The age recipients that can read it.
    pub recipients: Vec<String>,
    /// What others have to say: the ledger's root (`ledger.root`), for one.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

impl Manifest {
    /// All its files.
    pub fn objects(&self) -> Box<dyn Iterator<Item = &Object> + '_> {
        match &self.kind {
            Kind::Full { schema_before, schema_after, tables, .. } => Box::new(
                [schema_before, schema_after]
                    .into_iter()
                    .chain(tables.iter().flat_map(|t| t.objects.iter())),
            ),
            Kind::Incremental { objects, .. } => Box::new(objects.iter()),
            Kind::Differential { segments, .. } => Box::new(segments.iter().flatten()),
        }
    }

    /// What backups of one kind are sorted by, the oldest first: names are of whole seconds, and two may be of
    /// one.
    #[must_use]
    pub const fn age(&self) -> (DateTime<Utc>, &BackupId) {
        (self.began, &self.id)
    }

    /// How many bytes are stored, without the manifest.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.objects().map(|o| o.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().map(|l| l.to_string()), Ok(text.to_owned()));
        }
        assert!("16".parse::<Lsn>().is_err() && "x/1".parse::<Lsn>().is_err());
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let id = BackupId::new(DateTime::UNIX_EPOCH, 7);
        assert_eq!(id.as_str(), "19700101T000000Z-00000007");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "../../etc", "19700101T000000Z-0000000G", "19700101T000000Z-000000071"] {
            assert!(wrong.parse::<BackupId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_snapshot_knows_what_it_holds() {
        let (base, running) = (5 << 32, vec![(5 << 32) + 12]);
        let snapshot = Snapshot { xmin: base + 10, xmax: base + 20, running };
        assert!(snapshot.holds(9) && snapshot.holds(11) && snapshot.holds(19));
        assert!(!snapshot.holds(12) && !snapshot.holds(20) && !snapshot.holds(2_000_000_000));
        // Before the last time that the 32 bits came round.
        assert!(snapshot.holds(u32::MAX));
    }
}
