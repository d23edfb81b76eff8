//! Storing what an event stands for: leads, repetitions, persons who asked before.

mod many;

pub(crate) use many::keep_all;

use crate::{DistributeLead, EnrichLead};
use std::collections::BTreeSet;
use switchyard_domain::duplicates::{DuplicatePolicy, DuplicateRule, PersonKey, absorb};
use switchyard_domain::mapping::{Fetch, Judged};
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

/// A lead that is about to be kept.
struct Open {
    id: LeadId,
    ordinal: i32,
    data: StandardLead,
    fetch: Option<Fetch>,
    keys: Vec<PersonKey>,
    duplicate_of: Option<LeadId>,
}

impl Open {
    fn how(&self) -> StoreAs<'_> {
        let fetch_url = self.fetch.as_ref().map(|fetch| fetch.url.as_str());
        StoreAs { id: self.id, duplicate_of: self.duplicate_of, fetch_url }
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
        let open = match self.open(ordinal, judged) {
            Ok(open) => open,
            Err(refused) => return Ok(refused),
        };
        match self.claim(tx, &open).await? {
            Claim::First => self.store(tx, open).await,
            Claim::SeenBy(first) => self.met(tx, open, first).await,
        }
    }

    /// What is to be kept, and whom it is about.
    fn open(&self, ordinal: i32, judged: Judged) -> std::result::Result<Open, Kept> {
        let Judged { lead, fetch } = judged;
        let data = lead.map_err(Kept::Refused)?;
        // Who it is, is known only when the rest was fetched.
        let rule = self.rule.filter(|_| fetch.is_none());
        let keys = rule.map(|rule| rule.keys(self.event.portal, &data)).unwrap_or_default();
        Ok(Open { id: LeadId::new(), ordinal, data, fetch, keys, duplicate_of: None })
    }

    async fn claim(&self, tx: &mut Tx, open: &Open) -> Result<Claim> {
        match self.rule {
            Some(rule) => {
                let person = Person { rule, event: self.event, lead: open.id };
                person.claim(tx, &open.keys).await
            }
            None => Ok(Claim::First),
        }
    }

    /// Does what the portal wants done with a lead of a person who was seen before.
    async fn met(&mut self, tx: &mut Tx, mut open: Open, first: LeadId) -> Result<Kept> {
        let Some(rule) = self.rule else { return self.store(tx, open).await };
        if let Some(kept) = self.repetition(tx, &open).await? {
            return Ok(kept);
        }
        let person = Person { rule, event: self.event, lead: open.id };
        match person.meet(tx, &open.keys, first, &open.data).await? {
            Met::Stands => open.data.warnings.push(WARNING.to_owned()),
            Met::Linked => open.duplicate_of = Some(first),
            Met::Merged(fields) => {
                let (id, version) = (self.event.id, self.event.portal_version);
                events::mark_processed(tx, id, version, first).await?;
                return Ok(Kept::Merged(first, fields));
            }
            Met::Refused(fault) => return Ok(Kept::Refused(vec![fault])),
        }
        self.store(tx, open).await
    }

    async fn store(&mut self, tx: &mut Tx, open: Open) -> Result<Kept> {
        let how = open.how();
        let stored = leads::store_as(tx, self.event, open.ordinal, &open.data, &how).await?;
        if !stored.new {
            if !open.keys.is_empty() {
                persons::release(tx, &open.keys, open.id).await?;
            }
            return Ok(Kept::Repeats(stored.lead));
        }
        self.stored(&open)
    }

    /// What follows from a lead that was stored.
    fn stored(&mut self, open: &Open) -> Result<Kept> {
        self.jobs.push(match open.fetch {
            Some(_) => EnrichLead { lead: open.id }.job(self.event.portal)?,
            None => NewJob::of(&DistributeLead { lead: open.id })?,
        });
        let linked = open.duplicate_of.is_some();
        Ok(if linked { Kept::Linked(open.id) } else { Kept::New(open.id) })
    }

    /// A person is met again whenever the sender sends its lead again: that is no second lead.
    async fn repetition(&self, tx: &mut Tx, open: &Open) -> Result<Option<Kept>> {
        let external_id = open.data.external_id.as_deref();
        let standing = leads::standing(tx, self.event, open.ordinal, external_id).await?;
        let Some(standing) = standing else { return Ok(None) };
        persons::release(tx, &open.keys, open.id).await?;
        events::mark_processed(tx, self.event.id, self.event.portal_version, standing).await?;
        Ok(Some(Kept::Repeats(standing)))
    }
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
