//! How often portals send: gaps between their events, learnt as events come, and which portals are
//! silent for longer than is usual. Platform scope.

use crate::events::EventMark;
use crate::portals::BY_HAND;
use crate::{Db, Result, Scope, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use std::time::Duration;
use switchyard_domain::EventId;

const MARK: &str = "pulse";
/// Events of one step.
const STEP: i64 = 20_000;

/// Learns the gaps between the events that came since the last time, at most 20,000 of them. Says
/// whether there are more.
///
/// Nothing newer than a minute is looked at: a transaction that writes events may take a while, and
/// what it commits late would be passed over.
///
/// # Errors
/// If the database is not available.
pub async fn learn(tx: &mut Tx) -> Result<bool> {
    let mark = EventMark::lock(tx, MARK).await?;
    let row = sqlx::query(
        "with fresh as materialized (
           select portal_id, received_at, id from switchyard.webhook_events
           where (received_at, id) > ($1, $2) and received_at > now() - interval '15 days'
             and received_at < now() - interval '1 minute'
           order by received_at, id limit $3
         ), gaps as (
           select f.portal_id, f.received_at, extract(epoch from f.received_at - coalesce(
               lag(f.received_at) over (partition by f.portal_id order by f.received_at, f.id),
               p.last_event_at)) as gap
           from fresh f left join switchyard.portal_pulse p on p.portal_id = f.portal_id
         ), counted as (
           insert into switchyard.portal_gaps as g (portal_id, day, bucket, n)
           select portal_id, (received_at at time zone 'UTC')::date,
             floor(ln(greatest(gap, 1)) / ln(2) * 8)::smallint, count(*)
           from gaps where gap is not null group by 1, 2, 3 order by 1, 2, 3
           on conflict (portal_id, day, bucket) do update set n = g.n + excluded.n
         ), seen as (
           insert into switchyard.portal_pulse as p (portal_id, last_event_at)
           select portal_id, max(received_at) from fresh group by 1 order by 1
           on conflict (portal_id) do update
             set last_event_at = greatest(p.last_event_at, excluded.last_event_at)
         )
         select count(*) as n, (select received_at from fresh order by received_at desc, id desc limit 1),
           (select id from fresh order by received_at desc, id desc limit 1)
         from fresh",
    )
    .bind(mark.received_at)
    .bind(mark.id.0)
    .bind(STEP)
    .fetch_one(tx.conn())
    .await?;
    if let Some(received_at) = row.try_get("received_at")? {
        EventMark { received_at, id: EventId(row.try_get("id")?) }.keep(tx, MARK).await?;
    }
    Ok(row.try_get::<i64, _>("n")? == STEP)
}

/// A portal that went silent, or sends again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulseChange {
    /// Its code.
    pub code: String,
    /// It is silent now.
    pub silent: bool,
    /// The longest pause that is usual.
    pub usual_gap: Duration,
}

/// Says how long a pause is usual for each portal, and marks those that are silent for longer; gives
/// those of which that changed.
///
/// Usual is the 99th percentile of the gaps of 14 days, or the longest gap of a day if half of the days
/// have one as long (nights), and at least an hour. With fewer than 20 gaps nothing is said. A portal
/// that is closed is not silent, and neither is the one of leads that people enter: nobody sends to it.
///
/// # Errors
/// If the database is not available.
pub async fn judge(tx: &mut Tx) -> Result<Vec<PulseChange>> {
    sqlx::query(
        "delete from switchyard.portal_gaps where day < (now() at time zone 'UTC')::date - 14",
    )
    .execute(tx.conn())
    .await?;
    let rows = sqlx::query(
        "with summed as (
           select portal_id, bucket, sum(n) as n,
             sum(sum(n)) over (partition by portal_id order by bucket) as below,
             sum(sum(n)) over (partition by portal_id) as total
           from switchyard.portal_gaps group by portal_id, bucket
         ), often as (
           select portal_id, min(bucket) filter (where below >= 0.99 * total) as bucket, min(total) as total
           from summed group by portal_id
         ), daily as (
           select portal_id, percentile_disc(0.5) within group (order by longest) as bucket
           from (select portal_id, day, max(bucket) as longest from switchyard.portal_gaps
                 group by portal_id, day) d
           group by portal_id
         ), usual as (
           -- The upper end of the bucket: what was seen lies below it.
           select o.portal_id, case when o.total >= 20 then greatest(interval '1 hour',
               make_interval(secs => power(2, (greatest(o.bucket, d.bucket) + 1) / 8.0)::float8)) end as gap
           from often o join daily d on d.portal_id = o.portal_id
         ), now_silent as (
           select p.portal_id, p.silent_since, u.gap, t.code,
             case when t.active and t.code <> $1 and p.last_event_at + u.gap < now() - interval '1 minute'
               then coalesce(p.silent_since, p.last_event_at + u.gap) end as since
           from switchyard.portal_pulse p
           join switchyard.portals t on t.id = p.portal_id
           left join usual u on u.portal_id = p.portal_id
         ), written as (
           update switchyard.portal_pulse p set usual_gap = n.gap, silent_since = n.since
           from now_silent n where n.portal_id = p.portal_id
             and (p.usual_gap, p.silent_since) is distinct from (n.gap, n.since)
         )
         select code, since is not null as silent,
           coalesce(extract(epoch from gap), 0)::float8 as gap
         from now_silent where (since is null) <> (silent_since is null) order by code",
    )
    .bind(BY_HAND)
    .fetch_all(tx.conn())
    .await?;
    let change = |row: &sqlx::postgres::PgRow| {
        let gap: f64 = row.try_get("gap")?;
        Ok(PulseChange {
            code: row.try_get("code")?,
            silent: row.try_get("silent")?,
            usual_gap: Duration::try_from_secs_f64(gap).unwrap_or_default(),
        })
    };
    Ok(rows.iter().map(change).collect::<sqlx::Result<_>>()?)
}

/// A portal that is silent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Its code.
    pub code: String,
    /// When its last event came.
    pub last_event_at: DateTime<Utc>,
    /// The longest pause that is usual.
    pub usual_gap: Duration,
}

/// The portals that are silent, by their codes.
///
/// # Errors
/// If the database is not available.
pub async fn silences(tx: &mut Tx) -> Result<Vec<Silence>> {
    let rows = sqlx::query(
        "select t.code, p.last_event_at, coalesce(extract(epoch from p.usual_gap), 0)::float8 as gap
         from switchyard.portal_pulse p join switchyard.portals t on t.id = p.portal_id
         where p.silent_since is not null order by t.code",
    )
    .fetch_all(tx.conn())
    .await?;
    let silence = |row: &sqlx::postgres::PgRow| {
        Ok(Silence {
            code: row.try_get("code")?,
            last_event_at: row.try_get("last_event_at")?,
            usual_gap: Duration::try_from_secs_f64(row.try_get("gap")?).unwrap_or_default(),
        })
    };
    Ok(rows.iter().map(silence).collect::<sqlx::Result<_>>()?)
}

/// The codes of the portals that are silent.
///
/// # Errors
/// If the database is not available.
pub async fn silent(db: &Db) -> Result<Vec<String>> {
    let mut tx = db.begin(Scope::Platform).await?;
    let silences = silences(&mut tx).await?;
    tx.rollback().await?;
    Ok(silences.into_iter().map(|s| s.code).collect())
}
