//! Storing what an event stands for: leads, repetitions, persons who asked before.

use crate::{DistributeLead, EnrichLead};
use std::collections::BTreeSet;
use switchyard_domain::duplicates::{DuplicatePolicy, DuplicateRule, PersonKey, absorb};
use switchyard_domain::mapping::Judged;
use switchyard_domain::{EventId, FieldFault, LeadId, StandardLead};
use switchyard_queue::NewJob;
use switchyard_store::events::{self, EventToProcess};
use switchyard_store::leads::{self, StoreAs};
use switchyard_store::persons::{self, Claim};
use switchyard_store::{Result, Tx};

/// The warning of a lead whose person asked before.
const WARNING: &str = "duplicate_person";

/// What became of one lead of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kept {
    /// A new lead; it is given out, or fetched first.
    New(LeadId),
    /// A new lead of a person who asked before.
    Linked(LeadId),
    /// The event repeats this lead.
    Repeats(LeadId),
    /// It completed this lead, whose person asked before.
    Merged(LeadId, Vec<String>),
    /// It is none.
    Refused(Vec<FieldFault>),
}

impl Kept {
    /// The lead that stands for it now.
    pub(crate) fn lead(&self) -> Option<LeadId> {
        match self {
            Self::New(id) | Self::Linked(id) | Self::Repeats(id) | Self::Merged(id, _) => Some(*id),
            Self::Refused(_) => None,
        }
    }
}

/// Keeps the leads of one event. The jobs that follow are collected and enqueued at once.
pub(crate) struct Keeper<'a> {
    event: &'a EventToProcess,
    rule: Option<&'a DuplicateRule>,
    jobs: Vec<NewJob>,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(event: &'a EventToProcess, rule: Option<&'a DuplicateRule>) -> Self {
        Self { event, rule, jobs: Vec::new() }
    }

    /// Whom these leads are about, as far as that is known and anybody looks.
    pub(crate) fn persons(&self, leads: &[Judged]) -> BTreeSet<PersonKey> {
        let Some(rule) = self.rule else { return BTreeSet::new() };
        let known = leads.iter().filter(|judged| judged.fetch.is_none());
        let whole = known.filter_map(|judged| judged.lead.as_ref().ok());
        whole.flat_map(|lead| rule.keys(self.event.portal, lead)).collect()
    }

    /// The event whose leads are kept.
    pub(crate) fn event(&self) -> &'a EventToProcess {
        self.event
    }

    /// The jobs that follow.
    pub(crate) fn jobs(self) -> Vec<NewJob> {
        self.jobs
    }

    /// Enqueues what follows; `stamp` says whose doing it is.
    pub(crate) async fn enqueue(self, tx: &mut Tx, stamp: impl Fn(NewJob) -> NewJob) -> Result<()> {
        if !self.jobs.is_empty() {
            tx.enqueue_all(self.jobs.into_iter().map(stamp).collect()).await?;
        }
        Ok(())
    }

    /// Stores one lead, or does what the portal wants done with one of a person who asked before.
    pub(crate) async fn keep(&mut self, tx: &mut Tx, ordinal: i32, judged: Judged) -> Result<Kept> {
        let Judged { lead, fetch } = judged;
        let mut data = match lead {
            Ok(data) => data,
            Err(reasons) => return Ok(Kept::Refused(reasons)),
        };
        let fetch_url = fetch.as_ref().map(|f| f.url.as_str());
        let mut how = StoreAs { fetch_url, ..StoreAs::default() };
        let mut keys = Vec::new();
        // Who it is, is known only when the rest was fetched.
        if let Some(rule) = self.rule.filter(|_| fetch.is_none()) {
            let person = Person { rule, event: self.event, lead: how.id };
            keys = rule.keys(self.event.portal, &data);
            if let Claim::SeenBy(first) = person.claim(tx, &keys).await? {
                if let Some(kept) = self.repetition(tx, ordinal, &data, &keys, how.id).await? {
                    return Ok(kept);
                }
                match person.meet(tx, &keys, first, &data).await? {
                    Met::Stands => data.warnings.push(WARNING.to_owned()),
                    Met::Linked => how.duplicate_of = Some(first),
                    Met::Merged(fields) => {
                        let (id, version) = (self.event.id, self.event.portal_version);
                        events::mark_processed(tx, id, version, first).await?;
                        return Ok(Kept::Merged(first, fields));
                    }
                    Met::Refused(fault) => return Ok(Kept::Refused(vec![fault])),
                }
            }
        }
        let stored = leads::store_as(tx, self.event, ordinal, &data, &how).await?;
        if !stored.new {
            if !keys.is_empty() {
                persons::release(tx, &keys, how.id).await?;
            }
            return Ok(Kept::Repeats(stored.lead));
        }
        self.jobs.push(match fetch {
            Some(_) => EnrichLead { lead: how.id }.job(self.event.portal)?,
            None => NewJob::of(&DistributeLead { lead: how.id })?,
        });
        Ok(if how.duplicate_of.is_some() { Kept::Linked(how.id) } else { Kept::New(how.id) })
    }

    /// A person is met again whenever the sender sends its lead again: that is no second lead.
    async fn repetition(
        &self,
        tx: &mut Tx,
        ordinal: i32,
        data: &StandardLead,
        keys: &[PersonKey],
        id: LeadId,
    ) -> Result<Option<Kept>> {
        let external_id = data.external_id.as_deref();
        let standing = leads::standing(tx, self.event, ordinal, external_id).await?;
        let Some(standing) = standing else { return Ok(None) };
        persons::release(tx, keys, id).await?;
        events::mark_processed(tx, self.event.id, self.event.portal_version, standing).await?;
        Ok(Some(Kept::Repeats(standing)))
    }
}

