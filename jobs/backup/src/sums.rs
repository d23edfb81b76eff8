//! Checksums of tables: the same for the same rows, in whatever order they come.
//!
//! They are made of the lines that `COPY` writes anyway, on this side of the connection. Until format 1 the
//! server made them of `row::text`, which put every value into words a second time: that was half of a
//! full backup's time.

use crate::model::{FORMAT, Sums};
use crate::source::ident;
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use xxhash_rust::xxh3::xxh3_128;

/// What a manifest's checksums are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// `sum(hashtextextended(row::text, 0))` and `bit_xor(hashtextextended(row::text, 1))`: format 1.
    Words,
    /// XXH3 (128 bits) of each line of `COPY`, without its line feed: the lower halves summed up, the upper
    /// ones in an exclusive or.
    Lines,
}

impl Basis {
    /// In a manifest of this format.
    pub(crate) fn in_format(format: u32) -> Self {
        if format < FORMAT { Self::Words } else { Self::Lines }
    }
}

/// Row count and checksums as they grow.
#[derive(Default)]
pub(crate) struct LineSums {
    rows: u64,
    sum: i128,
    xor: i64,
}

impl LineSums {
    /// Takes a row in. `false`: it is no line.
    #[allow(clippy::cast_possible_truncation)] // halves
    pub(crate) fn take(&mut self, line: &[u8]) -> bool {
        let Some(row) = line.strip_suffix(b"\n") else { return false };
        let hash = xxh3_128(row);
        self.rows += 1;
        self.sum += i128::from((hash as u64).cast_signed());
        self.xor ^= ((hash >> 64) as u64).cast_signed();
        true
    }
}

impl From<LineSums> for Sums {
    fn from(sums: LineSums) -> Self {
        Self { rows: sums.rows, sum: sums.sum.to_string(), xor: sums.xor }
    }
}

/// The `COPY` that gives a table's own rows, a line each. The name is quoted already.
pub(crate) fn copy_out(table: &str, columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|c| ident(c)).collect();
    format!("copy (select {} from only {table}) to stdout", columns.join(", "))
}

/// Counts and sums a table up. The name is quoted already.
///
/// # Errors
/// The database.
pub(crate) async fn of_table(
    connection: &mut PgConnection,
    table: &str,
    columns: &[String],
    basis: Basis,
) -> Result<Sums, sqlx::Error> {
    match basis {
        Basis::Words => of_words(connection, table).await,
        Basis::Lines => {
            let mut sums = LineSums::default();
            let mut lines = connection.copy_out_raw(&copy_out(table, columns)).await?;
            while let Some(line) = lines.try_next().await? {
                if !sums.take(&line) {
                    return Err(sqlx::Error::Protocol("a row of COPY that is no line".to_owned()));
                }
            }
            Ok(sums.into())
        }
    }
}

/// A name for the row as a whole: one that no column will have, for that would go before it.
const ROW: &str = "\"the row as a whole\"";

async fn of_words(connection: &mut PgConnection, table: &str) -> Result<Sums, sqlx::Error> {
    // `offset 0` keeps the subquery apart: each row is put into words once and not for each sum.
    let sql = format!(
        "select count(*), coalesce(sum(pg_catalog.hashtextextended(words, 0)), 0)::text, \
         coalesce(bit_xor(pg_catalog.hashtextextended(words, 1)), 0) \
         from (select {ROW}::text as words from only {table} {ROW} offset 0) as t"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?;
    let rows: i64 = row.get(0);
    Ok(Sums { rows: rows.unsigned_abs(), sum: row.get(1), xor: row.get(2) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums(lines: &[String]) -> Sums {
        let mut sums = LineSums::default();
        for line in lines {
            assert!(sums.take(format!("{line}\n").as_bytes()));
        }
        sums.into()
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_count_and_everything_else_does(
            rows in prop::collection::vec("[a-z\\t\\\\]{0,12}", 1..20),
            turn in any::<prop::sample::Index>(),
            other in "[A-Z]{1,5}",
        ) {
            let whole = sums(&rows);
            let at = turn.index(rows.len());
            let mut turned = rows.clone();
            turned.rotate_left(at);
            prop_assert_eq!(&sums(&turned), &whole);
            let mut changed = rows.clone();
            changed[at].push_str(&other);
            prop_assert_ne!(&sums(&changed), &whole);
            let mut twice = rows.clone();
            twice.push(rows[at].clone());
            prop_assert_ne!(&sums(&twice), &whole);
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // XXH3_128bits of nothing, as the reference implementation's `xxh128sum` prints it.
        assert_eq!(format!("{:032x}", xxh3_128(b"")), "99aa06d3014798d86001c324468d497f");
        let mut one = LineSums::default();
        assert!(one.take(b"\n") && !one.take(b"no end") && !one.take(b""));
        let one = Sums::from(one);
        assert_eq!(one.rows, 1);
        assert_eq!(one.sum, 0x6001_c324_468d_497f_i64.to_string());
        assert_eq!(one.xor, 0x99aa_06d3_0147_98d8_u64.cast_signed());
    }

    #[test]
    fn earlier_formats_had_others() {
        assert_eq!(Basis::in_format(1), Basis::Words);
        assert_eq!(Basis::in_format(FORMAT), Basis::Lines);
    }
}
