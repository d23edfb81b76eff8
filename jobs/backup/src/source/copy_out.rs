//! Copying tables: several connections under one snapshot, the largest tables first. Row counts and
//! checksums are made of the very rows that are copied, in the same pass.

use super::{SourceConfig, SourceTable, literal, qualified, run};
use crate::format::{ChunkWriter, Contents, layout};
use crate::model::{BackupId, Table};
use crate::sums::{LineSums, copy_out};
use crate::{BackupFault, Progress, Vault};
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
    let mut sums = LineSums::default();
    let sql = copy_out(&qualified(&table.schema, &table.name), &table.columns);
    let mut stream = connection.copy_out_raw(&sql).await.map_err(fault)?;
    let mut told = 0;
    while let Some(row) = stream.try_next().await.map_err(fault)? {
        if !sums.take(&row) {
            return Err(BackupFault::unfit(
                format!("the server wrote a row of {} that is no line of text", table.full_name()),
                "report this with the version of the server",
            ));
        }
        file.write(&row, 1).await?;
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
