//! The leaderboard: what agents earned, are owed and were paid, from the balances of their accounts.

use crate::{Result, Tx};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId};

/// One agent's standing in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// From 1; equal amounts share a place.
    pub place: i64,
    /// Who.
    pub agent: AgentId,
    /// The agent's name.
    pub name: String,
    /// In whose books.
    pub agency: AgencyId,
    /// Everything that was ever booked for the agent, less what was taken back.
    pub earned: Money,
    /// Of it, owed.
    pub pending: Money,
    /// Of it, on its way.
    pub sent: Money,
    /// Of it, paid.
    pub paid: Money,
}

/// Which standings.
#[derive(Clone, Copy, Debug)]
pub struct StandingFilter {
    /// In this currency.
    pub currency: Currency,
    /// Only this agency's.
    pub agency: Option<AgencyId>,
    /// Only this agent's; the place is still among all.
    pub agent: Option<AgentId>,
    /// At most so many.
    pub limit: i64,
}

/// Agents by what they earned, the most first. Reads an account's balance and no posting, so it costs
/// the same after ten deals and after ten million.
///
/// # Errors
/// If the database is not available.
pub async fn standings(tx: &mut Tx, filter: &StandingFilter) -> Result<Vec<Standing>> {
    let rows = sqlx::query(
        "with deltas as materialized (
           select account_id, sum(amount) as amount from ledger.balance_deltas group by 1
         ), sums as materialized (
           select a.owner_id, a.agency_id,
             sum(coalesce(b.amount, 0) + coalesce(d.amount, 0))::int8 as earned,
             coalesce(sum(coalesce(b.amount, 0) + coalesce(d.amount, 0))
               filter (where a.kind = 'payable'), 0)::int8 as pending,
             coalesce(sum(coalesce(b.amount, 0) + coalesce(d.amount, 0))
               filter (where a.kind = 'sent'), 0)::int8 as sent,
             coalesce(sum(coalesce(b.amount, 0) + coalesce(d.amount, 0))
               filter (where a.kind = 'paid'), 0)::int8 as paid
           from ledger.accounts a
           left join ledger.balances b on b.account_id = a.id
           left join deltas d on d.account_id = a.id
           where a.owner_kind = 'agent' and a.currency = $1
             and a.kind in ('payable', 'sent', 'paid') and ($2::uuid is null or a.agency_id = $2)
           group by 1, 2
         ), placed as (
           select s.*, rank() over (order by s.earned desc) as place from sums s
         )
         select p.*, g.name from placed p join switchyard.agents g on g.id = p.owner_id
         where $3::uuid is null or p.owner_id = $3
         order by p.place, p.owner_id limit $4",
    )
    .bind(filter.currency.code())
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.agent.map(|a| a.0))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    let standing = |row: &PgRow| {
        let money = |column: &str| {
            let minor: sqlx::Result<i64> = row.try_get(column);
            minor.map(|minor| Money::new(minor, filter.currency))
        };
        Ok(Standing {
            place: row.try_get("place")?,
            agent: AgentId(row.try_get("owner_id")?),
            name: row.try_get("name")?,
            agency: AgencyId(row.try_get("agency_id")?),
            earned: money("earned")?,
            pending: money("pending")?,
            sent: money("sent")?,
            paid: money("paid")?,
        })
    };
    Ok(rows.iter().map(standing).collect::<sqlx::Result<_>>()?)
}
