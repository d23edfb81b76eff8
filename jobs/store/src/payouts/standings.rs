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

/// Standings with what was posted since the last fold: `moved` has every agent of whom something was,
/// `still` all others. Parameters: the currency, the agency or null.
macro_rules! standing_now {
    ($rest:literal) => {
        concat!(
            "with deltas as materialized (
               select a.owner_id, a.agency_id, sum(d.amount)::int8 as earned,
                 coalesce(sum(d.amount) filter (where a.kind = 'payable'), 0)::int8 as pending,
                 coalesce(sum(d.amount) filter (where a.kind = 'sent'), 0)::int8 as sent,
                 coalesce(sum(d.amount) filter (where a.kind = 'paid'), 0)::int8 as paid
               from ledger.balance_deltas d join ledger.accounts a on a.id = d.account_id
               where a.owner_kind = 'agent' and a.currency = $1
                 and a.kind in ('payable', 'sent', 'paid') and ($2::uuid is null or a.agency_id = $2)
               group by 1, 2
             ), moved as materialized (
               select d.owner_id, d.agency_id, d.earned + coalesce(s.earned, 0) as earned,
                 d.pending + coalesce(s.pending, 0) as pending, d.sent + coalesce(s.sent, 0) as sent,
                 d.paid + coalesce(s.paid, 0) as paid
               from deltas d left join ledger.standings s
                 on s.owner_id = d.owner_id and s.agency_id = d.agency_id and s.currency = $1
             ), still as not materialized (
               select s.owner_id, s.agency_id, s.earned, s.pending, s.sent, s.paid
               from ledger.standings s
               where s.currency = $1 and ($2::uuid is null or s.agency_id = $2)
                 and (s.owner_id, s.agency_id) not in (select owner_id, agency_id from deltas)
             ) ",
            $rest
        )
    };
}

/// The first ones. Of those that did not move no more can be among them than are asked for.
const FIRST: &str = standing_now!(
    ", first as (
       select * from moved union all (
         select * from still order by earned desc, owner_id limit $3
       )
     ), placed as (select f.*, rank() over (order by f.earned desc) as place from first f)
     select p.*, g.name from placed p join switchyard.agents g on g.id = p.owner_id
     order by p.place, p.owner_id limit $3"
);

/// One agent's, with the place among all.
const OF_ONE: &str = standing_now!(
    ", own as (
       select * from moved where owner_id = $4 union all select * from still where owner_id = $4
     )
     select o.*, g.name, 1 + (select count(*) from moved m where m.earned > o.earned)
       + (select count(*) from still s where s.earned > o.earned) as place
     from own o join switchyard.agents g on g.id = o.owner_id order by place limit $3"
);

/// Agents by what they earned, the most first: read from what folding the balances keeps (see
/// [`crate::ledger::fold`]) and from the postings since then, so that it costs the same after ten deals
/// and after ten million, with ten agents and with a hundred thousand.
///
/// # Errors
/// If the database is not available.
pub async fn standings(tx: &mut Tx, filter: &StandingFilter) -> Result<Vec<Standing>> {
    let agency = filter.agency.map(|a| a.0);
    let query = sqlx::query(if filter.agent.is_some() { OF_ONE } else { FIRST });
    let query = query.bind(filter.currency.code()).bind(agency).bind(filter.limit);
    let query = match filter.agent {
        Some(agent) => query.bind(agent.0),
        None => query,
    };
    let rows = query.fetch_all(tx.conn()).await?;
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
