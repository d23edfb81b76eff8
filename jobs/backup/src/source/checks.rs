//! Whether the database can be backed up: asked before anything is written, so that nothing is left out
//! in silence.

use super::{Catalogue, SourceConfig, get, ident, rows, slot};
use crate::BackupFault;
use sqlx::PgConnection;

/// The oldest server, as `server_version_num`.
const OLDEST: i32 = 150_000;

/// What was found: nothing stands in the way, but there may be something to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fitness {
    /// What should be put right, with what to do.
    pub warnings: Vec<String>,
}

/// Checks everything that a full backup needs.
///
/// # Errors
/// The first thing that is in the way, and what to do about it.
pub async fn check(
    connection: &mut PgConnection,
    config: &SourceConfig,
    catalogue: &Catalogue,
) -> Result<Fitness, BackupFault> {
    let mut fitness = Fitness::default();
    settings(connection, config, &mut fitness).await?;
    role(connection, config).await?;
    kinds(connection, config).await?;
    keys(catalogue)?;
    Ok(fitness)
}

async fn settings(
    connection: &mut PgConnection,
    config: &SourceConfig,
    fitness: &mut Fitness,
) -> Result<(), BackupFault> {
    const SQL: &str = "
        select current_setting('server_version_num')::int as version, pg_is_in_recovery() as standby,
               current_setting('wal_level') as wal_level,
               current_setting('server_encoding') as encoding,
               current_setting('max_slot_wal_keep_size') as keep,
               current_setting('max_replication_slots')::int
                 - (select count(*)::int from pg_catalog.pg_replication_slots) as free";
    let found = rows(connection, SQL, "asking for the server's settings").await?;
    let Some(row) = found.first() else { return Ok(()) };
    if get::<i32>(row, "version")? < OLDEST {
        return Err(BackupFault::unfit(
            "the server is older than PostgreSQL 15",
            "upgrade it: older ones cannot publish what the backup needs",
        ));
    }
    if get::<bool>(row, "standby")? {
        return Err(BackupFault::unfit(
            "the server is a standby, which has no slots of its own",
            "give the address of the primary",
        ));
    }
    if get::<String>(row, "wal_level")? != "logical" {
        return Err(BackupFault::unfit(
            "the server's wal_level is not `logical`, so that changes cannot be followed",
            "run `alter system set wal_level = logical` and restart it; at a host that manages it \
             there is a setting (`rds.logical_replication` at Amazon's)",
        ));
    }
    if get::<String>(row, "encoding")? != "UTF8" {
        return Err(BackupFault::unfit(
            "the database's encoding is not UTF8",
            "make one with `create database ... encoding 'UTF8' template template0` and move there",
        ));
    }
    let slots = slot::find_slots(connection, config).await?;
    if slots.is_empty() && get::<i32>(row, "free")? < 1 {
        return Err(BackupFault::unfit(
            "the server has no slot left",
            "drop one that nobody needs (`select * from pg_replication_slots`) or raise \
             max_replication_slots",
        ));
    }
    if get::<String>(row, "keep")? == "-1" {
        fitness.warnings.push(
            "max_slot_wal_keep_size is not set: if backups stop, the log that the server keeps for \
             them fills its disk. Set it to what the disk can spare, such as \
             `alter system set max_slot_wal_keep_size = '10GB'`, and reload"
                .to_owned(),
        );
    }
    Ok(())
}

/// The role may follow the log and read every row of every table.
async fn role(connection: &mut PgConnection, config: &SourceConfig) -> Result<(), BackupFault> {
    const SQL: &str = "
        select current_user::text as name,
               r.rolsuper or r.rolreplication or exists (select from pg_catalog.pg_roles m
                 where m.rolname = 'rds_replication' and pg_has_role(m.oid, 'member')) as replicates
          from pg_catalog.pg_roles r where r.rolname = current_user";
    let found = rows(connection, SQL, "asking for the role's rights").await?;
    let Some(row) = found.first() else { return Ok(()) };
    let name: String = get(row, "name")?;
    let quoted = ident(&name);
    if !get::<bool>(row, "replicates")? {
        return Err(BackupFault::unfit(
            format!("the role {name} may not use slots"),
            format!(
                "run `alter role {quoted} replication` as a superuser (at Amazon's \
                 `grant rds_replication to {quoted}`)"
            ),
        ));
    }
    let sql = format!(
        "select n.nspname || '.' || c.relname as name, row_security_active(c.oid) as hidden
           from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p', 'S') and c.relpersistence = 'p' and {}
            and (not has_schema_privilege(n.oid, 'usage')
                 or case when c.relkind = 'S' then not has_sequence_privilege(c.oid, 'select')
                         else not has_table_privilege(c.oid, 'select')
                              or row_security_active(c.oid) end)
          order by 1 limit 1",
        super::catalogue::ours(config)
    );
    let found = rows(connection, &sql, "asking for the role's rights").await?;
    let Some(row) = found.first() else { return Ok(()) };
    let table: String = get(row, "name")?;
    if get::<bool>(row, "hidden")? {
        return Err(BackupFault::unfit(
            format!("row-level security hides rows of {table} from the role {name}"),
            format!(
                "back up as the tables' owner, or run `alter role {quoted} bypassrls` as a superuser"
            ),
        ));
    }
    Err(BackupFault::unfit(
        format!("the role {name} may not read {table}"),
        format!("back up as its owner, or run `grant pg_read_all_data to {quoted}`"),
    ))
}

