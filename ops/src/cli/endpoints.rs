//! `endpoints`: outbound webhooks, as operators see them.

use super::args::{EndpointAdd, Endpoints, Global, ResendArgs};
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::{Value, json};
use switchyard_catalog::line::Cause;
use switchyard_catalog::outbound::{self as manage, EndpointFault, Made, Settings};
use switchyard_domain::EndpointId;
use switchyard_domain::outbound::webhook_id;
use switchyard_store::outbound::{
    self, Delivery, DeliveryFilter, DeliveryState, Endpoint, EndpointFilter, Health, ResendFault,
};
use switchyard_store::{Scope, StoreFault, Tx};

/// Endpoints that are listed: all that partners may have and many agencies'.
const MOST_LISTED: i64 = 1_000;

pub(super) async fn run(
    global: &Global,
    command: &Endpoints,
    output: Output,
) -> Result<(), Failure> {
    let secret_key = matches!(command, Endpoints::Add(_) | Endpoints::Rotate(_));
    let config =
        load(global, Vec::new(), Needs { database: true, secret_key, ..Needs::default() })?;
    let base = Base::open(config)?;
    let ended = dispatch(&base, command, output).await;
    base.close().await;
    ended
}

async fn dispatch(base: &Base, command: &Endpoints, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let cause = Cause::default();
    match command {
        Endpoints::List { agency, partners } => {
            let filter = EndpointFilter {
                agency: *agency,
                partners: *partners,
                limit: MOST_LISTED,
                ..EndpointFilter::default()
            };
            list(&mut tx, &filter, output).await
        }
        Endpoints::Add(new) => add(base, tx, new, output).await,
        Endpoints::Show(e) => {
            let endpoint = outbound::get(&mut tx, e.endpoint).await.map_err(missing)?;
            show(&mut tx, &endpoint, "", output).await
        }
        Endpoints::Pause(e) => {
            let endpoint = manage::pause(&mut tx, e.endpoint).await.map_err(missing)?;
            done(base, tx, &endpoint, "It is paused; calls under way end.", output).await
        }
        Endpoints::Resume(e) => {
            let endpoint = manage::resume(&mut tx, e.endpoint, &cause).await.map_err(missing)?;
            done(base, tx, &endpoint, "It goes on; what waited is sent now.", output).await
        }
        Endpoints::Rotate(e) => {
            let key = base.config.master_key()?;
            let made = manage::rotate(&mut tx, &key, e.endpoint).await.map_err(missing)?;
            tx.commit().await.map_err(away)?;
            told_secret(&made, output);
            Ok(())
        }
        Endpoints::Test(e) => {
            let message = manage::test(&mut tx, e.endpoint, &cause).await.map_err(refused)?;
            tx.commit().await.map_err(away)?;
            output.answer(&json!({ "id": webhook_id(message) }), || {
                format!("{} will be sent", webhook_id(message))
            });
            Ok(())
        }
        Endpoints::Deliveries { endpoint, state, limit } => {
            deliveries(&mut tx, endpoint.endpoint, *state, *limit, output).await
        }
        Endpoints::Resend(args) => resend(tx, args, &cause, output).await,
    }
}

async fn list(tx: &mut Tx, filter: &EndpointFilter, output: Output) -> Result<(), Failure> {
    let rows = outbound::list(tx, filter).await.map_err(away)?;
    let ids: Vec<_> = rows.iter().map(|e| e.id).collect();
    let health = outbound::health(tx, &ids).await.map_err(away)?;
    let of = |e: &Endpoint| health.get(&e.id).copied().unwrap_or_default();
    let all: Vec<Value> = rows.iter().map(|e| as_json(e, of(e))).collect();
    output.answer(&json!({ "endpoints": all }), || {
        let head = ["ENDPOINT", "OF", "URL", "EVENTS", "STATE", "TAKEN, 24 H", "PENDING", "FAILED"];
        let cells = |e: &Endpoint| {
            let h = of(e);
            vec![
                e.id.to_string(),
                e.agency.map_or_else(|| "a partner".to_owned(), |a| a.to_string()),
                e.url.clone(),
                e.events.join(" "),
                e.state.to_string(),
                percent(h),
                h.pending.to_string(),
                h.failed.to_string(),
            ]
        };
        table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
    });
    Ok(())
}

fn percent(h: Health) -> String {
    h.success_percent().map_or_else(|| "-".to_owned(), |p| format!("{p} % of {}", h.attempts))
}

fn as_json(e: &Endpoint, h: Health) -> Value {
    json!({
        "id": e.id,
        "agency_id": e.agency,
        "url": e.url,
        "description": e.description,
        "events": e.events,
        "ordered": e.ordered,
        "rate": e.rate,
        "state": e.state,
        "reason": e.reason,
        "state_since": e.state_since,
        "failing_since": e.failing_since,
        "last_failure_at": e.last_failure_at,
        "last_success_at": e.last_success_at,
        "old_secret_until": e.old_secret_until,
        "attempts": h.attempts,
        "success_percent": h.success_percent(),
        "pending": h.pending,
        "failed": h.failed,
        "created_at": e.created_at,
    })
}

async fn add(base: &Base, mut tx: Tx, new: &EndpointAdd, output: Output) -> Result<(), Failure> {
    let settings = Settings {
        url: new.url.clone(),
        description: new.description.clone(),
        events: new.events.clone(),
        rate: new.rate,
    };
    let (key, policy) = (base.config.master_key()?, &base.config.outbound);
    let made = manage::create(&mut tx, &key, policy, new.agency, new.ordered, settings).await;
    let made = made.map_err(refused)?;
    tx.commit().await.map_err(away)?;
    let e = &made.endpoint;
    manage::keep_limit(&base.db, e.id, e.ordered, e.rate).await;
    told_secret(&made, output);
    Ok(())
}

