//! Payees and payouts. Under a tenant's scope only its own. Where a payout stands is written here; the
//! money itself moves by entries of the ledger.

mod earnings;
mod files;
mod standings;

pub use earnings::{
    AccountLine, AccountMonth, Earned, EarnedBy, Months, account_lines, account_month,
    account_sum_of, earned, entries_about,
};
pub use files::{PayoutFile, file, files, save_file};
pub use standings::{Standing, StandingFilter, standings};

use crate::ledger::Owner;
use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, PayoutId};
use uuid::Uuid;

stored_words! {
    /// How money leaves.
    PayoutMethod {
        /// By a transfer of Stripe Connect.
        Stripe = "stripe",
        /// By a pain.001 file for the bank.
        Sepa = "sepa",
        /// By a CSV file for the bank.
        Csv = "csv",
    }
}

stored_words! {
    /// Where a payout stands.
    PayoutState {
        /// Somebody has to approve it.
        Requested = "requested",
        /// It is to be sent.
        Approved = "approved",
        /// It is on its way: in a file, or at the provider.
        Sent = "sent",
        /// It arrived.
        Confirmed = "confirmed",
        /// It did not; the money is owed again.
        Failed = "failed",
        /// It was turned down; no money moved.
        Declined = "declined",
    }
}

/// Where somebody's money goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payee {
    /// Whose: an agent or an agency.
    pub owner: Owner,
    /// In whose books.
    pub agency: AgencyId,
    /// The account's holder.
    pub name: String,
    /// In SEPA; its check digits are right.
    pub iban: Option<String>,
    /// The bank, if it is known.
    pub bic: Option<String>,
    /// `acct_...`
    pub stripe_account: Option<String>,
}

/// A payout as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// Its id.
    pub id: PayoutId,
    /// In whose books.
    pub agency: AgencyId,
    /// Who gets it.
    pub owner: Owner,
    /// How much.
    pub amount: Money,
    /// How.
    pub method: PayoutMethod,
    /// Where to, as it was when it was asked for.
    pub payee: Payee,
    /// Where it stands.
    pub state: PayoutState,
    /// A second person has to approve it.
    pub above_limit: bool,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// Who approved it; `limit`: nobody had to.
    pub approved_by: Option<String>,
    /// When it left.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it arrived or did not.
    pub settled_at: Option<DateTime<Utc>>,
    /// Who turned it down or said what became of it; `None`: no person did.
    pub settled_by: Option<String>,
    /// The file that it went out by.
    pub file: Option<Uuid>,
    /// The provider's id of it.
    pub provider_id: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
}

fn owner_words(owner: Owner) -> Option<(&'static str, Uuid)> {
    match owner {
        Owner::Agency(id) => Some(("agency", id.0)),
        Owner::Agent(id) => Some(("agent", id.0)),
        Owner::Platform => None,
    }
}

pub(crate) fn owner(row: &PgRow) -> sqlx::Result<Owner> {
    let id: Uuid = row.try_get("owner_id")?;
    Ok(match row.try_get::<&str, _>("owner_kind")? {
        "agency" => Owner::Agency(AgencyId(id)),
        _ => Owner::Agent(AgentId(id)),
    })
}

fn currency(row: &PgRow) -> sqlx::Result<Currency> {
    row.try_get::<&str, _>("currency")?.parse().map_err(|e: String| sqlx::Error::Decode(e.into()))
}

fn payee_of(row: &PgRow) -> sqlx::Result<Payee> {
    Ok(Payee {
        owner: owner(row)?,
        agency: AgencyId(row.try_get("agency_id")?),
        name: row.try_get("name")?,
        iban: row.try_get("iban")?,
        bic: row.try_get("bic")?,
        stripe_account: row.try_get("stripe_account")?,
    })
}

