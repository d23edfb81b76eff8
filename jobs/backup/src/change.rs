//! What was changed, as the log tells it: the form in which capture, files and restore meet.

use crate::model::Lsn;
use chrono::{DateTime, Utc};

/// A value of a column, in PostgreSQL's text form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// NULL.
    Null,
    /// Large and not touched: the log does not have it, the row keeps what it has.
    Unchanged,
    /// The text.
    Text(String),
}

/// A table as the log knows it. Of a partitioned table it is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its number in the database it was read from.
    pub oid: u32,
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// The columns in the order of the values, without generated ones.
    pub columns: Vec<String>,
    /// Which of them identify a row (replica identity), ascending.
    pub key: Vec<usize>,
}

/// One step of the log. Steps come transaction by transaction, in the order of their commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A transaction begins.
    Begin {
        /// Its number, 32 bits of it.
        xid: u32,
        /// Where its commit stands in the log.
        lsn: Lsn,
        /// When it was committed, by the server's clock.
        at: DateTime<Utc>,
    },
    /// A table that the following changes name. It comes before its first change of every file, and
    /// again when it was altered.
    Relation(Relation),
    /// A new row.
    Insert {
        /// The table.
        oid: u32,
        /// The row.
        row: Vec<Value>,
    },
    /// A row was changed.
    Update {
        /// The table.
        oid: u32,
        /// The key it had, as many values as the key has columns, if the key was changed.
        old_key: Option<Vec<Value>>,
        /// The row as it is now.
        row: Vec<Value>,
    },
    /// A row went away.
    Delete {
        /// The table.
        oid: u32,
        /// Its key, as many values as the key has columns.
        key: Vec<Value>,
    },
    /// Tables were emptied.
    Truncate {
        /// Which.
        oids: Vec<u32>,
        /// With those that refer to them (they are in the list).
        cascade: bool,
        /// And their sequences begin anew.
        restart: bool,
    },
    /// `pg_logical_emit_message`.
    Message {
        /// Its prefix.
        prefix: String,
        /// Its content.
        content: String,
    },
    /// The transaction is over.
    Commit {
        /// Where the log goes on after it: what a slot is advanced to.
        end: Lsn,
    },
}
