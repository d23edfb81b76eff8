//! Storing leads of many events by one statement. Platform scope.

use super::StoreAs;
use crate::events::EventToProcess;
use crate::{Result, Tx};
use sqlx::types::Json;
use std::collections::HashSet;
use switchyard_domain::{LeadId, LeadState, StandardLead};
use uuid::Uuid;

/// A lead to be stored.
#[derive(Clone, Debug)]
pub struct NewLead<'a> {
    /// The event that brought it.
    pub of: &'a EventToProcess,
    /// Its place among the leads of its event, from 0.
    pub ordinal: i32,
    /// What it says.
    pub data: &'a StandardLead,
    /// What else is known of it.
    pub how: StoreAs<'a>,
}

impl NewLead<'_> {
    fn state(&self) -> &'static str {
        let pending = self.how.fetch_url.is_some();
        if pending { LeadState::Pending } else { LeadState::New }.as_str()
    }
}

/// Stores leads and marks their events as processed, each as [`super::store_as`] does; gives those that were
/// stored. Of the others nothing is written: something stands for them already, perhaps one of these.
///
/// # Errors
/// If the database refuses one of them.
pub async fn store_all(tx: &mut Tx, new: &[NewLead<'_>]) -> Result<HashSet<LeadId>> {
    // In the order of what is unique, so that two transactions with the same leads cannot wait for each other;
    // of equals the one that came first is stored.
    let mut new: Vec<&NewLead<'_>> = new.iter().collect();
    new.sort_by_key(|n| (n.of.portal.0, &n.data.external_id));
    let all = |of: fn(&StandardLead) -> Option<&str>| {
        new.iter().map(|n| of(n.data)).collect::<Vec<Option<&str>>>()
    };
    let made: Vec<Uuid> = sqlx::query_scalar(
        "with input as materialized (
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
             $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
             $14::text[], $15::jsonb[], $16::jsonb[], $17::jsonb[], $18::jsonb[], $19::jsonb[],
             $20::bool[], $21::timestamptz[], $22::jsonb[], $23::jsonb[], $24::uuid[], $25::uuid[],
             $26::uuid[], $27::int[], $28::uuid[], $29::text[], $30::text[], $31::int[]) with ordinality
           i(external_id, first_name, last_name, company, email, phone, country, postal_code, city, product,
             message, budget, currency, source, consent, utm, campaign, custom, warnings, is_test,
             submitted_at, line_items, consent_proof, id, portal, event, ordinal, duplicate_of, fetch_url,
             state, version, n)
         ), made as (
           insert into switchyard.leads (external_id, first_name, last_name,
             company, email, phone, country, postal_code, city, product, message, budget, currency,
             source, consent, utm, campaign, custom, warnings, is_test, submitted_at, line_items,
             consent_proof, id, portal_id, event_id, ordinal, duplicate_of, fetch_url, state)
           select external_id, first_name, last_name, company, email, phone, country, postal_code, city,
             product, message, budget::numeric, currency, source, consent, utm, campaign, custom, warnings,
             is_test, submitted_at, line_items, consent_proof, id, portal, event, ordinal, duplicate_of,
             fetch_url, state
           from input order by n
           on conflict do nothing returning id
         ), first as (
           select distinct on (i.event) i.event, i.id, i.version
           from input i where i.id in (select id from made) order by i.event, i.ordinal
         ), processed as (
           update switchyard.webhook_events e set state = 'processed', reasons = null,
             portal_version = f.version, lead_id = coalesce(e.lead_id, f.id), processed_at = now()
           from first f where e.id = f.event
         )
         select id from made",
    )
    .bind(all(|l| l.external_id.as_deref()))
    .bind(all(|l| l.first_name.as_deref()))
    .bind(all(|l| l.last_name.as_deref()))
    .bind(all(|l| l.company.as_deref()))
    .bind(all(|l| l.email.as_deref()))
    .bind(all(|l| l.phone.as_deref()))
    .bind(all(|l| l.country.as_deref()))
    .bind(all(|l| l.postal_code.as_deref()))
    .bind(all(|l| l.city.as_deref()))
    .bind(all(|l| l.interest.as_deref()))
    .bind(all(|l| l.message.as_deref()))
    .bind(new.iter().map(|n| n.data.budget.map(|b| b.to_string())).collect::<Vec<_>>())
    .bind(all(|l| l.currency.as_deref()))
    .bind(all(|l| l.source.as_deref()))
    .bind(new.iter().map(|n| n.data.consent.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.utm.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.campaign.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.custom.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| warnings(n.data)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.is_test).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.submitted_at).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.line_items.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.data.consent_proof.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.how.id.0).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.of.portal.0).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.of.id.0).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.ordinal).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.how.duplicate_of.map(|l| l.0)).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.how.fetch_url).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.state()).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.of.portal_version).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(made.into_iter().map(LeadId).collect())
}

fn warnings(data: &StandardLead) -> Option<Json<&Vec<String>>> {
    (!data.warnings.is_empty()).then_some(Json(&data.warnings))
}