fn payout(row: &PgRow) -> sqlx::Result<Payout> {
    let payee = payee_of(row)?;
    Ok(Payout {
        id: PayoutId(row.try_get("id")?),
        agency: payee.agency,
        owner: payee.owner,
        amount: Money::new(row.try_get("amount")?, currency(row)?),
        method: word(row, "method")?,
        payee,
        state: word(row, "state")?,
        above_limit: row.try_get("above_limit")?,
        requested_by: row.try_get("requested_by")?,
        requested_at: row.try_get("requested_at")?,
        approved_by: row.try_get("approved_by")?,
        sent_at: row.try_get("sent_at")?,
        settled_at: row.try_get("settled_at")?,
        settled_by: row.try_get("settled_by")?,
        file: row.try_get("file_id")?,
        provider_id: row.try_get("provider_id")?,
        error: row.try_get("error")?,
    })
}

/// Says where somebody's money goes from now on. Payouts that were asked for keep where they go.
///
/// # Errors
/// [`StoreFault::NotFound`] for the platform, which is not paid; or if the database refuses it.
pub async fn set_payee(tx: &mut Tx, payee: &Payee, by: &str) -> Result<()> {
    let (kind, id) = owner_words(payee.owner).ok_or(StoreFault::NotFound)?;
    sqlx::query(
        "insert into switchyard.payees
           (owner_kind, owner_id, agency_id, name, iban, bic, stripe_account, updated_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (owner_kind, owner_id, agency_id) do update set name = $4, iban = $5, bic = $6,
           stripe_account = $7, updated_by = $8, updated_at = now()",
    )
    .bind(kind)
    .bind(id)
    .bind(payee.agency.0)
    .bind(&payee.name)
    .bind(&payee.iban)
    .bind(&payee.bic)
    .bind(&payee.stripe_account)
    .bind(by)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Where somebody's money goes.
///
/// # Errors
/// If the database is not available.
pub async fn payee(tx: &mut Tx, owner: Owner, agency: AgencyId) -> Result<Option<Payee>> {
    let Some((kind, id)) = owner_words(owner) else { return Ok(None) };
    let row = sqlx::query(
        "select * from switchyard.payees where owner_kind = $1 and owner_id = $2 and agency_id = $3",
    )
    .bind(kind)
    .bind(id)
    .bind(agency.0)
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| payee_of(&row)).transpose()?)
}

/// Writes a payout that was asked for; approved at once where `approved_by` says so.
///
/// # Errors
/// Constraint `payouts_one_open` if one of this owner and currency is on its way.
pub async fn request(tx: &mut Tx, new: &Payout) -> Result<()> {
    let (kind, id) = owner_words(new.owner).ok_or(StoreFault::NotFound)?;
    sqlx::query(
        "insert into switchyard.payouts (id, agency_id, owner_kind, owner_id, currency, amount, method,
           name, iban, bic, stripe_account, state, above_limit, requested_by, approved_by, approved_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
           case when $15::text is not null then now() end)",
    )
    .bind(new.id.0)
    .bind(new.agency.0)
    .bind(kind)
    .bind(id)
    .bind(new.amount.currency.code())
    .bind(new.amount.minor)
    .bind(new.method.as_str())
    .bind(&new.payee.name)
    .bind(&new.payee.iban)
    .bind(&new.payee.bic)
    .bind(&new.payee.stripe_account)
    .bind(new.state.as_str())
    .bind(new.above_limit)
    .bind(&new.requested_by)
    .bind(&new.approved_by)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What an owner asked for in the last 24 hours in this currency, in minor units, but for what was turned
/// down or did not arrive.
///
/// # Errors
/// If the database is not available.
pub async fn asked_in_a_day(
    tx: &mut Tx,
    owner: Owner,
    agency: AgencyId,
    currency: Currency,
) -> Result<i128> {
    let (kind, id) = owner_words(owner).ok_or(StoreFault::NotFound)?;
    let sum: String = sqlx::query_scalar(
        "select coalesce(sum(amount), 0)::text from switchyard.payouts
         where owner_kind = $1 and owner_id = $2 and agency_id = $3 and currency = $4
           and requested_at > now() - interval '24 hours' and state not in ('failed', 'declined')",
    )
    .bind(kind)
    .bind(id)
    .bind(agency.0)
    .bind(currency.code())
    .fetch_one(tx.conn())
    .await?;
    Ok(sum.parse().unwrap_or(i128::MAX))
}

