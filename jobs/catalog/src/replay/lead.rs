//! One lead, judged again.

use crate::keeping::{Keeper, Kept};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use switchyard_domain::changes::{FieldChange, differences};
use switchyard_domain::duplicates::PersonKey;
use switchyard_domain::mapping::Judged;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{FieldFault, LeadId, LeadState, StandardLead};
use switchyard_store::events::EventToProcess;
use switchyard_store::leads::{self, Lead};
use switchyard_store::{Result, Tx, persons};

/// What today's mapping does with one lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadChange {
    /// It stands and says the same.
    Same,
    /// It stands and says something else in the fields named.
    Changed,
    /// It was none before; it is given out.
    New,
    /// The same, of a person who asked before.
    Linked,
    /// It repeats a lead of another event.
    Repeats,
    /// It completed the lead of a person who asked before, in the fields named.
    Merged,
    /// It is none, for the reasons given. If it stands, it stays.
    Refused,
    /// It stands, and today's mapping would not make it. It stays.
    Vanished,
}

impl LeadChange {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::New => "new",
            Self::Linked => "linked",
            Self::Repeats => "repeats",
            Self::Merged => "merged",
            Self::Refused => "refused",
            Self::Vanished => "vanished",
        }
    }

    /// Whether what is stored differs from it.
    pub(super) fn differs(self) -> bool {
        matches!(self, Self::Changed | Self::New | Self::Linked | Self::Merged | Self::Vanished)
    }
}

/// One lead of a replayed event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeadReplay {
    /// Its place in the event, from 0.
    pub ordinal: i32,
    /// The lead, if there is one. In a dry run a new one has none.
    pub lead: Option<LeadId>,
    /// What happens to it.
    pub change: LeadChange,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
    /// What keeps it from being a lead.
    pub reasons: Vec<FieldFault>,
}

impl LeadReplay {
    fn of(ordinal: i32, lead: Option<LeadId>, change: LeadChange) -> Self {
        Self { ordinal, lead, change, fields: Vec::new(), reasons: Vec::new() }
    }

    pub(super) fn vanished(lead: &Lead) -> Self {
        Self::of(lead.ordinal, Some(lead.id), LeadChange::Vanished)
    }
}

/// An event with the leads that it made before.
pub(super) struct Again<'a> {
    pub(super) event: &'a EventToProcess,
    pub(super) settings: Option<&'a PortalSettings>,
    pub(super) standing: &'a [Lead],
    /// The persons that the transaction has locked.
    pub(super) locked: &'a BTreeSet<PersonKey>,
}

impl Again<'_> {
    /// Compares a lead with what stands in its place, and brings that up to date.
    pub(super) async fn lead(
        &self,
        tx: &mut Tx,
        keeper: &mut Keeper<'_>,
        n: usize,
        judged: Judged,
    ) -> Result<LeadReplay> {
        let ordinal = i32::try_from(n).unwrap_or(i32::MAX);
        match self.standing.iter().find(|l| l.ordinal == ordinal) {
            Some(standing) => self.update(tx, standing, judged).await,
            None => new(tx, keeper, ordinal, judged).await,
        }
    }

    /// Whom the leads that stand are about now.
    pub(super) fn persons(&self, judged: &[Judged]) -> Vec<PersonKey> {
        let with_place = judged.iter().enumerate().filter_map(|(n, judged)| {
            let standing = self.standing.iter().find(|l| usize::try_from(l.ordinal) == Ok(n))?;
            Some((standing, self.whole(standing, judged.clone()).ok()?))
        });
        with_place.flat_map(|(standing, whole)| self.keys(standing, &whole)).collect()
    }

    /// What a lead that stands says now.
    fn whole(&self, standing: &Lead, judged: Judged) -> Result<StandardLead, Vec<FieldFault>> {
        let mut whole = match (judged.lead, self.settings, &standing.fetched) {
            // What was fetched once is read anew, not fetched anew.
            (Ok(lead), Some(settings), Some(fetched)) => settings.enrich(lead, fetched),
            (lead, ..) => lead,
        }?;
        keep_merged(&mut whole, standing);
        Ok(whole)
    }

    /// By what the person of a lead that stands is known. Who it is, is known only when the rest was
    /// fetched.
    fn keys(&self, standing: &Lead, whole: &StandardLead) -> Vec<PersonKey> {
        let rule = self.settings.and_then(|s| s.duplicates.as_ref());
        let rule = rule.filter(|_| standing.state != LeadState::Pending);
        rule.map(|rule| rule.keys(standing.portal, whole)).unwrap_or_default()
    }

    async fn update(&self, tx: &mut Tx, standing: &Lead, judged: Judged) -> Result<LeadReplay> {
        let refused = |reasons| LeadReplay {
            reasons,
            ..LeadReplay::of(standing.ordinal, Some(standing.id), LeadChange::Refused)
        };
        let whole = match self.whole(standing, judged) {
            Ok(whole) => whole,
            Err(reasons) => return Ok(refused(reasons)),
        };
        if let Some(fault) = self.taken(tx, standing, &whole).await? {
            return Ok(refused(vec![fault]));
        }
        let fields = differences(&standing.data, &whole);
        if fields.is_empty() {
            return Ok(LeadReplay::of(standing.ordinal, Some(standing.id), LeadChange::Same));
        }
        leads::update_fields(tx, standing.id, &whole).await?;
        self.known_by(tx, standing, &whole).await?;
        let told = LeadReplay::of(standing.ordinal, Some(standing.id), LeadChange::Changed);
        Ok(LeadReplay { fields, ..told })
    }

    /// The sender's id belongs to one lead of a portal.
    async fn taken(
        &self,
        tx: &mut Tx,
        standing: &Lead,
        whole: &StandardLead,
    ) -> Result<Option<FieldFault>> {
        let Some(external_id) = &whole.external_id else { return Ok(None) };
        let other = leads::by_external_id(tx, standing.portal, external_id).await?;
        Ok(other.filter(|id| *id != standing.id).map(|id| {
            let message = format!("Lead {id} of this portal has this id already.");
            FieldFault::new("external_id", "external_id_taken", message)
        }))
    }

    /// The person is known by what the lead says now too, unless somebody else is. What is not locked
    /// was merged into the lead after the persons were looked for; whoever merged it claimed it.
    async fn known_by(&self, tx: &mut Tx, standing: &Lead, whole: &StandardLead) -> Result<()> {
        let Some(rule) = self.settings.and_then(|s| s.duplicates.as_ref()) else { return Ok(()) };
        let mut keys = self.keys(standing, whole);
        keys.retain(|key| self.locked.contains(key));
        let owner = standing.duplicate_of.unwrap_or(standing.id);
        persons::claim(tx, &keys, owner, self.event.received_at, rule.window).await?;
        Ok(())
    }
}

