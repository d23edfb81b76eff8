//! Endpoints: who wants to hear of what, and where.

use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::fmt;
use std::time::Duration;
use switchyard_domain::{AgencyId, EndpointId};

stored_words! {
    /// Where an endpoint stands.
    EndpointState {
        /// It is sent to.
        Active = "active",
        /// Somebody stopped it; what happens meanwhile is kept for it.
        Paused = "paused",
        /// It said that it is gone, or took nothing for days. Kept for it for 30 days.
        Disabled = "disabled",
    }
}

/// An endpoint. Its secrets do not print.
#[derive(Clone)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is; `None`: a partner's of the platform.
    pub agency: Option<AgencyId>,
    /// The agency's name.
    pub owner: Option<String>,
    /// Where to.
    pub url: String,
    /// For people.
    pub description: String,
    /// Events, groups such as `lead.*`, or `*`.
    pub events: Vec<String>,
    /// One message at a time, in the order in which things were committed.
    pub ordered: bool,
    /// Where it stands.
    pub state: EndpointState,
    /// Why it is paused or disabled.
    pub reason: Option<String>,
    /// Since when it stands so.
    pub state_since: DateTime<Utc>,
    /// The sealed secrets that sign, the current one first.
    pub secrets: Vec<Vec<u8>>,
    /// The older one signs until then.
    pub old_secret_until: Option<DateTime<Utc>>,
    /// Requests a second; `None`: no limit.
    pub rate: Option<i32>,
    /// Since when nothing was taken.
    pub failing_since: Option<DateTime<Utc>>,
    /// When an attempt failed last.
    pub last_failure_at: Option<DateTime<Utc>>,
    /// When an attempt succeeded last (kept to the minute).
    pub last_success_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When somebody changed it last.
    pub updated_at: DateTime<Utc>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("agency", &self.agency)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// An endpoint to be made.
pub struct NewEndpoint {
    /// Whose it is; `None`: a partner's, platform scope.
    pub agency: Option<AgencyId>,
    /// See [`Endpoint::ordered`]; for good.
    pub ordered: bool,
    /// The sealed secret.
    pub secret: Vec<u8>,
    /// The rest.
    pub settings: EndpointChange,
}

/// What can be changed afterwards. Everything is set.
pub struct EndpointChange {
    /// Where to.
    pub url: String,
    /// For people.
    pub description: String,
    /// See [`Endpoint::events`].
    pub events: Vec<String>,
    /// See [`Endpoint::rate`].
    pub rate: Option<i32>,
}

macro_rules! columns {
    () => {
        "e.id, e.agency_id, (select a.name from switchyard.agencies a where a.id = e.agency_id) as \
         owner, e.url, e.description, e.events, e.ordered, e.state, e.reason, \
         e.state_since, e.secret, case when e.old_secret_until > now() then e.old_secret end as \
         old_secret, e.old_secret_until, e.rate, e.failing_since, e.last_failure_at, \
         e.last_success_at, e.created_at, e.updated_at"
    };
}

pub(super) fn endpoint(row: &PgRow) -> sqlx::Result<Endpoint> {
    let old: Option<Vec<u8>> = row.try_get("old_secret")?;
    let until: Option<DateTime<Utc>> = row.try_get("old_secret_until")?;
    Ok(Endpoint {
        id: EndpointId(row.try_get("id")?),
        agency: row.try_get::<Option<_>, _>("agency_id")?.map(AgencyId),
        owner: row.try_get("owner")?,
        url: row.try_get("url")?,
        description: row.try_get("description")?,
        events: row.try_get("events")?,
        ordered: row.try_get("ordered")?,
        state: word(row, "state")?,
        reason: row.try_get("reason")?,
        state_since: row.try_get("state_since")?,
        old_secret_until: until.filter(|_| old.is_some()),
        secrets: std::iter::once(row.try_get("secret")?).chain(old).collect(),
        rate: row.try_get("rate")?,
        failing_since: row.try_get("failing_since")?,
        last_failure_at: row.try_get("last_failure_at")?,
        last_success_at: row.try_get("last_success_at")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Makes an endpoint. `None`: its owner has `most` already.
///
/// # Errors
/// If the scope may not make one for this owner.
pub async fn create(tx: &mut Tx, new: &NewEndpoint, most: i64) -> Result<Option<Endpoint>> {
    // Two at once might both count one too few; the lock is the owner's and lasts for a moment.
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || coalesce($1::text, ''), 0))",
    )
    .bind(new.agency.map(|a| a.0))
    .execute(tx.conn())
    .await?;
    let row = sqlx::query(concat!(
        "insert into switchyard.webhook_endpoints as e
           (id, agency_id, url, description, events, ordered, secret, rate)
         select $1, $2, $3, $4, $5, $6, $7, $8
         where (select count(*) from switchyard.webhook_endpoints o
                where o.agency_id is not distinct from $2) < $9
         returning ",
        columns!()
    ))
    .bind(EndpointId::new().0)
    .bind(new.agency.map(|a| a.0))
    .bind(&new.settings.url)
    .bind(&new.settings.description)
    .bind(&new.settings.events)
    .bind(new.ordered)
    .bind(&new.secret)
    .bind(new.settings.rate)
    .bind(most)
    .fetch_optional(tx.conn())
    .await?;
    tx.forget_subscriptions();
    Ok(row.as_ref().map(endpoint).transpose()?)
}

