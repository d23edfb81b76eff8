//! Several connections that take work from one list.

use crate::BackupFault;
use crate::sql::{code, refused, run};
use sqlx::PgConnection;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A statement, and what it does in words.
pub(super) struct Task {
    pub statement: String,
    pub doing: String,
}

/// What is left to do: each connection takes the next when it is done with one.
pub(super) struct List<T>(Mutex<VecDeque<T>>);

impl<T> List<T> {
    pub(super) fn new(all: Vec<T>) -> Self {
        Self(Mutex::new(all.into()))
    }

    pub(super) fn next(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn add(&self, more: Vec<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
    }
}

/// Connections.
pub(crate) struct Crew {
    pub connections: Vec<PgConnection>,
}

/// Which failures of a statement are no fault: of tables that are not restored.
pub(super) type Forgiven<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// SQLSTATEs of something that is not there: a table, an object, a column, a function.
const ABSENT: [&str; 4] = ["42P01", "42704", "42703", "42883"];

impl Crew {
    /// Runs statements in any order.
    pub(super) async fn all(
        &mut self,
        tasks: Vec<Task>,
        forgiven: Forgiven<'_>,
    ) -> Result<(), BackupFault> {
        let list = List::new(tasks);
        let list = &list;
        let hands = self.connections.iter_mut().map(|connection| async move {
            while let Some(task) = list.next() {
                one(connection, &task, forgiven).await?;
            }
            Ok::<(), BackupFault>(())
        });
        futures::future::try_join_all(hands).await.map(|_| ())
    }

    /// Runs statements one after the other.
    pub(super) async fn in_order(
        &mut self,
        tasks: Vec<Task>,
        forgiven: Forgiven<'_>,
    ) -> Result<(), BackupFault> {
        let first = self.first()?;
        for task in tasks {
            one(first, &task, forgiven).await?;
        }
        Ok(())
    }

    /// The first connection.
    pub(crate) fn first(&mut self) -> Result<&mut PgConnection, BackupFault> {
        self.connections.first_mut().ok_or_else(|| {
            BackupFault::unfit("there is no connection to restore with", "ask for at least one")
        })
    }
}

pub(super) async fn one(
    connection: &mut PgConnection,
    task: &Task,
    forgiven: Forgiven<'_>,
) -> Result<(), BackupFault> {
    match run(connection, &task.statement).await {
        Ok(_) => Ok(()),
        Err(e)
            if code(&e).is_some_and(|c| ABSENT.contains(&c.as_str()))
                && forgiven(&task.statement) =>
        {
            tracing::debug!(
                statement = task.statement,
                "left out: it is about what is not restored"
            );
            Ok(())
        }
        Err(e) => Err(refused(task.doing.clone())(e)),
    }
}
