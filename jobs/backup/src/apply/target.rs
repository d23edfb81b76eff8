//! A table into which changes go: its columns as the database has them, and the statements for it.

use crate::BackupFault;
use crate::change::Relation;
use crate::sql::{ident, refused};
use sqlx::{PgConnection, Row};
use std::fmt::Write;

/// A column.
#[derive(Clone, Debug)]
struct Column {
    /// Quoted.
    name: String,
    /// Its type, of a domain the type below: a row in the staging table may lack it.
    staged: String,
}

/// A table, and everything that is put together from its names once.
#[derive(Debug)]
pub(super) struct TargetTable {
    /// `schema.name`, for messages.
    pub name: String,
    /// Quoted.
    sql: String,
    columns: Vec<Column>,
    key: Vec<usize>,
    stage: String,
    pub make_stage: String,
}

impl TargetTable {
    /// Looks a table of the log up.
    pub(super) async fn find(
        connection: &mut PgConnection,
        relation: &Relation,
    ) -> Result<Self, BackupFault> {
        let name = format!("{}.{}", relation.schema, relation.name);
        let rows = sqlx::query(
            "with recursive base as (
               select a.attnum, a.attname, a.atttypid id, a.atttypmod modifier
               from pg_attribute a join pg_class c on c.oid = a.attrelid
               join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
                 and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
               union all
               select b.attnum, b.attname, t.typbasetype,
                 case when t.typtypmod = -1 then b.modifier else t.typtypmod end
               from base b join pg_type t on t.oid = b.id where t.typtype = 'd')
             select attname::text, format_type(id, modifier) staged from base
             where (select typtype from pg_type where oid = id) <> 'd' order by attnum",
        )
        .bind(&relation.schema)
        .bind(&relation.name)
        .fetch_all(&mut *connection)
        .await
        .map_err(refused(format!("looking at the table {name}")))?;
        let found: Vec<(String, Column)> = rows
            .iter()
            .map(|row| {
                let plain: String = row.get(0);
                let column = Column { name: ident(&plain), staged: row.get(1) };
                (plain, column)
            })
            .collect();
        let columns: Option<Vec<Column>> = relation
            .columns
            .iter()
            .map(|wanted| found.iter().find(|(n, _)| n == wanted).map(|(_, c)| c.clone()))
            .collect();
        let columns = columns.filter(|c| c.len() == found.len()).ok_or_else(|| altered(&name))?;
        Ok(Self::new(name, relation, columns))
    }

    fn new(name: String, relation: &Relation, columns: Vec<Column>) -> Self {
        let stage = format!("pg_temp.stage_{}", relation.oid);
        let mut make_stage = format!(
            "create temp table stage_{} (op_ \"char\", n_ bigint, mask_ int[]",
            relation.oid
        );
        for (at, column) in columns.iter().enumerate() {
            let _ = write!(make_stage, ", c{at} {}", column.staged); // to a String: cannot fail
        }
        make_stage.push_str(") on commit delete rows");
        let sql = format!("{}.{}", ident(&relation.schema), ident(&relation.name));
        Self { name, sql, columns, key: relation.key.clone(), stage, make_stage }
    }

    pub(super) fn truncate(&self) -> String {
        format!("truncate {}", self.sql)
    }

    pub(super) fn copy_stage(&self) -> String {
        let columns: Vec<String> = (0..self.columns.len()).map(|c| format!("c{c}")).collect();
        format!("copy {} (op_, n_, mask_, {}) from stdin", self.stage, columns.join(", "))
    }

    /// Fetches what was not touched from the rows as they are.
    pub(super) fn fetch_untouched(&self, columns: &[usize]) -> String {
        let set: Vec<String> = columns
            .iter()
            .map(|c| {
                let name = &self.columns[*c].name;
                format!("c{c} = case when {c} = any(s.mask_) then t.{name} else s.c{c} end")
            })
            .collect();
        format!(
            "update {} s set {} from {} t where s.mask_ is not null and {}",
            self.stage,
            set.join(", "),
            self.sql,
            self.same_key()
        )
    }

    pub(super) fn delete(&self) -> String {
        format!("delete from {} t using {} s where {}", self.sql, self.stage, self.same_key())
    }

    /// Puts in what was staged; `counted` as many times as it says.
    pub(super) fn insert(&self, counted: bool) -> String {
        let times = if counted { ", generate_series(1, s.n_)" } else { "" };
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let values: Vec<String> = (0..self.columns.len()).map(|c| format!("s.c{c}")).collect();
        format!(
            "insert into {} ({}) overriding system value select {} from {} s{times} where s.op_ = 'p'",
            self.sql,
            names.join(", "),
            values.join(", "),
            self.stage
        )
    }

    /// Takes away as many of each row as the staging table says. Rows are compared as text: that has an
    /// equality for every type.
    pub(super) fn delete_counted(&self) -> String {
        let theirs: Vec<String> = self.columns.iter().map(|c| format!("t.{}", c.name)).collect();
        let ours: Vec<String> = (0..self.columns.len()).map(|c| format!("s.c{c}")).collect();
        format!(
            "delete from {t} where (tableoid, ctid) in (select o, i from (select t.tableoid o, t.ctid i, \
             s.n_, row_number() over (partition by s.ctid) nth from {s} s join {t} t \
             on row({})::text = row({})::text where s.op_ = 'd') x where nth <= n_)",
            theirs.join(", "),
            ours.join(", "),
            t = self.sql,
            s = self.stage,
        )
    }

    /// A row gets another key; parameters are texts: the values that are set, then the old key. It goes
    /// and comes anew, because no UPDATE sets a column that is always generated as identity.
    pub(super) fn rekey(&self, set: &[usize]) -> String {
        let value = |n: usize, c: usize| format!("(${}::text)::{}", n + 1, self.columns[c].staged);
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let values: Vec<String> = (0..self.columns.len())
            .map(|c| match set.iter().position(|s| *s == c) {
                Some(n) => value(n, c),
                None => format!("gone.{}", self.columns[c].name),
            })
            .collect();
        let find: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(n, c)| format!("{} = {}", self.columns[*c].name, value(set.len() + n, *c)))
            .collect();
        format!(
            "with gone as (delete from {t} where {} returning *) \
             insert into {t} ({}) overriding system value select {} from gone",
            find.join(" and "),
            names.join(", "),
            values.join(", "),
            t = self.sql,
        )
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    fn same_key(&self) -> String {
        let same: Vec<String> =
            self.key.iter().map(|c| format!("t.{} = s.c{c}", self.columns[*c].name)).collect();
        same.join(" and ")
    }
}

fn altered(name: &str) -> BackupFault {
    BackupFault::unfit(
        format!(
            "the table {name} of the log is not the one of the full backup: it was made or altered between"
        ),
        "restore to a time before that, or from a full backup that was taken after it \
         (`switchyard backup list`)",
    )
}
