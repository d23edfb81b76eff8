//! The database that is restored into, and how one sees that it is not finished.
//!
//! A new database has another name until it is whole: `<name>__restoring`. It gets its own name in one
//! statement at the end. What a restore that failed or was killed left behind is dropped by the next
//! one to the same name. An empty database that was there before is marked by a schema of its own
//! instead, which is the last thing that goes.

use crate::BackupFault;
use crate::restore::Destination;
use crate::sql::{Server, ident, literal, refused, run};
use sqlx::{PgConnection, Row};
use std::time::Duration;

/// The end of the name of a database that is being restored.
pub const UNFINISHED: &str = "__restoring";

/// The schema that marks an empty database which is being restored into.
pub const MARK: &str = "switchyard_restore_unfinished";

/// PostgreSQL's limit for names (`NAMEDATALEN` - 1), in bytes.
const LONGEST_NAME: usize = 63;

/// A database under construction.
pub(crate) struct Place {
    server: Server,
    /// Holds the lock on the name until the end.
    maintenance: PgConnection,
    working: String,
    goal: String,
    fresh: bool,
}

impl Place {
    /// Makes a new database, or takes an empty one.
    pub(crate) async fn open(
        server: Server,
        destination: &Destination,
        default_name: &str,
    ) -> Result<Self, BackupFault> {
        let mut maintenance = server.maintenance().await?;
        let (goal, fresh) = match destination {
            Destination::New { name } => {
                (name.clone().unwrap_or_else(|| default_name.to_owned()), true)
            }
            Destination::Empty { name } => (name.clone(), false),
            Destination::NewOrEmpty { name } => {
                (name.clone(), !is_there(&mut maintenance, name).await?)
            }
        };
        let working = if fresh { format!("{goal}{UNFINISHED}") } else { goal.clone() };
        if working.len() > LONGEST_NAME || goal.is_empty() {
            return Err(BackupFault::unfit(
                format!("`{goal}` will not do as the name of a database"),
                format!("take one of 1 to {} bytes", LONGEST_NAME - UNFINISHED.len()),
            ));
        }
        lock(&mut maintenance, &goal).await?;
        let mut place = Self { server, maintenance, working, goal, fresh };
        if fresh {
            place.make().await?;
        } else {
            place.take_over().await?;
        }
        Ok(place)
    }

    /// What the database is called in the end.
    pub(crate) fn name(&self) -> &str {
        &self.goal
    }

    /// A connection into it.
    pub(crate) async fn connect(&self) -> Result<PgConnection, BackupFault> {
        self.server.connect(&self.working).await
    }

