//! Copying tables: several connections under one snapshot, the largest tables first. Row counts and
//! checksums are made of the very rows that are copied, in the same pass.

use super::{SourceConfig, SourceTable, ident, literal, qualified, run};
use crate::format::{ChunkWriter, Contents, layout};
use crate::model::{BackupId, Sums, Table};
use crate::{BackupFault, Progress, Vault};
use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::PgConnection;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often the progress is told.
const TELL: Duration = Duration::from_millis(200);

/// What the copying tasks share.
struct Work {
    config: SourceConfig,
    vault: Vault,
    id: BackupId,
    snapshot: String,
    queue: Mutex<VecDeque<SourceTable>>,
    done: AtomicU64,
    steps: mpsc::Sender<String>,
}

/// Copies all tables under an exported snapshot. If one fails, all stop.
pub(crate) async fn copy_tables(
    config: &SourceConfig,
    vault: &Vault,
    id: &BackupId,
    snapshot: &str,
    mut tables: Vec<SourceTable>,
    progress: &dyn Progress,
) -> Result<Vec<Table>, BackupFault> {
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.full_name().cmp(&b.full_name())));
    let total: u64 = tables.iter().map(|t| t.bytes).sum();
    let hands = config.connections.clamp(1, tables.len().max(1));
    let (steps, mut told) = mpsc::channel(64);
    let work = Arc::new(Work {
        config: config.clone(),
        vault: vault.clone(),
        id: id.clone(),
        snapshot: snapshot.to_owned(),
        queue: Mutex::new(tables.into()),
        done: AtomicU64::new(0),
        steps,
    });
    let mut tasks = JoinSet::new(); // dropped, it ends its tasks
    for _ in 0..hands {
        tasks.spawn(copy_some(Arc::clone(&work)));
    }
    let mut copied = Vec::new();
    let mut tick = tokio::time::interval(TELL);
    loop {
        tokio::select! {
            joined = tasks.join_next() => match joined {
                None => break,
                Some(Ok(some)) => copied.extend(some?),
                Some(Err(_)) => return Err(BackupFault::Stopped),
            },
            Some(step) = told.recv() => progress.step(&step),
            _ = tick.tick() => {
                // Sizes on disk are an estimate of the text's.
                let done = work.done.load(Ordering::Relaxed);
                progress.bytes(done, Some(total.max(done)));
            }
        }
    }
    copied.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(copied)
}

async fn copy_some(work: Arc<Work>) -> Result<Vec<Table>, BackupFault> {
    let mut connection = work.config.connect().await?;
    let sql = format!(
        "begin isolation level repeatable read read only; set transaction snapshot {}",
        literal(&work.snapshot)
    );
    run(&mut connection, &sql, "joining the snapshot").await?;
    let mut copied = Vec::new();
    loop {
        let next = work.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(table) = next else { break };
        // Nobody listens if the run is being given up.
        let _ = work.steps.try_send(format!("copying {}", table.full_name()));
        copied.push(copy_table(&mut connection, &work, table).await?);
    }
    run(&mut connection, "commit", "leaving the snapshot").await?;
    Ok(copied)
}

async fn copy_table(
    connection: &mut PgConnection,
    work: &Work,
    table: SourceTable,
) -> Result<Table, BackupFault> {
    let fault = |e| BackupFault::database(format!("reading the table {}", table.full_name()))(e);
    let folder = layout::table(&work.id, &table.schema, &table.name);
    let mut file = ChunkWriter::new(&work.vault, folder, Contents::Rows);
    let mut sums = Sum::default();
    let mut stream = connection.copy_out_raw(&copy_sql(&table)).await.map_err(fault)?;
    let mut told = 0;
    while let Some(line) = stream.try_next().await.map_err(fault)? {
        let row = sums.take(&line).ok_or_else(|| {
            BackupFault::unfit(
                format!("the server wrote a row of {} that is no line of text", table.full_name()),
                "report this with the version of the server",
            )
        })?;
        file.write(row, 1).await?;
        told += row.len() as u64;
        if told > 1 << 18 {
            work.done.fetch_add(told, Ordering::Relaxed);
            told = 0;
        }
    }
    work.done.fetch_add(told, Ordering::Relaxed);
    Ok(Table {
        name: table.full_name(),
        root: table.root.clone(),
        columns: table.columns.clone(),
        sums: sums.into(),
        objects: file.finish().await?,
    })
}

