//! Notes, reminders, sales and figures.

use super::support::{Front, Operator, count, json_of};
use chrono::{Duration, Utc};
use serde_json::{Value, json};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::{Scope, agents};
use uuid::Uuid;

/// A lead that an agency holds, in this state, as the line would leave it.
pub async fn held(front: &Front, agency: Uuid, state: &str) -> Uuid {
    let (event, lead) = (Uuid::now_v7(), Uuid::now_v7());
    sqlx::query(
        "with event as (
           insert into switchyard.webhook_events (id, portal_id, body, headers, state)
           select $1, id, '{}', '{}', 'processed' from switchyard.portals where code = 'demo'
           returning id, portal_id
         ), lead as (
           insert into switchyard.leads (id, portal_id, event_id, agency_id, state, first_name, email,
             message, product)
           select $2, portal_id, id, $3, $4, 'Jan', 'jan@example.com', 'Call me', 'Flat' from event
           returning id
         )
         insert into switchyard.lead_assignments (id, lead_id, agency_id, reason, explanation, state)
         select gen_random_uuid(), id, $3, 'round_robin', 'its turn',
           case $4 when 'accepted' then 'accepted' else 'offered' end from lead",
    )
    .bind(event)
    .bind(lead)
    .bind(agency)
    .bind(state)
    .execute(&mut front.owner().await)
    .await
    .unwrap();
    lead
}

/// Somebody who works at the agency.
pub async fn agent(front: &Front, agency: Uuid, name: &str) -> Uuid {
    let id = AgentId::new();
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    let email = format!("{}@nowak.example", name.to_lowercase());
    agents::upsert(&mut tx, id, AgencyId(agency), name, Some(&email), None).await.unwrap();
    tx.commit().await.unwrap();
    id.0
}

#[tokio::test]
async fn an_agencys_notes_are_its_own_and_the_operators_notes_are_theirs() {
    let front = Front::new().await;
    front.demo().await;
    let ops = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let lead = held(&front, me, "assigned").await;
    let (path, notes) = (format!("/api/v1/leads/{lead}"), format!("/api/v1/leads/{lead}/notes"));
    let note = |body: &str| json!({ "body": body });
    let add = |token: &str, body: &Value| front.post(&notes, body).bearer_auth(token);
    json_of(add(&mine, &note("Prefers mornings.")), 201).await;
    let keyed = add(&mine, &note("Once.")).header("idempotency-key", "n-1");
    let first = json_of(keyed.try_clone().unwrap(), 201).await;
    assert_eq!(json_of(keyed, 200).await["data"]["id"], first["data"]["id"]);
    ops.post(&notes, &note("Complained about us."), 201).await;
    json_of(add(&theirs, &note("Mine?")), 404).await;
    for bad in [note(""), note(" \n "), note(&"x".repeat(4_001)), json!({})] {
        json_of(add(&mine, &bad), 422).await;
    }
    let bodies = |answer: Value| -> Vec<String> {
        let notes = answer["data"]["notes"].as_array().unwrap().clone();
        notes.iter().map(|n| n["body"].as_str().unwrap().to_owned()).collect()
    };
    let seen = bodies(json_of(front.get(&path).bearer_auth(&mine), 200).await);
    assert_eq!(seen, ["Prefers mornings.", "Once."]);
    let seen = bodies(ops.get(&path, 200).await);
    assert_eq!(seen, ["Prefers mornings.", "Once.", "Complained about us."]);
}

#[tokio::test]
async fn a_reminder_waits_as_a_job_until_it_is_due() {
    let front = Front::new().await;
    front.demo().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (_, them) = front.agency("they@other.example").await;
    let (ann, stranger) = (agent(&front, me, "Ann").await, agent(&front, them, "Bob").await);
    let lead = held(&front, me, "accepted").await;
    let path = format!("/api/v1/leads/{lead}/follow-up");
    let due = Utc::now() + Duration::days(3);
    let good = json!({ "due_at": due, "agent_id": ann, "note": "Ask about the balcony." });
    let plan = |body: &Value| front.post(&path, body).bearer_auth(&mine);
    let keyed = plan(&good).header("idempotency-key", "f-1");
    let first = json_of(keyed.try_clone().unwrap(), 201).await;
    assert_eq!(json_of(keyed, 200).await["data"]["id"], first["data"]["id"]);
    for bad in [
        json!({ "due_at": Utc::now() - Duration::hours(1) }),
        json!({ "due_at": Utc::now() + Duration::days(400) }),
        json!({ "due_at": due, "agent_id": stranger }),
        json!({ "due_at": due, "note": "x".repeat(1_001) }),
        json!({ "note": "when?" }),
    ] {
        json_of(plan(&bad), 422).await;
    }
    let detail = format!("/api/v1/leads/{lead}");
    let shown = json_of(front.get(&detail).bearer_auth(&mine), 200).await;
    let planned = shown["data"]["follow_ups"].as_array().unwrap();
    assert_eq!(planned.len(), 1);
    assert_eq!((&planned[0]["state"], &planned[0]["agent_id"]), (&json!("planned"), &json!(ann)));
    let waits = "select count(*) from engine.jobs where kind = 'lead.follow_up'
                 and run_at > now() + interval '2 days' and tenant is not null";
    assert_eq!(count(&mut front.owner().await, waits).await, 1);
}