/// Locks the persons of several leads, and the leads that they may complete: one lead after the other
/// they would be locked in the order in which senders wrote them. Gives what [`persons::unlock`] needs.
pub(crate) async fn lock(
    tx: &mut Tx,
    leads: &[(Keeper<'_>, Vec<Judged>)],
) -> Result<BTreeSet<PersonKey>> {
    if leads.iter().map(|(_, judged)| judged.len()).sum::<usize>() < 2 {
        return Ok(BTreeSet::new());
    }
    let keys = leads.iter().flat_map(|(keeper, judged)| keeper.persons(judged)).collect();
    persons::lock(tx, &keys).await?;
    let merges = |(keeper, _): &(Keeper<'_>, _)| {
        keeper.rule.is_some_and(|rule| rule.policy == DuplicatePolicy::Merge)
    };
    if leads.iter().any(merges) && !keys.is_empty() {
        let holders = persons::holders(tx, &keys).await?;
        leads::lock_all(tx, &[], &holders).await?;
    }
    Ok(keys)
}

/// A person, by whose lead it is met.
pub(crate) struct Person<'a> {
    pub(crate) rule: &'a DuplicateRule,
    pub(crate) event: &'a EventToProcess,
    pub(crate) lead: LeadId,
}

/// What is done with a lead of a person who asked before.
pub(crate) enum Met {
    /// It stands by itself.
    Stands,
    /// It names the first.
    Linked,
    /// The first has these fields from it now.
    Merged(Vec<String>),
    /// It is none, for this reason.
    Refused(FieldFault),
}

impl Person<'_> {
    pub(crate) async fn claim(&self, tx: &mut Tx, keys: &[PersonKey]) -> Result<Claim> {
        let (at, window) = (self.event.received_at, self.rule.window);
        persons::claim(tx, keys, self.lead, at, window).await
    }

    /// Does what the portal wants done.
    pub(crate) async fn meet(
        &self,
        tx: &mut Tx,
        keys: &[PersonKey],
        first: LeadId,
        data: &StandardLead,
    ) -> Result<Met> {
        if self.rule.policy == DuplicatePolicy::Reject {
            persons::release(tx, keys, self.lead).await?;
            return Ok(Met::Refused(refusal(first)));
        }
        // Whatever the person is known by from now on leads to the first lead.
        persons::hand_over(tx, keys, self.lead, first).await?;
        Ok(match self.rule.policy {
            DuplicatePolicy::Merge => Met::Merged(merge(tx, first, self.event.id, data).await?),
            DuplicatePolicy::Link => Met::Linked,
            DuplicatePolicy::Accept | DuplicatePolicy::Reject => Met::Stands,
        })
    }
}

async fn merge(
    tx: &mut Tx,
    first: LeadId,
    event: EventId,
    data: &StandardLead,
) -> Result<Vec<String>> {
    let mut standing = leads::lock(tx, first).await?;
    let fields = absorb(&mut standing.data, data);
    if !fields.is_empty() {
        leads::update_fields(tx, first, &standing.data).await?;
        leads::note_merge(tx, first, event, &fields).await?;
    }
    Ok(fields)
}

fn refusal(first: LeadId) -> FieldFault {
    let message = format!(
        "The same person asked before: see lead {first}. The portal's settings refuse a second lead \
         within `duplicates.window`."
    );
    FieldFault::new("person", WARNING, message)
}