/// One endpoint.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn get(tx: &mut Tx, id: EndpointId) -> Result<Endpoint> {
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.webhook_endpoints e where e.id = $1"
    ))
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok(endpoint(&row)?)
}

/// One endpoint, locked until the end of the transaction: its line stands still meanwhile.
///
/// # Errors
/// As [`get`].
pub async fn lock(tx: &mut Tx, id: EndpointId) -> Result<Endpoint> {
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.webhook_endpoints e where e.id = $1 for no key update"
    ))
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok(endpoint(&row)?)
}

/// Which endpoints to list.
#[derive(Clone, Debug, Default)]
pub struct EndpointFilter {
    /// Of this agency.
    pub agency: Option<AgencyId>,
    /// Only partners'.
    pub partners: bool,
    /// Older than this one (for the next page).
    pub before: Option<EndpointId>,
    /// At most so many.
    pub limit: i64,
}

/// Endpoints, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, filter: &EndpointFilter) -> Result<Vec<Endpoint>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.webhook_endpoints e
          where ($1::uuid is null or e.agency_id = $1) and (not $2 or e.agency_id is null)
            and ($3::uuid is null or e.id < $3)
          order by e.id desc limit $4"
    ))
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.partners)
    .bind(filter.before.map(|e| e.0))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(endpoint).collect::<sqlx::Result<_>>()?)
}

/// Changes an endpoint.
///
/// # Errors
/// As [`get`].
pub async fn change(tx: &mut Tx, id: EndpointId, to: &EndpointChange) -> Result<Endpoint> {
    let row = sqlx::query(concat!(
        "update switchyard.webhook_endpoints e set url = $2, description = $3, events = $4,
           rate = $5, updated_at = now() where e.id = $1 returning ",
        columns!()
    ))
    .bind(id.0)
    .bind(&to.url)
    .bind(&to.description)
    .bind(&to.events)
    .bind(to.rate)
    .fetch_one(tx.conn())
    .await?;
    tx.forget_subscriptions();
    Ok(endpoint(&row)?)
}

/// Takes an endpoint away. Its jobs find it gone and end; its log stays for its time.
///
/// # Errors
/// As [`get`].
pub async fn remove(tx: &mut Tx, id: EndpointId) -> Result<()> {
    let gone = sqlx::query("delete from switchyard.webhook_endpoints where id = $1")
        .bind(id.0)
        .execute(tx.conn())
        .await?;
    tx.forget_subscriptions();
    if gone.rows_affected() == 0 { Err(StoreFault::NotFound) } else { Ok(()) }
}

/// Says where an endpoint stands from now on. Going on, it starts with a clean slate.
///
/// # Errors
/// As [`get`].
pub async fn set_state(
    tx: &mut Tx,
    id: EndpointId,
    state: EndpointState,
    reason: Option<&str>,
) -> Result<Endpoint> {
    let row = sqlx::query(concat!(
        "update switchyard.webhook_endpoints e set state = $2, reason = $3,
           state_since = case when e.state = $2 then e.state_since else now() end,
           failing_since = case when $2 = 'active' then null else e.failing_since end
         where e.id = $1 returning ",
        columns!()
    ))
    .bind(id.0)
    .bind(state.as_str())
    .bind(reason)
    .fetch_one(tx.conn())
    .await?;
    tx.forget_subscriptions();
    Ok(endpoint(&row)?)
}

/// Puts a new sealed secret in the place of the current one, which signs along for a while. One
/// that was on its way out already ends now.
///
/// # Errors
/// As [`get`].
pub async fn rotate(
    tx: &mut Tx,
    id: EndpointId,
    secret: &[u8],
    old_lives: Duration,
) -> Result<Endpoint> {
    let row = sqlx::query(concat!(
        "update switchyard.webhook_endpoints e set old_secret = e.secret, secret = $2,
           old_secret_until = now() + make_interval(secs => $3), updated_at = now()
         where e.id = $1 returning ",
        columns!()
    ))
    .bind(id.0)
    .bind(secret)
    .bind(old_lives.as_secs_f64())
    .fetch_one(tx.conn())
    .await?;
    Ok(endpoint(&row)?)
}

/// Wipes secrets whose time is over. Platform scope; gives how many.
///
/// # Errors
/// If the database is not available.
pub async fn forget_old_secrets(tx: &mut Tx) -> Result<u64> {
    let wiped = sqlx::query(
        "update switchyard.webhook_endpoints set old_secret = null, old_secret_until = null
         where old_secret_until <= now()",
    )
    .execute(tx.conn())
    .await?;
    Ok(wiped.rows_affected())
}

/// Who is told what becomes of an endpoint.
#[derive(Clone)]
pub struct Owner {
    /// Name of the agency or the administrator.
    pub name: String,
    /// Where to.
    pub email: String,
}

/// The agency of an endpoint; of a partner's, the administrators who may sign in (at most 20).
/// Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn owner(tx: &mut Tx, id: EndpointId) -> Result<Vec<Owner>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select a.name, a.email from switchyard.webhook_endpoints e
         join switchyard.agencies a on a.id = e.agency_id where e.id = $1
         union all
         (select a.name, a.email from switchyard.administrators a
          where a.disabled_at is null and exists (select from switchyard.webhook_endpoints e
            where e.id = $1 and e.agency_id is null)
          order by a.created_at limit 20)",
    )
    .bind(id.0)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|(name, email)| Owner { name, email }).collect())
}