/// `COPY` of the columns with two hashes of the whole row in front. `offset 0` keeps the planner from
/// writing the row's text twice.
fn copy_sql(table: &SourceTable) -> String {
    let free = |base: &str| {
        let mut name = base.to_owned();
        while table.all_columns.contains(&name) {
            name.push('_');
        }
        ident(&name)
    };
    let (row, text) = (free("row"), free("text"));
    let columns: String = table.columns.iter().map(|c| format!(", {}", ident(c))).collect();
    let inner: String = table.columns.iter().map(|c| format!(", {row}.{}", ident(c))).collect();
    format!(
        "copy (select hashtextextended({text}, 0), hashtextextended({text}, 1){columns}
                 from (select {row}::text as {text}{inner} from only {} as {row} offset 0) as {row})
         to stdout",
        qualified(&table.schema, &table.name)
    )
}

/// Row count and checksums as they grow.
#[derive(Default)]
struct Sum {
    rows: u64,
    sum: i128,
    xor: i64,
}

impl Sum {
    /// Takes the two hashes off a line, and gives what is left: the row.
    fn take<'a>(&mut self, line: &'a Bytes) -> Option<&'a [u8]> {
        let (first, rest) = number(line)?;
        let rest = rest.strip_prefix(b"\t")?;
        let (second, rest) = number(rest)?;
        let row = rest.strip_prefix(b"\t").unwrap_or(rest);
        if !row.ends_with(b"\n") {
            return None;
        }
        self.rows += 1;
        self.sum += i128::from(first);
        self.xor ^= second;
        Some(row)
    }
}

impl From<Sum> for Sums {
    fn from(sum: Sum) -> Self {
        Self { rows: sum.rows, sum: sum.sum.to_string(), xor: sum.xor }
    }
}

/// A decimal number at the front, and what follows it.
fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    // Counted downwards, because the smallest number has no positive twin.
    let mut value = 0_i64;
    for digit in digits {
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some((value, rest)) } else { Some((value.checked_neg()?, rest)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hashes_come_off_a_line_and_the_row_stays(a: i64, b: i64, row in "[a-z\\t\\\\]{0,20}") {
            let line = Bytes::from(format!("{a}\t{b}\t{row}\n"));
            let mut sum = Sum::default();
            let left = format!("{row}\n");
            prop_assert_eq!(sum.take(&line), Some(left.as_bytes()));
            prop_assert_eq!((sum.rows, sum.sum, sum.xor), (1, i128::from(a), b));
        }

        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Sum::default().take(&line.into());
        }
    }

    #[test]
    fn a_number_too_large_is_none() {
        assert_eq!(number(b"9223372036854775808"), None);
        assert_eq!(number(b"-9223372036854775808\t"), Some((i64::MIN, &b"\t"[..])));
        assert!(number(b"").is_none() && number(b"-").is_none());
    }

    #[test]
    fn columns_called_as_the_statement_calls_its_own_are_told_apart() {
        let columns = vec!["row".to_owned(), "text".to_owned()];
        let table = SourceTable {
            oid: 1,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            root: "s.t".to_owned(),
            columns: columns.clone(),
            all_columns: columns,
            bytes: 0,
        };
        let sql = copy_sql(&table);
        assert!(sql.contains(r#""row_"."row""#) && sql.contains(r#"as "text_""#), "{sql}");
    }
}