fn told_secret(made: &Made, output: Output) {
    let secret = made.secret.expose();
    let mut value = as_json(&made.endpoint, Health::default());
    value["secret"] = json!(secret.as_str());
    output.answer(&value, || {
        format!(
            "endpoint  {}\nsecret    {}\n\nKeep the secret: it is not shown again.",
            made.endpoint.id, *secret
        )
    });
}

/// Makes it so, then shows the endpoint.
async fn done(
    base: &Base,
    tx: Tx,
    e: &Endpoint,
    what: &str,
    output: Output,
) -> Result<(), Failure> {
    tx.commit().await.map_err(away)?;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    show(&mut tx, e, what, output).await
}

async fn show(tx: &mut Tx, e: &Endpoint, what: &str, output: Output) -> Result<(), Failure> {
    let health = outbound::health(tx, &[e.id]).await.map_err(away)?;
    let h = health.get(&e.id).copied().unwrap_or_default();
    let time = |t: Option<chrono::DateTime<chrono::Utc>>| t.map_or_else(|| "-".to_owned(), instant);
    output.answer(&as_json(e, h), || {
        let state = e.reason.as_ref().map_or_else(String::new, |r| format!(" ({r})"));
        let facts = [
            ("endpoint", e.id.to_string()),
            ("of", e.agency.map_or_else(|| "a partner".to_owned(), |a| format!("agency {a}"))),
            ("url", e.url.clone()),
            ("about", e.description.clone()),
            ("events", e.events.join(" ")),
            ("order", if e.ordered { "one at a time, in order" } else { "none" }.to_owned()),
            ("rate", e.rate.map_or_else(|| "-".to_owned(), |r| format!("{r} a second"))),
            ("state", format!("{}{state}, since {}", e.state, instant(e.state_since))),
            ("taken", percent(h)),
            ("pending", h.pending.to_string()),
            ("failed", h.failed.to_string()),
            ("failing", time(e.failing_since)),
            ("success", time(e.last_success_at)),
            ("failure", time(e.last_failure_at)),
        ];
        let lines =
            facts.iter().map(|(name, value)| format!("{name:<10} {value}").trim_end().to_owned());
        let lines: Vec<String> =
            lines.chain((!what.is_empty()).then(|| format!("\n{what}"))).collect();
        lines.join("\n")
    });
    Ok(())
}

async fn deliveries(
    tx: &mut Tx,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    limit: u16,
    output: Output,
) -> Result<(), Failure> {
    outbound::get(tx, endpoint).await.map_err(missing)?;
    let filter = DeliveryFilter { endpoint, state, before: None, limit: i64::from(limit) };
    let rows = outbound::deliveries(tx, &filter).await.map_err(away)?;
    let one = |d: &Delivery| {
        json!({
            "id": webhook_id(d.message),
            "type": d.kind,
            "lead_id": d.lead,
            "state": d.state,
            "why": d.why(),
            "attempts": d.attempts,
            "last_status": d.last_status,
            "last_error": d.last_error,
            "next_at": d.next_at,
            "job": d.job,
            "created_at": d.created_at,
            "settled_at": d.settled_at,
        })
    };
    output.answer(&json!({ "deliveries": rows.iter().map(one).collect::<Vec<_>>() }), || {
        let cells = |d: &Delivery| {
            vec![
                webhook_id(d.message),
                d.kind.clone(),
                instant(d.created_at),
                d.state.to_string(),
                d.attempts.to_string(),
                d.why(),
            ]
        };
        let head = ["DELIVERY", "EVENT", "HAPPENED", "STATE", "ATTEMPTS", "WHY"];
        table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
    });
    Ok(())
}

async fn resend(
    mut tx: Tx,
    args: &ResendArgs,
    cause: &Cause,
    output: Output,
) -> Result<(), Failure> {
    let endpoint = args.endpoint.endpoint;
    if let Some(message) = args.message {
        manage::resend(&mut tx, endpoint, message, cause).await.map_err(not_again)?;
        tx.commit().await.map_err(away)?;
        let id = webhook_id(message);
        output.answer(&json!({ "id": id }), || format!("{id} will be sent again"));
    } else if let Some(since) = args.failed_since {
        manage::resend_failed(&mut tx, endpoint, since, cause).await.map_err(refused)?;
        tx.commit().await.map_err(away)?;
        output.answer(&json!({ "since": since }), || {
            format!("what was given up since {} will be sent again", instant(since))
        });
    }
    Ok(())
}

fn missing(e: StoreFault) -> Failure {
    match e {
        StoreFault::NotFound => Fault::new("not_found", "there is no such endpoint or delivery")
            .remedy("`switchyard endpoints list` names the endpoints")
            .into(),
        e => away(e).into(),
    }
}

fn refused(fault: EndpointFault) -> Failure {
    let said = fault.to_string();
    match fault {
        EndpointFault::Store(e) => missing(e),
        EndpointFault::NotActive(_) => Fault::new("endpoint_not_active", said)
            .remedy("`switchyard endpoints resume` lets it go on")
            .into(),
        EndpointFault::TooMany(_) => Fault::new("too_many_endpoints", said).into(),
        _ => Failure::Usage(Fault::new("endpoint", said)),
    }
}

fn not_again(fault: ResendFault) -> Failure {
    let said = fault.to_string();
    match fault {
        ResendFault::Store(e) => missing(e),
        ResendFault::NotActive(_) => Fault::new("endpoint_not_active", said)
            .remedy("`switchyard endpoints resume` lets it go on")
            .into(),
        ResendFault::UnderWay => Fault::new("under_way", said).into(),
    }
}
