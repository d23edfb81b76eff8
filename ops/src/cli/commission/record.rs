//! `commission record`: what became of a deal after its sale, and decisions about agents.

use super::super::args::CommissionRecord;
use super::super::jobs::away;
use super::super::leads::actor;
use super::super::output::{Failure, Output};
use crate::Fault;
use crate::compose::Base;
use chrono::Utc;
use serde_json::json;
use switchyard_catalog::commission_record::{self, About, NotRecorded, Told};
use switchyard_catalog::line::Cause;
use switchyard_domain::CommissionEventId;
use switchyard_domain::money::Money;
use switchyard_store::{Scope, StoreFault};

pub(super) async fn record(
    base: &Base,
    args: &CommissionRecord,
    output: Output,
) -> Result<(), Failure> {
    let told = told(args)?;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let by = actor().name;
    let done = commission_record::record(&mut tx, &told, &by, Utc::now(), &Cause::default()).await;
    let event = done.map_err(refused)?;
    tx.commit().await.map_err(away)?;
    output.answer(&json!({ "event_id": event.id, "kind": told.kind, "of": event.of }), || {
        format!(
            "recorded as event {}; `switchyard commission explain {}` tells what became of it",
            event.id, event.id
        )
    });
    Ok(())
}

fn told(args: &CommissionRecord) -> Result<Told, Fault> {
    let about = match (args.lead, args.conversion, args.agency.zip(args.agent)) {
        (Some(lead), ..) => About::Lead(lead),
        (_, Some(conversion), _) => About::Conversion(conversion),
        (.., Some((agency, agent))) => About::Agent(agency, agent),
        (None, None, None) => {
            return Err(Fault::new("about", "say what it is about: a lead, a sale or an agent"));
        }
    };
    let minor = |units: &Option<String>| match (units, args.currency) {
        (Some(units), Some(currency)) => Money::parse(units, currency)
            .map(|m| Some(m.minor))
            .map_err(|w| Fault::new("amount", w)),
        _ => Ok(None),
    };
    Ok(Told {
        id: CommissionEventId::new(),
        about,
        agency: args.agency,
        kind: args.kind,
        amount_minor: minor(&args.amount)?,
        fee_minor: minor(&args.fee)?,
        currency: args.currency,
        tier: args.tier.clone(),
        split: args.split.clone(),
        occurred_at: args.at,
    })
}

fn refused(fault: NotRecorded) -> Failure {
    match fault {
        NotRecorded::Store(StoreFault::NotFound) => {
            Fault::new("not_found", "there is no such lead or sale, or it is not this agency's")
                .into()
        }
        NotRecorded::Store(fault) => away(fault).into(),
        NotRecorded::Unfit(_) => Failure::Usage(Fault::new("unfit", fault.to_string())),
        fault => Fault::new("refused", fault.to_string()).into(),
    }
}
