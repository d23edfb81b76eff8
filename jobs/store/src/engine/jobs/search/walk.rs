//! The steps of a search, a statement or two each.

use super::FOREVER;
use super::cursor::{Cursor, Place};
use super::slices::{Range, Slices, day_of, midnight};
use crate::Result;
use crate::engine::jobs::filter::Filter;
use crate::engine::jobs::read::{FINISHED, JobRow, OPEN};
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row};
use switchyard_queue::JobState;
use uuid::Uuid;

/// Rows looked at in one statement, at first and at most.
const STRETCH: (i64, i64) = (1_000, 8_000);
/// What an index finds up to here is taken whole and sorted. Beyond, it is so frequent that looking
/// through from the newest on fills a page sooner.
const MOST_HITS: i64 = 2_000;

/// What one statement gave: all that meets the filter down to `next`, or more rows than asked for.
pub(super) struct Step {
    pub(super) rows: Vec<JobRow>,
    pub(super) next: Option<Cursor>,
    pub(super) looked_back_to: Option<DateTime<Utc>>,
}

pub(super) struct Walk<'a> {
    connection: &'a mut PgConnection,
    filter: &'a Filter,
    slices: Option<Slices>,
    stretch: i64,
    /// Sealed days are still worth asking by index; not if there were too many hits on one.
    daily: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(connection: &'a mut PgConnection, filter: &'a Filter) -> Self {
        Self { connection, filter, slices: None, stretch: STRETCH.0, daily: true }
    }

    pub(super) async fn step(&mut self, at: Cursor, want: usize) -> Result<Step> {
        let end = self.filter.finished_to.map(|at| (at, Uuid::nil()));
        let capped = |before: Option<Place>| match (before, end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let to = |next| Step { rows: Vec::new(), next, looked_back_to: None };
        match at {
            Cursor::Indexed(before) => self.indexed(capped(before), want).await,
            Cursor::Open(below, since) if self.filter.wants_open() => {
                self.open(below, since, want).await
            }
            Cursor::Open(_, since) => Ok(to(Some(Cursor::Finished(None, since)))),
            Cursor::Finished(before, since) if self.filter.wants_finished() => {
                self.finished(capped(before), since, want).await
            }
            Cursor::Finished(..) => Ok(to(None)),
        }
    }

    /// What indexes find in all sealed slices at once, or in all slices by the request's id. It comes
    /// before everything that must be looked through, which may be today's million jobs. If it is
    /// too much, the search goes through everything in its order and will fill its page soon.
    async fn indexed(&mut self, before: Option<Place>, want: usize) -> Result<Step> {
        let open = |since| Some(Cursor::Open(Uuid::max(), since));
        let nothing = Step { rows: Vec::new(), next: open(None), looked_back_to: None };
        let by_request = self.filter.request_id.is_some();
        if !self.filter.wants_finished() || !(by_request || self.filter.is_indexed_when_sealed()) {
            return Ok(nothing);
        }
        let sealed = self.slices().await?.sealed.first().and_then(NaiveDate::succ_opt);
        let end = if by_request { Some(FOREVER) } else { sealed.map(midnight) };
        let Some(end) = end else { return Ok(nothing) };
        let last = (end, Uuid::nil());
        let before = Some(before.map_or(last, |b| b.min(last)));
        let range = Range { from: self.floor(None), before };
        let rows = self.by_index(range, want).await?;
        Ok(rows.map_or(nothing, |rows| Step { rows, next: open(Some(end)), looked_back_to: None }))
    }

    /// Nothing that finished earlier is wanted.
    fn floor(&self, since: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        self.filter.finished_from.max(self.filter.created_from).max(since)
    }

    async fn slices(&mut self) -> Result<&Slices> {
        let slices = match self.slices.take() {
            Some(slices) => slices,
            None => Slices::read(self.connection).await?,
        };
        Ok(self.slices.insert(slices))
    }

    /// How many rows the next statement looks at.
    fn next_stretch(&mut self) -> i64 {
        let n = self.stretch;
        self.stretch = (n * 4).min(STRETCH.1);
        n
    }

    /// Open jobs, looked through by their ids. What the claims' and the operators' indexes know
    /// (stage, kind, fingerprint, request) narrows what is looked at.
    async fn open(
        &mut self,
        below: Uuid,
        since: Option<DateTime<Utc>>,
        want: usize,
    ) -> Result<Step> {
        let end = self.open_end(below).await?;
        let mut sql = QueryBuilder::new("");
        if self.runs_only() {
            sql.push(HELD);
        }
        sql.push(OPEN).push("from engine.jobs j join engine.lanes l on l.id = j.lane");
        self.push_open_range(&mut sql, below);
        if let Some((end, _)) = end {
            sql.push(" and j.id >= ").push_bind(end);
        }
        self.filter.push_open(&mut sql);
        sql.push(" order by j.id desc limit ").push_bind(above(want));
        let rows = fetch(self.connection, sql).await?;
        let next = end.map_or(Cursor::Finished(None, since), |(id, _)| Cursor::Open(id, since));
        Ok(Step { rows, next: Some(next), looked_back_to: end.map(|(_, at)| at) })
    }

    /// The last of the next open jobs to look at; `None` if the rest is no more than a stretch.
    async fn open_end(&mut self, below: Uuid) -> Result<Option<(Uuid, DateTime<Utc>)>> {
        if self.runs_only() {
            return Ok(None);
        }
        let n = self.next_stretch();
        let mut sql = QueryBuilder::new("select j.id, j.created_at from engine.jobs j");
        self.push_open_range(&mut sql, below);
        sql.push(" order by j.id desc limit 1 offset ").push_bind(n - 1);
        let end = sql.build_query_as().persistent(false).fetch_optional(&mut *self.connection);
        Ok(end.await?)
    }

    fn push_open_range(&self, sql: &mut QueryBuilder<Postgres>, below: Uuid) {
        sql.push(" where j.id < ").push_bind(below);
        if self.runs_only() {
            sql.push(" and j.id in (select id from held)");
        } else if let Some(stages) = self.filter.stages() {
            if stages.iter().all(|s| *s >= 2) && !self.filter.kinds.is_empty() {
                sql.push(" and j.kind = any(").push_bind(self.filter.kinds.clone()).push(")");
            }
            if stages == [5]
                && let Some(fingerprint) = &self.filter.fingerprint
            {
                sql.push(" and j.fingerprint = ").push_bind(fingerprint.clone());
            }
            sql.push(" and j.stage = any(").push_bind(stages).push(")");
        }
        if let Some(request) = &self.filter.request_id {
            sql.push(" and j.request_id = ").push_bind(request.clone());
        }
    }

    fn runs_only(&self) -> bool {
        let open: Vec<_> = self.filter.states.iter().filter(|s| !s.is_final()).collect();
        self.filter.stuck || open == [&JobState::Running]
    }

    /// The history from a place on, one run of slices of one sort or a part of it.
    async fn finished(
        &mut self,
        before: Option<Place>,
        since: Option<DateTime<Utc>>,
        want: usize,
    ) -> Result<Step> {
        let floor = self.floor(since);
        let (run, sealed) = self.slices().await?.run(before);
        let step = |rows, from: Option<DateTime<Utc>>| {
            let more = from.filter(|from| floor.is_none_or(|floor| *from > floor));
            let next = more.map(|at| Cursor::Finished(Some((at, Uuid::nil())), since));
            Step { rows, next, looked_back_to: from }
        };
        if floor.zip(before).is_some_and(|(floor, (at, _))| at < floor) {
            return Ok(step(Vec::new(), None));
        }
        if sealed && self.daily && self.filter.is_indexed_when_sealed() {
            let from = run.max(before.map(|b| midnight(day_of(b)))).max(floor);
            if let Some(rows) = self.by_index(Range { from, before }, want).await? {
                return Ok(step(rows, from));
            }
            self.daily = false;
        }
        let range = Range { from: run.max(floor), before };
        let (rows, from) = self.through(range, sealed, want).await?;
        Ok(step(rows, from))
    }

    /// Everything in the range that the indexes find, unless it is too much.
    ///
    /// The planner may use nothing but bitmaps of indexes here. Left to itself it reads the rows in
    /// their order when it takes a value for frequent, and then a value that is not there costs a
    /// look at every row.
    ///
    /// Arguments tell jobs apart better than error texts, whose trigrams are in many: the text is
    /// asked of its index only where there is no argument, or the arguments alone are too frequent.
    async fn by_index(&mut self, range: Range, want: usize) -> Result<Option<Vec<JobRow>>> {
        let (args, error) = (!self.filter.args.is_empty(), self.filter.error.is_some());
        self.bitmaps_only(true).await?;
        let mut rows = self.hits(range, want, !args).await?;
        if rows.is_none() && args && error {
            rows = self.hits(range, want, true).await?;
        }
        self.bitmaps_only(false).await?;
        Ok(rows)
    }

    async fn hits(
        &mut self,
        range: Range,
        want: usize,
        with_error: bool,
    ) -> Result<Option<Vec<JobRow>>> {
        let mut sql = QueryBuilder::new(
            "with hit as materialized (select j.* from engine.job_history j where true",
        );
        range.push(&mut sql);
        self.filter.push_args(&mut sql);
        if with_error {
            self.filter.push_error(&mut sql, "error");
        }
        if let Some(request) = &self.filter.request_id {
            sql.push(" and j.request_id = ").push_bind(request.clone());
        }
        sql.push(" limit ").push_bind(MOST_HITS + 1);
        sql.push(") select n.hits, r.* from (select count(*) as hits from hit) n left join (");
        sql.push(FINISHED).push("from hit j join engine.lanes l on l.id = j.lane where true");
        self.filter.push_finished(&mut sql);
        sql.push(" order by j.finished_at desc, j.id desc limit ").push_bind(above(want));
        sql.push(") r on true order by r.finished_at desc, r.id desc");
        let hits: Vec<Hit> = fetch(self.connection, sql).await?;
        if hits.iter().any(|h| h.hits > MOST_HITS) {
            return Ok(None);
        }
        Ok(Some(hits.into_iter().filter_map(|h| h.row).collect()))
    }

    async fn bitmaps_only(&mut self, only: bool) -> Result<()> {
        let others = if only { "off" } else { "on" };
        sqlx::query(
            "select set_config(name, $1, true)
             from unnest('{enable_seqscan,enable_indexscan,enable_indexonlyscan}'::text[]) name",
        )
        .bind(others)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// Looks through the next stretch of the range; also says how far back that is.
    async fn through(
        &mut self,
        range: Range,
        sealed: bool,
        want: usize,
    ) -> Result<(Vec<JobRow>, Option<DateTime<Utc>>)> {
        let by_cancelled = sealed && self.filter.states == [JobState::Cancelled];
        let end = self.finished_end(range, by_cancelled).await?;
        let from = end.or(range.from);
        let mut sql = QueryBuilder::new(FINISHED);
        sql.push(
            "from engine.job_history j join engine.lanes l on l.id = j.lane where j.class = any(",
        );
        sql.push_bind(self.classes()).push(")");
        Range { from, ..range }.push(&mut sql);
        self.filter.push_finished(&mut sql);
        if by_cancelled {
            sql.push(" and j.outcome = 9");
        }
        sql.push(" order by j.finished_at desc, j.id desc limit ").push_bind(above(want));
        Ok((fetch(self.connection, sql).await?, from))
    }

    /// When the last of the next finished jobs to look at has finished; `None` if the rest is no more
    /// than a stretch. Each kind, or else each class, has an index in the order of time.
    async fn finished_end(
        &mut self,
        range: Range,
        by_cancelled: bool,
    ) -> Result<Option<DateTime<Utc>>> {
        let n = self.next_stretch();
        let mut sql = QueryBuilder::new("select s.finished_at from unnest(");
        if self.filter.kinds.is_empty() || by_cancelled {
            sql.push_bind(self.classes());
            sql.push(
                ") key(class) cross join lateral (select j.finished_at from engine.job_history j",
            );
            sql.push(" where j.class = key.class");
        } else {
            sql.push_bind(self.filter.kinds.clone());
            sql.push(
                ") key(kind) cross join lateral (select j.finished_at from engine.job_history j",
            );
            sql.push(" where j.kind = key.kind");
        }
        if by_cancelled {
            sql.push(" and j.outcome = 9");
        }
        range.push(&mut sql);
        sql.push(" order by j.finished_at desc limit ").push_bind(n);
        sql.push(") s order by 1 desc limit 1 offset ").push_bind(n - 1);
        let end = sql.build_query_scalar().persistent(false).fetch_optional(&mut *self.connection);
        Ok(end.await?)
    }

    fn classes(&self) -> Vec<i16> {
        self.slices.as_ref().map(|s| s.classes.clone()).unwrap_or_default()
    }
}

/// The running jobs' ids: in no index of their own, because a claim must change no indexed column. The
/// counters say which lanes have some and how many, and they stand at the head of their lane: each
/// lane's range of the claim index is read until all of them were seen.
pub(in super::super) const HELD: &str = "with busy as materialized (
   select c.lane, sum(c.n)::bigint as n
   from (select lane, state, n from engine.counters
         union all
         select lane, state, n from engine.counter_deltas) c
   where c.state = 3 group by 1 having sum(c.n) > 0
 ), held as materialized (
   select r.id from busy cross join lateral (
     select w.id from engine.jobs w
     where w.lane = busy.lane and w.stage = 0 and w.worker is not null
     order by w.priority, w.run_at, w.id limit busy.n) r
 ) ";

/// What an index found: how much in all, and one row of it that meets the whole filter.
struct Hit {
    hits: i64,
    row: Option<JobRow>,
}

impl FromRow<'_, PgRow> for Hit {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let id: Option<Uuid> = row.try_get("id")?;
        let job = id.map(|_| JobRow::from_row(row)).transpose()?;
        Ok(Self { hits: row.try_get("hits")?, row: job })
    }
}

/// One more than wanted tells that the page is full and that more follows.
fn above(want: usize) -> i64 {
    i64::try_from(want).unwrap_or(i64::MAX).saturating_add(1)
}

/// Not kept as prepared statements: planned with their values, slices out of range fall away.
async fn fetch<T>(connection: &mut PgConnection, mut sql: QueryBuilder<Postgres>) -> Result<Vec<T>>
where
    T: Send + Unpin + for<'r> FromRow<'r, PgRow>,
{
    Ok(sql.build_query_as().persistent(false).fetch_all(connection).await?)
}
