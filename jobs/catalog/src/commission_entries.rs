//! From a line to an entry: what the line says now, less what the ledger holds for it.

use crate::commission_plans::named;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use switchyard_domain::CommissionEventId;
use switchyard_domain::commission::{Cause, Change, CommissionEvent, Line};
use switchyard_domain::money::Money;
use switchyard_store::commissions::GroupKey;
use switchyard_store::ledger::{Account, AccountId, AccountKind, EntryKind, Held, NewEntry, Owner};

/// An event whose line may have changed.
pub(crate) struct Changed {
    pub(crate) key: GroupKey,
    pub(crate) event: CommissionEvent,
    /// What it comes to now; `None`: nothing, it is refused.
    pub(crate) line: Option<Line>,
    /// What was booked for it.
    pub(crate) held: Held,
    /// What changed the line of an event that was booked before; `None`: it was computed again.
    pub(crate) cause: Option<Cause>,
}

impl Changed {
    /// The line of an event that was never booked.
    pub(crate) fn first(key: GroupKey, event: CommissionEvent, line: Line) -> Self {
        Self { key, event, line: Some(line), held: Held::default(), cause: None }
    }

    /// Nothing was booked for it before.
    pub(crate) fn is_new(&self) -> bool {
        self.held.entries == 0
    }
}

/// Of what is new in a group, what changed the lines of this deal: an event of its own before others, then
/// whatever comes first, then a decision about the agent.
pub(crate) fn cause(
    new: &[CommissionEvent],
    decided: &[CommissionEvent],
    deal: CommissionEventId,
) -> Option<Cause> {
    let of = |event: &CommissionEvent| event.of.unwrap_or(event.id);
    let own = new.iter().find(|event| of(event) == deal);
    let event = own.or_else(|| new.first()).or_else(|| decided.first())?;
    let deal = (!event.is_decision()).then(|| of(event));
    Some(Cause { event: event.id, kind: event.kind.word(), deal })
}

/// What every account is to hold for a line: the shares, and the platform's expense on the other side.
pub(crate) fn wanted(line: &Line) -> BTreeMap<AccountId, (Account, i64)> {
    let mut all: BTreeMap<AccountId, (Account, i64)> = BTreeMap::new();
    let mut add = |account: Account, amount: i64| {
        // Shares sum to what was checked when they were computed.
        let entry = all.entry(account.id()).or_insert((account, 0));
        entry.1 = entry.1.saturating_add(amount);
    };
    for share in &line.shares {
        let (currency, amount) = (share.amount.currency, share.amount.minor);
        add(Account::payable(Owner::from(share.party), line.agency, currency), amount);
        add(Account::expense(currency), amount.saturating_neg());
    }
    all.retain(|_, (_, amount)| *amount != 0);
    all
}

/// The entry that makes the ledger hold what the line says; `None` if it does already.
pub(crate) fn entry_of(changed: &Changed, kind: EntryKind) -> Option<NewEntry> {
    let Changed { key, event, line, held, cause } = changed;
    let wanted = line.as_ref().map(wanted).unwrap_or_default();
    let mut postings = difference(&wanted, held);
    if postings.is_empty() {
        return None;
    }
    // The expense last, so that people read first who gets what.
    postings.sort_by_key(|(account, _)| account.kind == AccountKind::Expense);
    let mut why = json!({
        "plan": named(key),
        "line": line.as_ref().map(Line::explained),
        "event": { "id": event.id, "kind": event.kind.word(), "agency": event.agency },
    });
    if held.entries > 0
        && let Some(currency) = postings.first().map(|(account, _)| account.currency)
        && let Some(members) = why.as_object_mut()
    {
        let money = |minor| Money::new(minor, currency);
        let before = owed(held.amounts.values().map(|(account, amount)| (account, *amount)));
        let after = owed(wanted.values().map(|(account, amount)| (account, *amount)));
        let (before, after) = (money(before), money(after));
        let change = Change { entries: held.entries, before, after, cause: *cause };
        members.insert("changes".to_owned(), json!(change));
    }
    Some(NewEntry {
        key: entry_key(event.id, held.entries + 1),
        agency: key.agency,
        kind,
        agent: Some(key.agent),
        event: Some(event.id),
        lead: line.as_ref().and_then(|l| l.lead).or(event.lead),
        occurred_at: event.occurred_at,
        explanation: why,
        postings,
    })
}

/// What all parties together have of it.
fn owed<'a>(amounts: impl Iterator<Item = (&'a Account, i64)>) -> i64 {
    let owed = amounts.filter(|(account, _)| account.kind == AccountKind::Payable);
    owed.fold(0, |sum, (_, amount)| sum.saturating_add(amount))
}

/// The key of an event's n-th entry.
fn entry_key(event: CommissionEventId, n: i64) -> String {
    format!("commission:{event}:{n}")
}

fn difference(wanted: &BTreeMap<AccountId, (Account, i64)>, held: &Held) -> Vec<(Account, i64)> {
    let mut found = Vec::new();
    for (id, (account, amount)) in wanted {
        let has = held.amounts.get(id).map_or(0, |(_, amount)| *amount);
        found.push((*account, amount.saturating_sub(has)));
    }
    for (id, (account, amount)) in &held.amounts {
        if !wanted.contains_key(id) {
            found.push((*account, amount.saturating_neg()));
        }
    }
    found.retain(|(_, amount)| *amount != 0);
    found.sort_by_key(|(account, _)| account.id());
    found
}

/// Whether the ledger holds what a line says: for comparing without posting.
pub(crate) fn differs(
    wanted: &BTreeMap<AccountId, (Account, i64)>,
    held: Option<&HashMap<AccountId, i64>>,
) -> Vec<(AccountId, i64, i64)> {
    let mut found = Vec::new();
    for (id, (_, amount)) in wanted {
        let has = held.and_then(|h| h.get(id)).copied().unwrap_or(0);
        if has != *amount {
            found.push((*id, *amount, has));
        }
    }
    for (id, has) in held.into_iter().flatten() {
        if *has != 0 && !wanted.contains_key(id) {
            found.push((*id, 0, *has));
        }
    }
    found.sort_unstable();
    found
}