    /// Some connections into it.
    pub(crate) async fn connections(&self, count: usize) -> Result<Vec<PgConnection>, BackupFault> {
        let mut connections = Vec::new();
        for _ in 0..count.max(1) {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }

    /// It is whole: from now on it looks so. Nobody may be connected to it.
    pub(crate) async fn done(mut self) -> Result<(), BackupFault> {
        if !self.fresh {
            let mut connection = self.connect().await?;
            let statement = format!("set synchronous_commit = on; drop schema {MARK} cascade");
            run(&mut connection, &statement).await.map_err(refused("unmarking the database"))?;
            return Ok(());
        }
        let name = ident(&self.working);
        let goal = ident(&self.goal);
        // Both in one transaction, as statements that are sent together are.
        let rename =
            format!("alter database {name} rename to {goal}; comment on database {goal} is null");
        let mut tries = 0;
        // A connection that we closed is gone a moment later.
        while let Err(error) = run(&mut self.maintenance, &rename).await {
            tries += 1;
            if tries == 20 || crate::sql::code(&error).as_deref() != Some("55006") {
                return Err(refused("giving the database its name")(error));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Ok(())
    }

    async fn make(&mut self) -> Result<(), BackupFault> {
        let there = "select datname::text from pg_catalog.pg_database where datname in ($1, $2)";
        let there: Vec<String> = sqlx::query_scalar(there)
            .bind(&self.goal)
            .bind(&self.working)
            .fetch_all(&mut self.maintenance)
            .await
            .map_err(refused("looking for databases"))?;
        if there.contains(&self.goal) {
            return Err(BackupFault::unfit(
                format!("there is a database {} already, and it is not touched", self.goal),
                "choose another name, drop it or rename it; into one that is empty restore with `--into-empty`",
            ));
        }
        let name = ident(&self.working);
        if there.contains(&self.working) {
            let drop = format!("drop database {name} with (force)");
            run(&mut self.maintenance, &drop)
                .await
                .map_err(refused("dropping what an earlier restore left behind"))?;
        }
        let make = format!("create database {name} template template0");
        run(&mut self.maintenance, &make).await.map_err(refused("making the database"))?;
        let note =
            "being restored by Switchyard, or left behind by a restore that failed: not to be used";
        let comment = format!("comment on database {name} is {}", literal(note));
        run(&mut self.maintenance, &comment).await.map_err(refused("marking the database"))?;
        Ok(())
    }

    async fn take_over(&mut self) -> Result<(), BackupFault> {
        let mut connection = self.connect().await?;
        let marked: bool = sqlx::query_scalar(
            "select exists (select from pg_catalog.pg_namespace where nspname = $1)",
        )
        .bind(MARK)
        .fetch_one(&mut connection)
        .await
        .map_err(refused("looking at the database"))?;
        if marked {
            sweep(&mut connection).await?;
        }
        let things = things(&mut connection).await?;
        if let Some(thing) = things.first() {
            return Err(BackupFault::unfit(
                format!("the database {} is not empty (it has {}, for one)", self.goal, thing.0),
                "restore to a new database, or empty this one first",
            ));
        }
        if !marked {
            let mark = format!("create schema {MARK}");
            run(&mut connection, &mark).await.map_err(refused("marking the database"))?;
        }
        Ok(())
    }
}

async fn is_there(maintenance: &mut PgConnection, name: &str) -> Result<bool, BackupFault> {
    let there = "select exists (select from pg_catalog.pg_database where datname = $1)";
    sqlx::query_scalar(there)
        .bind(name)
        .fetch_one(maintenance)
        .await
        .map_err(refused("looking for databases"))
}

/// Whether nobody else restores to that name; then it is locked until this connection is closed.
///
/// Advisory locks are a database's own, and whoever came by another database of the server has taken his
/// there. So after taking it one looks at the locks of all; of two at the same moment at least one gives
/// way.
pub(crate) async fn try_lock(
    maintenance: &mut PgConnection,
    goal: &str,
) -> Result<bool, BackupFault> {
    let key: i64 =
        ask(maintenance, "select pg_catalog.hashtextextended($1, 20261123)", goal).await?;
    if !ask(maintenance, "select pg_catalog.pg_try_advisory_lock($1)", key).await? {
        return Ok(false);
    }
    let elsewhere: bool = ask(
        maintenance,
        "select exists (
           select from pg_catalog.pg_locks
           where locktype = 'advisory' and granted and objsubid = 1 and pid <> pg_catalog.pg_backend_pid()
             and classid = (($1 >> 32) & 4294967295)::oid and objid = ($1 & 4294967295)::oid)",
        key,
    )
    .await?;
    if elsewhere {
        ask::<bool, _>(maintenance, "select pg_catalog.pg_advisory_unlock($1)", key).await?;
    }
    Ok(!elsewhere)
}

async fn ask<T, A>(
    maintenance: &mut PgConnection,
    question: &'static str,
    about: A,
) -> Result<T, BackupFault>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    A: for<'q> sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send,
{
    sqlx::query_scalar(question)
        .bind(about)
        .fetch_one(maintenance)
        .await
        .map_err(refused("locking the database's name"))
}

/// Two restores to one name would drop one another's database.
async fn lock(maintenance: &mut PgConnection, goal: &str) -> Result<(), BackupFault> {
    // The server may not have noticed yet that one which was killed is gone.
    for _ in 0..20 {
        if try_lock(maintenance, goal).await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(BackupFault::unfit(
        format!("another restore to {goal} is under way"),
        "wait for its end, stop it, or restore to another name",
    ))
}

/// Everything in a database that is not its own from birth: how it is called, and what drops it.
async fn things(connection: &mut PgConnection) -> Result<Vec<(String, String)>, BackupFault> {
    let rows = sqlx::query(
        "with ours as (
           select oid from pg_catalog.pg_namespace
           where nspname !~ '^pg_' and nspname not in ('information_schema', $1)),
         loose as (
           select 'pg_catalog.pg_class'::regclass::oid classid, c.oid,
             case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
               when 'f' then 'foreign table' when 'c' then 'type' else 'table' end kind,
             format('%I.%I', c.relnamespace::regnamespace, c.relname) name
           from pg_catalog.pg_class c
           where c.relnamespace in (select oid from ours) and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
             and not c.relispartition
           union all
           select 'pg_catalog.pg_proc'::regclass::oid, p.oid, 'routine', p.oid::regprocedure::text
           from pg_catalog.pg_proc p where p.pronamespace in (select oid from ours)
           union all
           select 'pg_catalog.pg_type'::regclass::oid, t.oid, 'type', format_type(t.oid, null)
           from pg_catalog.pg_type t
           where t.typnamespace in (select oid from ours) and t.typtype in ('d', 'e', 'r')
           union all
           select 'pg_catalog.pg_namespace'::regclass::oid, n.oid, 'schema', format('%I', n.nspname)
           from pg_catalog.pg_namespace n
           where n.oid in (select oid from ours) and n.nspname <> 'public')
         select kind || ' ' || name, format('drop %s if exists %s cascade', kind, name) from loose l
         where not exists (select from pg_catalog.pg_depend d
           where d.classid = l.classid and d.objid = l.oid and d.deptype in ('e', 'i'))
         order by kind <> 'schema'",
    )
    .bind(MARK)
    .fetch_all(connection)
    .await
    .map_err(refused("looking at what is in the database"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Takes away what an earlier restore left in a database that was empty when it began.
async fn sweep(connection: &mut PgConnection) -> Result<(), BackupFault> {
    for (what, drop) in things(connection).await? {
        run(connection, &drop)
            .await
            .map_err(refused(format!("dropping the {what} that an earlier restore left behind")))?;
    }
    Ok(())
}
