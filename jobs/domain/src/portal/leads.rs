//! What a portal makes of its events and of what it fetches.

use super::PortalSettings;
use crate::mapping::{Enrich, Judgement, Mapping, MappingInput};
use crate::{FieldFault, Headers, StandardLead};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

impl PortalSettings {
    /// What an event of this portal stands for. Never panics, whatever the body. `url`: the public
    /// URL with its query, as far as it is stored.
    #[must_use]
    pub fn judge(
        &self,
        body: &Value,
        headers: &Headers,
        url: Option<&str>,
        received_at: DateTime<Utc>,
    ) -> Judgement {
        let input = MappingInput {
            body,
            headers,
            url,
            defaults: &self.defaults,
            received_at: Some(received_at),
        };
        self.mapping.judge(&input, self.enrich.as_ref())
    }

    /// A lead of this portal with the rest of it that was fetched: fetched values win, ids stay.
    ///
    /// # Errors
    /// What keeps it from being a lead, per field: it needs an e-mail address or a phone number now.
    pub fn enrich(
        &self,
        lead: StandardLead,
        fetched: &Value,
    ) -> Result<StandardLead, Vec<FieldFault>> {
        match &self.enrich {
            Some(enrich) => enrich.merge(lead, fetched, &self.defaults),
            None => Err(vec![FieldFault::new(
                "enrich",
                "not_enriched",
                "The portal's settings no longer say what a fetched lead means; add `enrich`.",
            )]),
        }
    }
}

/// The mapping and what completes its leads.
pub(super) fn read_mapping(
    members: &Map<String, Value>,
    faults: &mut Vec<FieldFault>,
) -> (Option<Mapping>, Option<Enrich>) {
    let mut below = |at: &str, inner: Vec<FieldFault>| {
        faults.extend(inner.into_iter().map(|f| f.below(at)));
    };
    let enriched = members.get("enrich").filter(|v| !v.is_null());
    let source = members.get("mapping").unwrap_or(&Value::Null);
    let mapping = match enriched {
        Some(_) => Mapping::parse_incomplete(source),
        None => Mapping::parse(source),
    };
    let mapping = mapping.map_err(|inner| below("/mapping", inner)).ok();
    let names = mapping.as_ref().map(Mapping::names).unwrap_or_default();
    let enrich = enriched
        .and_then(|source| Enrich::parse(source, &names).map_err(|e| below("/enrich", e)).ok());
    (mapping, enrich)
}