/// One payout.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn get(tx: &mut Tx, id: PayoutId) -> Result<Payout> {
    let row = sqlx::query("select * from switchyard.payouts where id = $1")
        .bind(id.0)
        .fetch_one(tx.conn())
        .await?;
    Ok(payout(&row)?)
}

/// The same, locked until the end of the transaction.
///
/// # Errors
/// As [`get`].
pub async fn lock(tx: &mut Tx, id: PayoutId) -> Result<Payout> {
    let row = sqlx::query("select * from switchyard.payouts where id = $1 for no key update")
        .bind(id.0)
        .fetch_one(tx.conn())
        .await?;
    Ok(payout(&row)?)
}

/// Approved payouts that go out by a file, locked, the oldest first.
///
/// # Errors
/// If the database is not available.
pub async fn lock_approved(
    tx: &mut Tx,
    method: PayoutMethod,
    currency: Currency,
    limit: i64,
) -> Result<Vec<Payout>> {
    let rows = sqlx::query(
        "select * from switchyard.payouts where state = 'approved' and method = $1 and currency = $2
         order by id limit $3 for no key update",
    )
    .bind(method.as_str())
    .bind(currency.code())
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(payout).collect::<sqlx::Result<_>>()?)
}

/// Which payouts to list.
#[derive(Clone, Debug, Default)]
pub struct PayoutFilter {
    /// In this state.
    pub state: Option<PayoutState>,
    /// In this agency's books.
    pub agency: Option<AgencyId>,
    /// Older than this one (for the next page).
    pub before: Option<PayoutId>,
    /// At most so many.
    pub limit: i64,
}

/// Payouts, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, filter: &PayoutFilter) -> Result<Vec<Payout>> {
    let rows = sqlx::query(
        "select * from switchyard.payouts
         where ($1::text is null or state = $1) and ($2::uuid is null or agency_id = $2)
           and ($3::uuid is null or id < $3)
         order by id desc limit $4",
    )
    .bind(filter.state.map(PayoutState::as_str))
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.before.map(|p| p.0))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(payout).collect::<sqlx::Result<_>>()?)
}

/// Notes who approved a payout.
///
/// # Errors
/// Constraint `payouts_second_person` if it was the one who asked for it.
pub async fn approve(tx: &mut Tx, id: PayoutId, by: &str) -> Result<()> {
    sqlx::query(
        "update switchyard.payouts set state = 'approved', approved_by = $2, approved_at = now()
         where id = $1",
    )
    .bind(id.0)
    .bind(by)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What else is known of a payout when its state changes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Change<'a> {
    /// The file that it goes out by.
    pub file: Option<Uuid>,
    /// The provider's id of it.
    pub provider_id: Option<&'a str>,
    /// What went wrong.
    pub error: Option<&'a str>,
    /// Who turned it down or said what became of it.
    pub by: Option<&'a str>,
}

/// Moves a payout on. What `change` leaves out stays, but for the error.
///
/// # Errors
/// If the database refuses it.
pub async fn set_state(
    tx: &mut Tx,
    id: PayoutId,
    state: PayoutState,
    change: &Change<'_>,
) -> Result<()> {
    sqlx::query(
        "update switchyard.payouts set state = $2, file_id = coalesce($3, file_id),
           provider_id = coalesce($4, provider_id), error = $5,
           sent_at = case when $2 = 'sent' then coalesce(sent_at, now()) else sent_at end,
           settled_at = case when $2 in ('confirmed', 'failed', 'declined') then now() end,
           settled_by = case when $2 in ('confirmed', 'failed', 'declined') then $6 end
         where id = $1",
    )
    .bind(id.0)
    .bind(state.as_str())
    .bind(change.file)
    .bind(change.provider_id)
    .bind(change.error)
    .bind(change.by)
    .execute(tx.conn())
    .await?;
    Ok(())
}
