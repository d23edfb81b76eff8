//! Judging events again by today's settings, field by field. A dry run is the real thing, undone.
//!
//! Leads that stand are changed in place: what they say, never who holds them. New ones are stored and
//! given out. Ones that today's mapping would not make are told, not removed. Doing it again changes
//! nothing.

mod lead;

pub use lead::{LeadChange, LeadReplay};

use crate::judging::{placed, verdict};
use crate::keeping::Keeper;
use lead::Again;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use switchyard_domain::duplicates::PersonKey;
use switchyard_domain::mapping::{Judged, Judgement};
use switchyard_domain::{EventId, FieldFault, LeadId};
use switchyard_queue::NewJob;
use switchyard_store::events::{self, EventState, EventToProcess};
use switchyard_store::leads::{self, Lead};
use switchyard_store::{Db, Result, Scope, Tx, persons};

/// What today's mapping makes of one event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventReplay {
    /// The event.
    pub event: EventId,
    /// Where it stood.
    pub state: EventState,
    /// Where it stands by today's mapping.
    pub becomes: EventState,
    /// The version of the settings that judged it before.
    pub judged_by: Option<i32>,
    /// The version of today's.
    pub version: i32,
    /// Its leads, in their order.
    pub leads: Vec<LeadReplay>,
    /// What keeps it, or some of its leads, from being one.
    pub reasons: Vec<FieldFault>,
    /// Why it was left alone, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<&'static str>,
}

impl EventReplay {
    /// Whether anything differs from what is stored.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.state != self.becomes || self.leads.iter().any(|l| l.change.differs())
    }

    /// Adds it up: `events`, `changed_events`, and leads by what happens to them.
    pub fn count(&self, counts: &mut BTreeMap<String, i64>) {
        let mut add = |name: &str| *counts.entry(name.to_owned()).or_default() += 1;
        add("events");
        if self.left.is_some() {
            add("events_left");
        }
        if self.differs() {
            add("events_changed");
        }
        for lead in &self.leads {
            add(&format!("leads_{}", lead.change.as_str()));
        }
    }
}

/// What a replay of this event would do. Nothing is kept.
///
/// # Errors
/// [`switchyard_store::StoreFault::NotFound`] if there is no such event.
pub async fn preview(db: &Db, event: EventId) -> Result<EventReplay> {
    let mut tx = db.begin(Scope::Platform).await?;
    let told = again(&mut tx, event, |job| job).await?;
    tx.rollback().await?;
    Ok(told)
}

/// Judges an event by today's settings, in the caller's transaction. `stamp` says of the jobs that
/// follow whose doing they are.
///
/// # Errors
/// [`switchyard_store::StoreFault::NotFound`] if there is no such event.
pub async fn again(
    tx: &mut Tx,
    id: EventId,
    stamp: impl Fn(NewJob) -> NewJob,
) -> Result<EventReplay> {
    let locked = Locked::these(tx, &[id]).await?;
    let told = locked.again(tx, id, stamp).await?;
    locked.free(tx).await?;
    Ok(told)
}

/// What judging several events again may touch, locked until the end of the transaction: the events, the
/// persons of their leads, and the leads, in the order in which everybody locks.
pub(crate) struct Locked {
    persons: BTreeSet<PersonKey>,
}

impl Locked {
    pub(crate) async fn these(tx: &mut Tx, ids: &[EventId]) -> Result<Self> {
        events::lock_all(tx, ids).await?;
        let mut persons = BTreeSet::new();
        for id in ids {
            persons.extend(persons_of(tx, *id).await?);
        }
        persons::lock(tx, &persons).await?;
        let holders = persons::holders(tx, &persons).await?;
        leads::lock_all(tx, ids, &holders).await?;
        Ok(Self { persons })
    }

    /// Judges one of the events.
    pub(crate) async fn again(
        &self,
        tx: &mut Tx,
        id: EventId,
        stamp: impl Fn(NewJob) -> NewJob,
    ) -> Result<EventReplay> {
        judge_again(tx, id, &self.persons, stamp).await
    }

    /// Ends the work on them.
    pub(crate) async fn free(self, tx: &mut Tx) -> Result<()> {
        persons::unlock(tx, &self.persons).await
    }
}