/// Every row can be told from every other, by what the log says of it.
fn keys(catalogue: &Catalogue) -> Result<(), BackupFault> {
    for root in &catalogue.roots {
        let name = root.full_name();
        let key = match root.identity {
            'd' | 'f' => !root.primary_key.is_empty(),
            identity => identity == 'i',
        };
        if !key {
            return Err(BackupFault::unfit(
                format!("the table {name} has no key, so that its changes cannot be followed"),
                "give it a primary key, or a unique index of columns that are not null and \
                 `alter table ... replica identity using index ...`",
            ));
        }
        if let Some(partition) = &root.deviating {
            return Err(BackupFault::unfit(
                format!("the partition {partition} has another replica identity than {name}"),
                "give all partitions the same (`alter table ... replica identity ...`)",
            ));
        }
    }
    Ok(())
}

/// Things that a logical backup cannot carry, or that this one does not know how to make again.
async fn kinds(connection: &mut PgConnection, config: &SourceConfig) -> Result<(), BackupFault> {
    let large = "select exists (select from pg_catalog.pg_largeobject_metadata) as there";
    let found = rows(connection, large, "looking for large objects").await?;
    if found.first().map(|row| get::<bool>(row, "there")).transpose()? == Some(true) {
        return Err(BackupFault::unfit(
            "the database has large objects, which no log follows",
            "put them into columns of type bytea and `select lo_unlink(oid) from \
             pg_largeobject_metadata`",
        ));
    }
    let found =
        rows(connection, &strange_sql(config), "looking for what cannot be backed up").await?;
    let Some(row) = found.first() else { return Ok(()) };
    let (what, name): (String, String) = (get(row, "what")?, get(row, "name")?);
    Err(BackupFault::unfit(
        format!(
            "the database has {what} ({name}), which the backup does not know how to make again"
        ),
        "drop it, let an extension bring it, or leave its schema out (`exclude_schemas`)",
    ))
}

fn strange_sql(config: &SourceConfig) -> String {
    // Catalogue, column with the schema (0: none), column with the name, what it is, which of them.
    const STRANGE: &[(&str, &str, &str, &str, &str)] = &[
        ("pg_class", "relnamespace", "relname", "a foreign table", "relkind = 'f'"),
        (
            "pg_class",
            "relnamespace",
            "relname",
            "a table that inherits from another",
            "relkind = 'r' and not relispartition
             and exists (select from pg_catalog.pg_inherits h where h.inhrelid = t.oid)",
        ),
        ("pg_class", "relnamespace", "relname", "a table of a type", "reloftype <> 0"),
        (
            "pg_class",
            "relnamespace",
            "relname",
            "a table with another access method than heap",
            "relkind in ('r', 'm') and relam <> (select a.oid from pg_catalog.pg_am a
                                                  where a.amname = 'heap')",
        ),
        ("pg_operator", "oprnamespace", "oprname", "an operator", "true"),
        ("pg_opclass", "opcnamespace", "opcname", "an operator class", "true"),
        ("pg_conversion", "connamespace", "conname", "a conversion", "true"),
        ("pg_ts_config", "cfgnamespace", "cfgname", "a text search configuration", "true"),
        ("pg_ts_dict", "dictnamespace", "dictname", "a text search dictionary", "true"),
        ("pg_proc", "pronamespace", "proname", "an aggregate", "prokind = 'a'"),
        (
            "pg_type",
            "typnamespace",
            "typname",
            "a base or range type",
            "typtype in ('b', 'r') and typelem = 0 or typtype = 'p'",
        ),
        ("pg_cast", "0", "t.oid", "a cast", "t.oid >= 16384"),
        ("pg_language", "0", "lanname", "a language", "t.oid >= 16384"),
        ("pg_foreign_server", "0", "srvname", "a foreign server", "true"),
        ("pg_transform", "0", "t.oid", "a transform", "t.oid >= 16384"),
    ];
    let excluded: Vec<String> = config.exclude_schemas.iter().map(|s| super::literal(s)).collect();
    let excluded = excluded.join(", ");
    let each: Vec<String> = STRANGE
        .iter()
        .map(|(catalogue, schema, name, what, which)| {
            format!(
                "(select {} as what, {name}::text as name from pg_catalog.{catalogue} t
                   left join pg_catalog.pg_namespace n on n.oid = {schema}
                  where ({which}) and (n.oid is null or n.nspname !~ '^pg_'
                     and n.nspname <> 'information_schema'
                     and n.nspname <> all (array[{excluded}]::text[]))
                    and not exists (select from pg_catalog.pg_depend e
                          where e.classid = 'pg_catalog.{catalogue}'::regclass and e.objid = t.oid
                            and e.deptype in ('e', 'i'))
                  limit 1)",
                super::literal(what)
            )
        })
        .collect();
    format!("{} limit 1", each.join(" union all "))
}
