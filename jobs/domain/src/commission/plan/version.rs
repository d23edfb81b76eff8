//! A version of a plan, checked and ready to be applied.

use super::rules::Rules;
use super::{Terms, check, read};
use crate::FieldFault;
use crate::commission::period::{day_begins, day_in};
use crate::commission::{PeriodKey, PlanRef};
use crate::money::Currency;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A version of a plan that has been checked. As JSON it is its document.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    terms: Terms,
    reference: PlanRef,
    /// One entry a currency of the plan.
    rules: BTreeMap<Currency, Rules>,
    /// For every currency, in a plan that names no amounts.
    any: Option<Rules>,
    begins: Option<DateTime<Utc>>,
    /// The day that counts for the choice between versions where the document names none.
    since: Option<NaiveDate>,
}

impl Plan {
    /// Reads and checks a document. `field` of a fault is a JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(document: &Value) -> Result<Self, Vec<FieldFault>> {
        let terms = read::terms(document)?;
        let faults = check::faults(&terms);
        if faults.is_empty() { Ok(Self::of(terms)) } else { Err(faults) }
    }

    fn of(terms: Terms) -> Self {
        let rules = terms.currencies.iter().map(|c| (*c, Rules::of(&terms, Some(*c)))).collect();
        let any = terms.currencies.is_empty().then(|| Rules::of(&terms, None));
        let begins = terms.valid_from.map(|day| day_begins(terms.time_zone, day));
        let reference = PlanRef { name: terms.name.clone(), version: terms.version };
        Self { terms, reference, rules, any, begins, since: None }
    }

    /// The version with the day from which on it was put in force, for a document that names none: it is
    /// chosen for the periods that begin at this moment or later. It only takes part in the choice: deals
    /// that were booked under the version stay under it.
    #[must_use]
    pub fn in_force_from(mut self, moment: DateTime<Utc>) -> Self {
        self.since = Some(self.first_day_from(moment));
        self
    }

    /// The first day of the plan's calendar that begins at this moment or later.
    #[must_use]
    pub fn first_day_from(&self, moment: DateTime<Utc>) -> NaiveDate {
        let zone = self.terms.time_zone;
        let day = day_in(zone, moment);
        if day_begins(zone, day) >= moment { day } else { day.succ_opt().unwrap_or(day) }
    }

    /// The moment at which a day of the plan's calendar begins.
    #[must_use]
    pub fn day_begins(&self, day: NaiveDate) -> DateTime<Utc> {
        day_begins(self.terms.time_zone, day)
    }

    /// The first day of the version, by its document or by when it was put in force.
    fn first_day(&self) -> Option<NaiveDate> {
        self.terms.valid_from.or(self.since)
    }

    /// The document of the plan that holds where nobody wrote one: percent of the deal's value, the
    /// tier by how many deals an agent closed in the month, so that it serves every currency:
    /// bronze 5 %, from 10 deals silver 8 %, from 25 gold 12 %, from 50 platinum 15 %. Each deal is
    /// paid at the tier that it falls in; it is the agent's alone and can be called off for 30
    /// days.
    #[must_use]
    pub fn standard() -> Value {
        json!({
            "format": 1,
            "name": "standard",
            "version": 1,
            "measure": "count",
            "basis": "volume",
            "mode": "marginal",
            "window": "month",
            "time_zone": "UTC",
            "tiers": [
                { "name": "bronze", "from": 0, "rate": "5" },
                { "name": "silver", "from": 10, "rate": "8" },
                { "name": "gold", "from": 25, "rate": "12" },
                { "name": "platinum", "from": 50, "rate": "15" }
            ],
            "split": [{ "to": "agent", "percent": "100" }],
            "clawback_days": 30
        })
    }

    /// What it says.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Its name and version.
    #[must_use]
    pub fn reference(&self) -> &PlanRef {
        &self.reference
    }

    /// The period that a conversion at this moment counts in.
    #[must_use]
    pub fn period_at(&self, at: DateTime<Utc>) -> PeriodKey {
        PeriodKey::at(self.terms.window, self.terms.time_zone, at)
    }

    /// A period's first moment and the first one after it; `None` for a lifetime.
    #[must_use]
    pub fn bounds(&self, period: PeriodKey) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        period.bounds(self.terms.time_zone)
    }

    /// Whether the plan has a say in a period: it is in force on one of the period's days, and no
    /// later version was when the period began.
    #[must_use]
    pub fn holds_in(&self, period: PeriodKey) -> bool {
        let Some((first, after)) = period.days() else { return true };
        let ended = self.terms.valid_until.is_some_and(|until| until <= first);
        !ended && self.terms.valid_from.is_none_or(|from| from < after)
    }

    /// Whether a deal that converted at this moment counts under it.
    #[must_use]
    pub fn in_force(&self, at: DateTime<Utc>) -> bool {
        self.begins.is_none_or(|begins| begins <= at) && self.holds_in(self.period_at(at))
    }

    /// The version for a period, of the versions of one plan: the newest that was in force when the
    /// period began; if none was, the first that came into force within it. A lifetime has no
    /// beginning of its own: give the period of the agent's first deal.
    #[must_use]
    pub fn version_for(versions: &[Self], period: PeriodKey) -> Option<&Self> {
        let first = period.days().map(|(first, _)| first);
        let from_start = |p: &&Self| match (p.first_day(), first) {
            (Some(from), Some(first)) => from <= first,
            _ => true,
        };
        let begun = |p: &Self| match (p.first_day(), period.days()) {
            (Some(from), Some((_, after))) => from < after,
            _ => true,
        };
        let held = || versions.iter().filter(|p| p.holds_in(period) && begun(p));
        held()
            .filter(from_start)
            .max_by_key(|p| p.terms.version)
            .or_else(|| held().min_by_key(|p| (p.first_day(), std::cmp::Reverse(p.terms.version))))
    }

    /// The last moment at which a deal that is called off is taken back; `None`: at any time.
    #[must_use]
    pub fn clawback_ends(&self, converted_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let days = TimeDelta::days(i64::from(self.terms.clawback_days?));
        converted_at.checked_add_signed(days)
    }

    pub(in crate::commission) fn rules(&self, currency: Currency) -> Option<&Rules> {
        self.rules.get(&currency).or(self.any.as_ref())
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.terms.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?).map_err(|faults| {
            let all: Vec<_> =
                faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
            de::Error::custom(all.join(" "))
        })
    }
}
