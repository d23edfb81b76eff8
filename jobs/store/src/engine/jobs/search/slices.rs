//! The history's slices, and stretches of it.

use super::cursor::Place;
use crate::Result;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};

/// A stretch of the history: `from` (inclusive) up to `before` (exclusive).
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) before: Option<Place>,
}

impl Range {
    /// The plain comparison beside that of the pair is for the choice of slices.
    pub(super) fn push(self, sql: &mut QueryBuilder<Postgres>) {
        if let Some(from) = self.from {
            sql.push(" and j.finished_at >= ").push_bind(from);
        }
        if let Some((at, id)) = self.before {
            sql.push(" and j.finished_at <= ").push_bind(at);
            sql.push(" and (j.finished_at, j.id) < (").push_bind(at);
            sql.push(", ").push_bind(id).push(")");
        }
    }
}

/// A month's slice that is still written to and no larger than this (bytes) is read as a whole sooner
/// than its days would be looked through.
const SMALL: i64 = 32 << 20;

/// The slices that the history has.
pub(super) struct Slices {
    pub(super) classes: Vec<i16>,
    /// Days of which all slices are sealed, or small parts of a longer one, the youngest first.
    pub(super) sealed: Vec<NaiveDate>,
}

impl Slices {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self> {
        let days: Vec<(NaiveDate, bool)> = sqlx::query_as(
            "with spans as materialized (select * from engine.history_spans())
             select d.day, bool_and(s.sealed or (s.past > s.day + 1
               and pg_relation_size(format('engine.%I', s.slice)::regclass) <= $1))
             from (select distinct day from spans where past = day + 1) d
             join spans s on s.day <= d.day and s.past > d.day
             group by 1 order by 1 desc",
        )
        .bind(SMALL)
        .fetch_all(&mut *connection)
        .await?;
        // A class without a slice still has its default.
        let classes = sqlx::query_scalar(
            "select distinct split_part(relname, '_', 3)::int2 from pg_class
             where relnamespace = 'engine'::regnamespace and relkind in ('r', 'p')
               and relname ~ '^job_history_[0-9]+(_|$)'",
        )
        .fetch_all(&mut *connection)
        .await?;
        let sealed = days.into_iter().filter(|(_, sealed)| *sealed).map(|(day, _)| day).collect();
        Ok(Self { classes, sealed })
    }

    /// How far back from a point the slices are of one sort, and whether they are sealed.
    pub(super) fn run(&self, before: Option<Place>) -> (Option<DateTime<Utc>>, bool) {
        let below = |day: &&NaiveDate| before.is_none_or(|b| **day <= day_of(b));
        let mut older = self.sealed.iter().filter(below).peekable();
        let Some(first) = older.peek().copied() else { return (None, false) };
        if before.is_none_or(|b| *first < day_of(b)) {
            return (first.succ_opt().map(midnight), false);
        }
        let mut last = *first;
        for day in older {
            if last.signed_duration_since(*day) > TimeDelta::days(1) {
                break;
            }
            last = *day;
        }
        (Some(midnight(last)), true)
    }
}

/// The day of what comes right before this point.
pub(super) fn day_of((at, id): Place) -> NaiveDate {
    let last = if id.is_nil() { at - TimeDelta::microseconds(1) } else { at };
    last.date_naive()
}

pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn day(n: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, n).unwrap_or_default()
    }

    #[test]
    fn runs_of_slices_end_where_their_sort_changes() {
        let slices = Slices { classes: vec![0], sealed: vec![day(9), day(8), day(5)] };
        let at = |d, id| Some((midnight(day(d)), id));
        assert_eq!(slices.run(None), (Some(midnight(day(10))), false));
        assert_eq!(slices.run(at(12, Uuid::nil())), (Some(midnight(day(10))), false));
        // The end of the 9th is still the 9th.
        assert_eq!(slices.run(at(10, Uuid::nil())), (Some(midnight(day(8))), true));
        assert_eq!(slices.run(at(10, Uuid::max())), (Some(midnight(day(10))), false));
        assert_eq!(slices.run(at(8, Uuid::nil())), (Some(midnight(day(6))), false));
        assert_eq!(slices.run(at(6, Uuid::nil())), (Some(midnight(day(5))), true));
        assert_eq!(slices.run(at(5, Uuid::nil())), (None, false));
        let none = Slices { classes: vec![0], sealed: Vec::new() };
        assert_eq!(none.run(None), (None, false));
    }
}
