//! Reading what the slot has, without taking it: the slot is advanced only once that is safe.

use super::slot::busy_or;
use super::{Rows, Slot, literal};
use crate::BackupFault;
use crate::model::Lsn;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::PgConnection;

/// The messages of the log up to a position, as `pgoutput` writes them (protocol version 1). They are
/// streamed: the server keeps them in a temporary file of its own, nothing here gathers.
pub(crate) struct Peek<'c> {
    stream: BoxStream<'c, sqlx::Result<Bytes>>,
    rows: Rows,
    slot: &'c Slot,
}

impl<'c> Peek<'c> {
    /// Begins to read. If it is not read to its end, the connection is not to be used again.
    ///
    /// # Errors
    /// The slot is lost or being read; the connection.
    pub(crate) async fn open(
        connection: &'c mut PgConnection,
        slot: &'c Slot,
        publication: &str,
        upto: Lsn,
    ) -> Result<Self, BackupFault> {
        let sql = format!(
            "copy (select lsn, data from pg_logical_slot_peek_binary_changes({}, {}, null,
                     'proto_version', '1', 'publication_names', {}, 'messages', 'true'))
             to stdout (format binary)",
            literal(&slot.name),
            literal(&upto.to_string()),
            // A list of names, each in quotes.
            literal(&super::ident(publication)),
        );
        let stream = connection.copy_out_raw(&sql).await.map_err(|e| fault(e, slot))?;
        Ok(Self { stream, rows: Rows::default(), slot })
    }

    /// The next message; none at the end.
    ///
    /// # Errors
    /// The slot is lost; the connection; the stream was cut.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BackupFault> {
        loop {
            if let Some((_, message)) = self.rows.row().map_err(|e| misread(&e))? {
                return Ok(Some(message));
            }
            match self.stream.try_next().await.map_err(|e| fault(e, self.slot))? {
                Some(piece) => self.rows.push(piece),
                None if self.rows.ended() => return Ok(None),
                None => {
                    let cut = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                    return Err(fault(sqlx::Error::Io(cut), self.slot));
                }
            }
        }
    }
}

fn fault(error: sqlx::Error, slot: &Slot) -> BackupFault {
    busy_or(BackupFault::database("reading the log")(error), slot)
}

/// The server says something that is not understood.
pub(crate) fn misread(what: &dyn std::error::Error) -> BackupFault {
    BackupFault::unfit(
        what.to_string(),
        "take a full backup, and report this with the version of the server",
    )
}
