//! Balances: what was folded and the deltas since.

use super::{Account, AccountId, AccountKind, Owner};
use crate::words::word;
use crate::{Result, Tx};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::AgencyId;
use switchyard_domain::money::{Currency, Money};
use uuid::Uuid;

/// What lies in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Its id.
    pub id: AccountId,
    /// The account.
    pub account: Account,
    /// What its owner got less what the owner gave.
    pub amount: Money,
    /// How many postings that are.
    pub postings: i64,
}

macro_rules! columns {
    () => {
        "select id, kind, owner_kind, owner_id, agency_id, currency, amount, postings
         from ledger.account_balances "
    };
}

pub(super) fn currency(row: &PgRow, column: &'static str) -> sqlx::Result<Currency> {
    row.try_get::<&str, _>(column)?.parse().map_err(|e: String| sqlx::Error::Decode(e.into()))
}

pub(super) fn account(row: &PgRow) -> sqlx::Result<Account> {
    Ok(Account {
        kind: word::<AccountKind>(row, "kind")?,
        owner: Owner::read(row.try_get("owner_kind")?, row.try_get("owner_id")?)?,
        agency: row.try_get::<Option<Uuid>, _>("agency_id")?.map(AgencyId),
        currency: currency(row, "currency")?,
    })
}

fn read(row: &PgRow) -> sqlx::Result<Balance> {
    let account = account(row)?;
    Ok(Balance {
        id: AccountId(row.try_get("id")?),
        account,
        amount: Money::new(row.try_get("amount")?, account.currency),
        postings: row.try_get("postings")?,
    })
}

/// What lies in one account; nothing if it was never posted to.
///
/// # Errors
/// If the database is not available.
pub async fn balance(tx: &mut Tx, account: &Account) -> Result<Money> {
    let row = sqlx::query(concat!(columns!(), "where id = $1"))
        .bind(account.id().0)
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.map(|row| read(&row)).transpose()?.map_or(Money::zero(account.currency), |b| b.amount))
}

/// All accounts in an agency's books, or with `None` all accounts that the scope shows, by id after
/// `after`.
///
/// # Errors
/// If the database is not available.
pub async fn balances(
    tx: &mut Tx,
    agency: Option<AgencyId>,
    after: Option<AccountId>,
    limit: i64,
) -> Result<Vec<Balance>> {
    let rows = sqlx::query(concat!(
        columns!(),
        "where ($1::uuid is null or agency_id = $1) and ($2::uuid is null or id > $2)
         order by id limit $3"
    ))
    .bind(agency.map(|a| a.0))
    .bind(after.map(|a| a.0))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Adds the deltas up, to balances and to agents' standings, one process at a time; gives how many there
/// were. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn fold(tx: &mut Tx) -> Result<i64> {
    Ok(sqlx::query_scalar("select ledger.fold_balances()").fetch_one(tx.conn()).await?)
}

/// What the sum of all accounts is off zero, and accounts whose balance is not the sum of their
/// postings, or is not what their owner's standing says: both lists are empty in a sound ledger. Reads
/// every posting. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn out_of_balance(tx: &mut Tx) -> Result<(Vec<(String, String)>, Vec<AccountId>)> {
    let sums = sqlx::query_as(
        "select currency, sum(amount)::text from ledger.account_balances
         group by 1 having sum(amount) <> 0 order by 1",
    )
    .fetch_all(tx.conn())
    .await?;
    let accounts: Vec<Uuid> = sqlx::query_scalar(
        "select b.id from ledger.account_balances b
         full join (select account_id, sum(amount) as amount, count(*) as n
                    from ledger.postings group by 1) p on p.account_id = b.id
         where b.id is null or coalesce(p.amount, 0) <> b.amount or coalesce(p.n, 0) <> b.postings
         union
         select a.id from ledger.accounts a left join ledger.balances b on b.account_id = a.id
         left join ledger.standings s
           on s.owner_id = a.owner_id and s.agency_id = a.agency_id and s.currency = a.currency
         where a.owner_kind = 'agent' and a.kind in ('payable', 'sent', 'paid')
           and (coalesce(b.amount, 0) <> coalesce(case a.kind when 'payable' then s.pending
                  when 'sent' then s.sent else s.paid end, 0)
             or coalesce(s.earned <> s.pending + s.sent + s.paid, false))
         order by 1 limit 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok((sums, accounts.into_iter().map(AccountId).collect()))
}
