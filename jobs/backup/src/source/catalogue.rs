//! The tables, their partitions and keys, as the server's catalogue has them.

use super::{SourceConfig, get, rows};
use crate::BackupFault;
use crate::model::Partition;
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashMap};

/// A table that rows are copied from: an ordinary one, or a partition that has none itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTable {
    /// Its number.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `schema.name` of the partitioned table at the root, or of itself.
    pub root: String,
    /// The columns that are copied: all that are not generated.
    pub columns: Vec<String>,
    /// Its size on disk in bytes, without indexes.
    pub bytes: u64,
}

impl SourceTable {
    /// `schema.name` without quotes.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// A table under whose name changes come: an ordinary one, or the root of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its number.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns that are published: all that are not generated.
    pub columns: Vec<String>,
    /// The columns of its primary key; empty if there is none.
    pub primary_key: Vec<String>,
    /// `d` primary key, `i` an index, `f` whole rows, `n` nothing.
    pub identity: char,
    /// Partitions whose replica identity is another than its own.
    pub deviating: Option<String>,
}

impl Root {
    /// `schema.name` without quotes.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The tables that rows are copied from.
    pub tables: Vec<SourceTable>,
    /// The tables under whose names changes come.
    pub roots: Vec<Root>,
    /// The partitions, ascending by name.
    pub partitions: Vec<Partition>,
    /// Which file each table that has rows itself lies in (`pg_class.relfilenode`), by `schema.name`: another
    /// one after TRUNCATE, after VACUUM FULL, and after ALTER TABLE wrote every row anew.
    pub files: BTreeMap<String, u32>,
    /// Schema and name of the sequences.
    pub sequences: Vec<(String, String)>,
}

/// Ours: not the system's, not an extension's, not excluded. `{excluded}` is a list of literals.
const OURS: &str = "
    n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and n.nspname <> all (array[{excluded}]::text[])
    and not exists (select from pg_catalog.pg_depend e where e.classid = 'pg_catalog.pg_class'::regclass
                       and e.objid = c.oid and e.deptype = 'e')";

/// The condition on `pg_namespace n` and `pg_class c` that leaves what is backed up.
pub(crate) fn ours(config: &SourceConfig) -> String {
    let excluded: Vec<String> = config.exclude_schemas.iter().map(|s| super::literal(s)).collect();
    OURS.replace("{excluded}", &excluded.join(", "))
}

impl Catalogue {
    /// Reads it.
    ///
    /// # Errors
    /// The database.
    pub async fn read(
        connection: &mut PgConnection,
        config: &SourceConfig,
    ) -> Result<Self, BackupFault> {
        let mut catalogue = Self::default();
        let mut deviating = HashMap::new();
        for row in rows(connection, &tables_sql(config), "reading which tables there are").await? {
            let schema: String = get(&row, "schema")?;
            let name: String = get(&row, "name")?;
            let root: String = get(&row, "root")?;
            let columns: Vec<String> = get(&row, "columns")?;
            let oid = oid(get(&row, "oid")?);
            let identity: String = get(&row, "identity")?;
            let full_name = format!("{schema}.{name}");
            if get(&row, "is_partition")? {
                let partition = Partition {
                    name: full_name.clone(),
                    parent: get(&row, "parent")?,
                    bound: get(&row, "bound")?,
                };
                catalogue.partitions.push(partition);
                if get(&row, "identity_deviates")? {
                    deviating.entry(root.clone()).or_insert_with(|| full_name.clone());
                }
            } else {
                catalogue.roots.push(Root {
                    oid,
                    schema: schema.clone(),
                    name: name.clone(),
                    columns: columns.clone(),
                    primary_key: get(&row, "primary_key")?,
                    identity: identity.chars().next().unwrap_or('n'),
                    deviating: None,
                });
            }
            if get::<String>(&row, "kind")? == "r" {
                catalogue.files.insert(full_name, self::oid(get(&row, "file")?));
                let bytes = u64::try_from(get::<i64>(&row, "bytes")?).unwrap_or_default();
                let table = SourceTable { oid, schema, name, root, columns, bytes };
                catalogue.tables.push(table);
            }
        }
        for root in &mut catalogue.roots {
            root.deviating = deviating.remove(&root.full_name());
        }
        catalogue.partitions.sort();
        let sql = format!(
            "select n.nspname::text as schema, c.relname::text as name
               from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where c.relkind = 'S' and c.relpersistence <> 't' and {}
              order by 1, 2",
            ours(config)
        );
        for row in rows(connection, &sql, "reading which sequences there are").await? {
            catalogue.sequences.push((get(&row, "schema")?, get(&row, "name")?));
        }
        Ok(catalogue)
    }

    /// Whether the tables are the same, in the same files; they may hold other rows.
    #[must_use]
    pub fn same_form(&self, other: &Self) -> bool {
        self.roots == other.roots
            && self.partitions == other.partitions
            && self.files == other.files
            && self.sequences == other.sequences
    }

    /// A root by its name.
    #[must_use]
    pub fn root(&self, schema: &str, name: &str) -> Option<&Root> {
        self.roots.iter().find(|r| r.schema == schema && r.name == name)
    }
}

fn tables_sql(config: &SourceConfig) -> String {
    format!(
        "select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name,
                c.relkind::text as kind, c.relispartition as is_partition,
                c.relreplident::text as identity, c.relfilenode::bigint as file,
                coalesce(rn.nspname || '.' || rc.relname, n.nspname || '.' || c.relname) as root,
                coalesce(c.relreplident <> rc.relreplident, false) as identity_deviates,
                coalesce(pn.nspname || '.' || pc.relname, '') as parent,
                coalesce(pg_get_expr(c.relpartbound, c.oid), '') as bound,
                coalesce((select array_agg(a.attname::text order by a.attnum)
                   from pg_catalog.pg_attribute a
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                    and a.attgenerated = ''), '{{}}') as columns,
                coalesce((select array_agg(a.attname::text order by a.attnum)
                   from pg_catalog.pg_index i
                   join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
                  where i.indrelid = c.oid and i.indisprimary), '{{}}') as primary_key,
                case c.relkind when 'r' then pg_table_size(c.oid) else 0 end as bytes
           from pg_catalog.pg_class c
           join pg_catalog.pg_namespace n on n.oid = c.relnamespace
           left join pg_catalog.pg_class rc on c.relispartition and rc.oid = pg_partition_root(c.oid)
           left join pg_catalog.pg_namespace rn on rn.oid = rc.relnamespace
           left join pg_catalog.pg_inherits h on c.relispartition and h.inhrelid = c.oid
           left join pg_catalog.pg_class pc on pc.oid = h.inhparent
           left join pg_catalog.pg_namespace pn on pn.oid = pc.relnamespace
          where c.relkind in ('r', 'p') and c.relpersistence = 'p' and {}
          order by n.nspname, c.relname",
        ours(config)
    )
}

/// An object's number; PostgreSQL's are 32 bits without a sign.
pub(crate) fn oid(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}