#[tokio::test]
async fn a_lead_that_nobody_holds_reminds_nobody() {
    let front = Front::new().await;
    let ops = Operator::of(&front).await;
    let made = ops.post("/api/v1/leads/create", &json!({ "email": "a@b.example" }), 201).await;
    let path = format!("/api/v1/leads/{}", made["data"]["id"].as_str().unwrap());
    let due = json!({ "due_at": Utc::now() + Duration::days(1) });
    let refused = ops.post(&format!("{path}/follow-up"), &due, 409).await;
    assert_eq!(refused["error"]["code"], "lead_not_held");
    let deal = json!({ "amount_minor": 1, "currency": "EUR" });
    let refused = ops.post(&format!("{path}/convert"), &deal, 409).await;
    assert_eq!(refused["error"]["code"], "lead_not_accepted");
}

#[tokio::test]
async fn a_lead_is_sold_once_by_whoever_works_on_it() {
    let front = Front::new().await;
    front.demo().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, them) = front.agency("they@other.example").await;
    let (ann, stranger) = (agent(&front, me, "Ann").await, agent(&front, them, "Bob").await);
    let lead = held(&front, me, "accepted").await;
    let path = format!("/api/v1/leads/{lead}");
    let put = |body: &Value| front.put(&path, body).bearer_auth(&mine);
    let refused = json_of(put(&json!({ "agent_id": stranger })), 422).await;
    assert_eq!(refused["error"]["code"], "not_its_agent");
    let handed = json_of(put(&json!({ "agent_id": ann })), 200).await;
    assert_eq!(handed["data"]["agent_id"], ann.to_string());
    let sell =
        |body: &Value, token: &str| front.post(&format!("{path}/convert"), body).bearer_auth(token);
    let deal = json!({ "amount_minor": 65_000_000, "fee_minor": 1_300_000, "currency": "PLN" });
    json_of(sell(&deal, &theirs), 404).await;
    for bad in [
        json!({ "amount_minor": 0, "currency": "PLN" }),
        json!({ "amount_minor": 10, "currency": "pln" }),
        json!({ "amount_minor": 10, "currency": "XXX" }),
        json!({ "amount_minor": 10, "currency": "PLN", "fee_minor": -1 }),
        json!({ "amount_minor": 10, "currency": "PLN", "agent_id": stranger }),
        json!({ "amount_minor": 10, "currency": "PLN", "sold_at": "2999-01-01T00:00:00Z" }),
    ] {
        json_of(sell(&bad, &mine), 422).await;
    }
    let sold = json_of(sell(&deal, &mine), 201).await;
    assert_eq!(
        (&sold["data"]["agent_id"], &sold["data"]["product"]),
        (&json!(ann), &json!("Flat"))
    );
    let again = json_of(sell(&deal, &mine), 200).await;
    assert_eq!(again["data"]["event_id"], sold["data"]["event_id"]);
    let more = json!({ "amount_minor": 70_000_000, "fee_minor": 1_300_000, "currency": "PLN" });
    let refused = json_of(sell(&more, &mine), 409).await;
    assert_eq!(refused["error"]["code"], "already_converted");
    let shown = json_of(front.get(&path).bearer_auth(&mine), 200).await;
    assert_eq!(shown["data"]["sale"]["amount_minor"], 65_000_000);
}

#[tokio::test]
async fn conversion_rates_are_told_by_portal_agency_and_agent() {
    let front = Front::new().await;
    front.demo().await;
    let ops = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, them) = front.agency("they@other.example").await;
    let ann = agent(&front, me, "Ann").await;
    let mut leads = Vec::new();
    for n in 0..4 {
        let state = if n < 3 { "accepted" } else { "assigned" };
        leads.push(held(&front, me, state).await);
    }
    held(&front, them, "accepted").await;
    for lead in &leads[..2] {
        let path = format!("/api/v1/leads/{lead}");
        let work = json!({ "agent_id": ann });
        json_of(front.put(&path, &work).bearer_auth(&mine), 200).await;
    }
    let deal = json!({ "amount_minor": 100, "currency": "EUR" });
    let sell = format!("/api/v1/leads/{}/convert", leads[0]);
    json_of(front.post(&sell, &deal).bearer_auth(&mine), 201).await;
    // Leads are dated by the database, whose clock is another than the front's.
    let (day, now) = (chrono::Duration::days(1), chrono::Utc::now());
    let text = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let base = "/api/v1/leads/analytics";
    let path = &format!("{base}?from={}&to={}", text(now - day), text(now + day));
    let own = json_of(front.get(path).bearer_auth(&mine), 200).await["data"].clone();
    let counts = [&own["leads"], &own["accepted"], &own["converted"]];
    assert_eq!(counts, [&json!(4), &json!(3), &json!(1)]);
    assert_eq!(own["conversion_rate"], 0.25);
    assert_eq!(own["by_agent"][0]["conversion_rate"], 0.5);
    assert_eq!(own["by_agent"][0]["name"], "Ann");
    assert_eq!(own["sold"], json!([{ "currency": "EUR", "sales": 1, "amount_minor": "100" }]));
    let other = json_of(front.get(path).bearer_auth(&theirs), 200).await["data"].clone();
    assert_eq!((&other["leads"], &other["converted"]), (&json!(1), &json!(0)));
    let all = ops.get(path, 200).await["data"].clone();
    assert_eq!((&all["leads"], &all["conversion_rate"]), (&json!(5), &json!(0.2)));
    assert_eq!(all["by_agency"].as_array().unwrap().len(), 2);
    assert_eq!(all["by_agency"][0]["conversion_rate"], 0.25);
    assert_eq!(all["by_portal"][0]["name"], "demo");
    for bad in ["from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "from=2020-01-01T00:00:00Z"] {
        ops.get(&format!("{base}?{bad}"), 400).await;
    }
}
