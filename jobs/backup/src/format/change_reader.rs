//! Reading changes out of files, parsed on a thread of their own.

use super::{PlainReader, lines};
use crate::change::Change;
use crate::model::Object;
use crate::{BackupFault, Vault};
use bytes::Bytes;
use tokio::sync::mpsc;

/// How many changes are handed over at once.
const BATCH: usize = 1024;

/// The longest line that is read, in bytes: a row of PostgreSQL is at most 1 GB, twice that escaped.
const LONGEST: usize = 2 * 1024 * 1024 * 1024;

/// The changes of files, in order. Relations come again with every file.
#[derive(Debug)]
pub struct ChangeReader {
    batches: mpsc::Receiver<Result<Vec<Change>, BackupFault>>,
}

impl ChangeReader {
    /// Begins to read files that a signed manifest names. The next file is fetched while one is read.
    ///
    /// # Errors
    /// There is no identity. Everything else comes with the batches.
    pub fn open(vault: &Vault, objects: Vec<Object>) -> Result<Self, BackupFault> {
        let (send, batches) = mpsc::channel(4);
        let mut next = objects.first().map(|o| PlainReader::open(vault, o)).transpose()?;
        let vault = vault.clone();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let _entered = runtime.enter(); // opening a file starts tasks
            for (at, object) in objects.iter().enumerate() {
                let Some(mut reader) = next.take() else { return };
                let read = objects
                    .get(at + 1)
                    .map(|o| PlainReader::open(&vault, o))
                    .transpose()
                    .map(|opened| next = opened)
                    .and_then(|()| read_file(object, &mut reader, &send));
                match read {
                    Ok(Heard::All) => {}
                    Ok(Heard::Nobody) => return,
                    Err(fault) => return drop(send.blocking_send(Err(fault))),
                }
            }
        });
        Ok(Self { batches })
    }

    /// The next changes, some hundreds; none at the end.
    ///
    /// # Errors
    /// As [`PlainReader`]; a line that is none.
    pub async fn next(&mut self) -> Result<Option<Vec<Change>>, BackupFault> {
        self.batches.recv().await.transpose()
    }
}

/// Whether somebody still wanted the changes.
enum Heard {
    All,
    Nobody,
}

fn read_file(
    object: &Object,
    reader: &mut PlainReader,
    send: &mpsc::Sender<Result<Vec<Change>, BackupFault>>,
) -> Result<Heard, BackupFault> {
    let mut lines = Lines { object, tail: Vec::new(), number: 0, batch: Vec::with_capacity(BATCH) };
    while let Some(piece) = reader.blocking_next()? {
        lines.take(&piece)?;
        if lines.batch.len() >= BATCH {
            let batch = std::mem::replace(&mut lines.batch, Vec::with_capacity(BATCH));
            if send.blocking_send(Ok(batch)).is_err() {
                return Ok(Heard::Nobody);
            }
        }
    }
    if !lines.tail.is_empty() {
        return Err(lines.fault("does not end"));
    }
    let rest = lines.batch;
    if !rest.is_empty() && send.blocking_send(Ok(rest)).is_err() {
        return Ok(Heard::Nobody);
    }
    Ok(Heard::All)
}

/// Lines out of pieces that end anywhere.
struct Lines<'a> {
    object: &'a Object,
    tail: Vec<u8>,
    number: u64,
    batch: Vec<Change>,
}

impl Lines<'_> {
    fn take(&mut self, piece: &Bytes) -> Result<(), BackupFault> {
        let mut rest: &[u8] = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if self.tail.is_empty() {
                self.line(&rest[..end])?;
            } else {
                let mut whole = std::mem::take(&mut self.tail);
                whole.extend_from_slice(&rest[..end]);
                self.line(&whole)?;
            }
            rest = &rest[end + 1..];
        }
        if self.tail.len() + rest.len() > LONGEST {
            return Err(self.fault("is longer than any row can be"));
        }
        self.tail.extend_from_slice(rest);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BackupFault> {
        self.number += 1;
        let text = std::str::from_utf8(line).map_err(|_| self.fault("is not UTF-8"))?;
        let change = lines::parse(text).map_err(|problem| self.fault(problem))?;
        self.batch.push(change);
        Ok(())
    }

    fn fault(&self, problem: &str) -> BackupFault {
        BackupFault::damaged(&self.object.key, format!("line {} {problem}", self.number))
    }
}