/// What later events of the same person added stays, unless the mapping now says something there.
fn keep_merged(whole: &mut StandardLead, standing: &Lead) {
    let merged = leads::merged_fields(standing.merges.as_ref());
    if merged.is_empty() {
        return;
    }
    // Only what was added: the rest of what stands is what the mapping said before.
    let mut added = StandardLead::default();
    let from = &standing.data;
    for field in &merged {
        match field.as_str() {
            "budget" => {
                added.budget = from.budget;
                added.currency.clone_from(&from.currency);
            }
            "first_name" => added.first_name.clone_from(&from.first_name),
            "last_name" => added.last_name.clone_from(&from.last_name),
            "company" => added.company.clone_from(&from.company),
            "email" => added.email.clone_from(&from.email),
            "phone" => added.phone.clone_from(&from.phone),
            "country" => added.country.clone_from(&from.country),
            "postal_code" => added.postal_code.clone_from(&from.postal_code),
            "city" => added.city.clone_from(&from.city),
            "interest" => added.interest.clone_from(&from.interest),
            "message" => added.message.clone_from(&from.message),
            "consent" => added.consent.clone_from(&from.consent),
            "line_items" => added.line_items.clone_from(&from.line_items),
            other => {
                if let Some(name) = other.strip_prefix("consent.") {
                    keep_consent(&mut added, from, name);
                    continue;
                }
                let name = other.strip_prefix("custom.").unwrap_or(other);
                if let Some(value) = from.custom.as_ref().and_then(|c| c.get(name)) {
                    added.custom.get_or_insert_default().insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    switchyard_domain::duplicates::absorb(whole, &added);
}

/// An answer and its proof were added together.
fn keep_consent(added: &mut StandardLead, from: &StandardLead, name: &str) {
    let answer = from.consent.iter().flat_map(|c| c.answers()).find(|(n, _)| *n == name);
    if let Some((_, answer)) = answer {
        *added.consent.get_or_insert_default().entry(name) = Some(answer);
    }
    if let Some(proof) = from.consent_proof.as_ref().and_then(|p| p.get(name)) {
        added.consent_proof.get_or_insert_default().insert(name.to_owned(), proof.clone());
    }
}

/// What is no lead yet becomes one as it would have when the event came.
async fn new(
    tx: &mut Tx,
    keeper: &mut Keeper<'_>,
    ordinal: i32,
    judged: Judged,
) -> Result<LeadReplay> {
    let says = judged.lead.as_ref().ok().map(|l| differences(&StandardLead::default(), l));
    let kept = keeper.keep(tx, ordinal, judged).await?;
    let told = |change| LeadReplay::of(ordinal, kept.lead(), change);
    Ok(match &kept {
        Kept::New(_) => LeadReplay { fields: says.unwrap_or_default(), ..told(LeadChange::New) },
        Kept::Linked(_) => {
            LeadReplay { fields: says.unwrap_or_default(), ..told(LeadChange::Linked) }
        }
        Kept::Merged(_, fields) if !fields.is_empty() => {
            let value = |field: &String| {
                let says = says.iter().flatten().find(|c| c.field == *field);
                let after = says.map_or(Value::Null, |c| c.after.clone());
                FieldChange { field: field.clone(), before: Value::Null, after }
            };
            let fields = fields.iter().map(value).collect();
            LeadReplay { fields, ..told(LeadChange::Merged) }
        }
        // It completed the lead before: nothing is left to add.
        Kept::Merged(..) | Kept::Repeats(_) => told(LeadChange::Repeats),
        Kept::Refused(reasons) => {
            LeadReplay { reasons: reasons.clone(), ..told(LeadChange::Refused) }
        }
    })
}