/// Whom the leads of an event are about by today's settings, if its portal looks for that.
async fn persons_of(tx: &mut Tx, id: EventId) -> Result<BTreeSet<PersonKey>> {
    let event = events::load(tx, id).await?;
    let looks = event.settings.as_ref().is_ok_and(|settings| settings.duplicates.is_some());
    if !looks || matches!(event.state, EventState::Received | EventState::Held) {
        return Ok(BTreeSet::new());
    }
    let verdict = verdict(&event);
    let (Some(settings), Ok(Judgement::Leads(judged))) = (&verdict.settings, &verdict.judgement)
    else {
        return Ok(BTreeSet::new());
    };
    let standing = leads::of_event(tx, id).await?;
    let none = BTreeSet::new();
    let again =
        Again { event: &event, settings: Some(settings), standing: &standing, locked: &none };
    let mut persons = Keeper::new(&event, settings.duplicates.as_ref()).persons(judged);
    persons.extend(again.persons(judged));
    Ok(persons)
}

async fn judge_again(
    tx: &mut Tx,
    id: EventId,
    locked: &BTreeSet<PersonKey>,
    stamp: impl Fn(NewJob) -> NewJob,
) -> Result<EventReplay> {
    let event = events::lock(tx, id).await?;
    let mut told = EventReplay {
        event: id,
        state: event.state,
        becomes: event.state,
        judged_by: event.judged_by,
        version: event.portal_version,
        leads: Vec::new(),
        reasons: Vec::new(),
        left: None,
    };
    if let EventState::Received | EventState::Held = event.state {
        told.left = Some("it was not judged yet; its job does that by today's settings");
        return Ok(told);
    }
    let standing = leads::of_event(tx, id).await?;
    let verdict = verdict(&event);
    match verdict.judgement {
        Ok(Judgement::Leads(judged)) => {
            let rule = verdict.settings.as_ref().and_then(|s| s.duplicates.as_ref());
            let mut keeper = Keeper::new(&event, rule);
            let settings = verdict.settings.as_deref();
            let again = Again { event: &event, settings, standing: &standing, locked };
            told.leads = all(tx, &again, &mut keeper, judged, &mut told.reasons).await?;
            keeper.enqueue(tx, stamp).await?;
        }
        Ok(Judgement::Ignored { code, message }) => {
            told.reasons = vec![FieldFault::new("event", code, message)];
            told.becomes = EventState::Ignored;
        }
        Err(reasons) => {
            told.reasons = reasons;
            told.becomes = EventState::Rejected;
        }
    }
    let made = told.leads.len();
    let vanished = standing.iter().filter(|l| usize::try_from(l.ordinal).is_ok_and(|n| n >= made));
    told.leads.extend(vanished.map(LeadReplay::vanished));
    settle(tx, &event, &standing, &mut told).await?;
    Ok(told)
}

/// Every lead that today's mapping makes.
async fn all(
    tx: &mut Tx,
    again: &Again<'_>,
    keeper: &mut Keeper<'_>,
    judged: Vec<Judged>,
    reasons: &mut Vec<FieldFault>,
) -> Result<Vec<LeadReplay>> {
    let many = judged.len();
    let mut told = Vec::with_capacity(many);
    for (n, judged) in judged.into_iter().enumerate() {
        let lead = again.lead(tx, keeper, n, judged).await?;
        reasons.extend(lead.reasons.iter().cloned().map(|f| placed(n, many, f)));
        told.push(lead);
    }
    Ok(told)
}

/// Writes down how the event stands now. What became a lead once stays processed.
async fn settle(
    tx: &mut Tx,
    event: &EventToProcess,
    standing: &[Lead],
    told: &mut EventReplay,
) -> Result<()> {
    let (id, version) = (event.id, event.portal_version);
    let lead: Option<LeadId> =
        standing.first().map(|l| l.id).or_else(|| told.leads.iter().find_map(|l| l.lead));
    if let Some(lead) = lead {
        told.becomes = EventState::Processed;
        if event.state != EventState::Processed || event.judged_by != Some(version) {
            events::mark_processed(tx, id, version, lead).await?;
        }
        return events::note_partial(tx, id, &told.reasons).await;
    }
    // A lead that another event made and this one repeated is no lead of its own.
    match told.becomes {
        EventState::Ignored => {
            if let Some(reason) = told.reasons.first() {
                events::mark_ignored(tx, id, version, reason).await?;
            }
        }
        _ => {
            told.becomes = EventState::Rejected;
            events::mark_rejected(tx, id, version, &told.reasons).await?;
        }
    }
    Ok(())
}
