//! What becomes of a deal after its sale: recorded by operators over HTTP, booked, explained, proven.

use super::leads_work::{agent, held};
use super::support::{Front, Operator, count, json_of};
use chrono::Utc;
use serde_json::{Value, json};
use switchyard_catalog::{BookCommission, Platform};
use switchyard_domain::ledger::{EntryProof, HeadKey};
use switchyard_domain::{AgencyId, CommissionEventId};
use switchyard_providers::Providers;
use switchyard_queue::Outcome;
use switchyard_queue::testing::Trial;
use switchyard_store::{Scope, ledger};
use uuid::Uuid;

const EVENTS: &str = "/api/v1/commissions/events";

/// An agency that sold a lead for 1,000.00 EUR.
struct Sale {
    token: String,
    agency: Uuid,
    agent: Uuid,
    lead: Uuid,
    event: Uuid,
}

async fn sale(front: &Front) -> Sale {
    front.demo().await;
    let (token, agency) = front.agency("me@nowak.example").await;
    let agent = agent(front, agency, "Ann").await;
    let lead = held(front, agency, "accepted").await;
    let deal = json!({ "amount_minor": 100_000, "currency": "EUR", "agent_id": agent });
    let path = format!("/api/v1/leads/{lead}/convert");
    let sold = json_of(front.post(&path, &deal).bearer_auth(&token), 201).await;
    let event = id_of(&sold["data"]["event_id"]);
    Sale { token, agency, agent, lead, event }
}

fn id_of(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

/// Books as a worker does.
async fn book(front: &Front, sale: &Sale, event: Uuid) {
    let url = "https://app.example.test/leads/{id}";
    let platform = Platform::new(front.test.db.clone(), Providers::capture(), url);
    let job = BookCommission { event: CommissionEventId(event), agency: AgencyId(sale.agency) };
    let ended = Trial::new(platform).run(&job).await;
    assert!(matches!(ended, Ok(Outcome::Done)), "{ended:?}");
}

/// What everybody but the platform's expense got by an entry.
fn got(entry: &Value) -> i64 {
    let postings = entry["postings"].as_array().unwrap().iter();
    let owed = postings.filter(|p| p["account"] == "payable" && p["owner_kind"] != "platform");
    owed.map(|p| p["amount"]["minor"].as_i64().unwrap()).sum()
}

async fn explained(front: &Front, token: &str, id: Uuid) -> Vec<Value> {
    let path = format!("/api/v1/commissions/{id}/explain");
    let told = json_of(front.get(&path).bearer_auth(token), 200).await;
    told["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_partial_refund_is_recorded_once_booked_and_explained_to_its_agency_alone() {
    let front = Front::new().await;
    let sale = sale(&front).await;
    let (theirs, _) = front.agency("they@other.example").await;
    let ops = Operator::of(&front).await;
    book(&front, &sale, sale.event).await;
    let body = json!({ "kind": "refunded_partly", "lead_id": sale.lead, "amount_minor": 25_000 });
    let post = |body: &Value, key: &str| {
        front.post(EVENTS, body).bearer_auth(&ops.token).header("idempotency-key", key)
    };
    let recorded = json_of(post(&body, "refund-1"), 201).await;
    let event = id_of(&recorded["data"]["event_id"]);
    let again = json_of(post(&body, "refund-1"), 200).await;
    assert_eq!(again["data"]["event_id"], json!(event), "one refund");
    let mut other = body.clone();
    other["amount_minor"] = json!(30_000);
    let refused = json_of(post(&other, "refund-1"), 422).await;
    assert_eq!(refused["error"]["code"], "idempotency_key_reused");

    let waits = explained(&front, &sale.token, event).await;
    assert_eq!((&waits[0]["state"], &waits[0]["kind"]), (&json!("pending"), &body["kind"]));
    book(&front, &sale, event).await;
    let lines = explained(&front, &sale.token, sale.lead).await;
    let [sold, refund] = &lines[..] else { panic!("a sale and its refund: {lines:?}") };
    // 5 % of 1,000.00, and of the 250.00 that went back.
    assert_eq!((got(sold), got(refund)), (5_000, -1_250), "{lines:?}");
    assert_eq!((&refund["event_id"], &refund["lead_id"]), (&json!(event), &json!(sale.lead)));
    for id in [event, sale.lead] {
        let path = format!("/api/v1/commissions/{id}/explain");
        json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    }
    let stored = "select count(*) from switchyard.commission_events e
      join switchyard.commission_events s on s.id = e.of_id
      where (e.agency_id, e.agent_id, e.lead_id) = (s.agency_id, s.agent_id, s.lead_id)
        and e.document->'product' = s.document->'product'
        and e.document->'portal' = s.document->'portal'";
    assert_eq!(count(&mut front.owner().await, stored).await, 1, "whose it is, is the sale's");
    let told = "select count(*) from switchyard.audit_log
      where action = 'commission.record' and who like 'admin:%'";
    assert_eq!(count(&mut front.owner().await, told).await, 1);
}

#[tokio::test]
async fn what_does_not_fit_the_deal_is_refused_with_a_reason_and_nothing_is_kept() {
    let front = Front::new().await;
    let sale = sale(&front).await;
    let (_, them) = front.agency("they@other.example").await;
    let ops = Operator::of(&front).await;
    let unsold = held(&front, sale.agency, "accepted").await;
    let (deal, lead) = (sale.event, sale.lead);
    let cases = [
        (json!({ "kind": "refunded", "lead_id": Uuid::now_v7() }), 404, "not_found"),
        (json!({ "kind": "refunded", "conversion_id": Uuid::now_v7() }), 404, "not_found"),
        (json!({ "kind": "refunded", "lead_id": lead, "agency_id": them }), 404, "not_found"),
        (json!({ "kind": "refunded", "lead_id": unsold }), 409, "not_sold"),
        (json!({ "kind": "refunded", "lead_id": lead, "amount_minor": 5 }), 422, "invalid_event"),
        (
            json!({ "kind": "refunded", "lead_id": lead, "conversion_id": deal }),
            422,
            "invalid_event",
        ),
        (json!({ "kind": "refunded_partly", "lead_id": lead }), 422, "invalid_event"),
        (
            json!({ "kind": "refunded_partly", "lead_id": lead, "amount_minor": 0 }),
            422,
            "invalid_event",
        ),
        (
            json!({ "kind": "refunded_partly", "lead_id": lead, "amount_minor": 5, "currency": "PLN" }),
            422,
            "other_currency",
        ),
        (
            json!({ "kind": "charged_back", "conversion_id": deal, "amount_minor": 100_001 }),
            409,
            "more_than_left",
        ),
        (
            json!({ "kind": "cancelled", "lead_id": lead, "occurred_at": "2020-01-01T00:00:00Z" }),
            422,
            "invalid_event",
        ),
        (
            json!({ "kind": "cancelled", "lead_id": lead, "occurred_at": "2999-01-01T00:00:00Z" }),
            422,
            "invalid_event",
        ),
        (json!({ "kind": "converted", "lead_id": lead }), 422, "invalid_event"),
        (json!({ "kind": "tier_changed", "lead_id": lead, "tier": "gold" }), 422, "invalid_event"),
        (
            json!({ "kind": "tier_changed", "agency_id": them, "agent_id": sale.agent }),
            422,
            "not_its_agent",
        ),
        (
            json!({ "kind": "split_changed", "lead_id": lead,
                "split": [{ "to": "agent", "percent": "90" }] }),
            422,
            "invalid_event",
        ),
    ];
    for (body, status, code) in cases {
        let refused = ops.post(EVENTS, &body, status).await;
        assert_eq!(refused["error"]["code"], code, "{body}: {refused}");
    }
    let whole = json!({ "kind": "refunded", "lead_id": lead });
    json_of(front.post(EVENTS, &whole).bearer_auth(&sale.token), 403).await;
    let kept = "select count(*) from switchyard.commission_events where kind <> 'converted'";
    assert_eq!(count(&mut front.owner().await, kept).await, 0);
}

#[tokio::test]
async fn no_more_goes_back_than_is_left_whatever_it_is_called() {
    let front = Front::new().await;
    let sale = sale(&front).await;
    let ops = Operator::of(&front).await;
    let part = |kind: &str, minor: i64| {
        json!({ "kind": kind, "conversion_id": sale.event, "amount_minor": minor,
            "currency": "EUR", "agency_id": sale.agency })
    };
    ops.post(EVENTS, &part("refunded_partly", 60_000), 201).await;
    let refused = ops.post(EVENTS, &part("charged_back", 40_001), 409).await;
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("400.01 EUR") && message.contains("400.00 EUR"), "{message}");
    ops.post(EVENTS, &part("corrected", 70_000), 201).await;
    ops.post(EVENTS, &part("charged_back", 10_000), 201).await;
    let refused = ops.post(EVENTS, &part("refunded_partly", 1), 409).await;
    assert_eq!(refused["error"]["code"], "nothing_left");
    // What was corrected too far down is corrected up again.
    ops.post(EVENTS, &part("corrected", 100_000), 201).await;
    let whole = json!({ "kind": "charged_back", "lead_id": sale.lead });
    let last = ops.post(EVENTS, &whole, 201).await;
    let refused = ops.post(EVENTS, &part("corrected", 100_000), 409).await;
    assert_eq!(refused["error"]["code"], "nothing_left");
    for event in [sale.event, id_of(&last["data"]["event_id"])] {
        book(&front, &sale, event).await;
    }
    let entries = explained(&front, &sale.token, sale.lead).await;
    let booked = entries.iter().filter(|e| !e["postings"].as_array().unwrap().is_empty());
    assert_eq!(booked.map(got).sum::<i64>(), 0, "all of it went back: {entries:?}");
}

#[tokio::test]
async fn there_is_one_forecast_and_it_goes_through_the_tiers() {
    let front = Front::new().await;
    let sale = sale(&front).await;
    book(&front, &sale, sale.event).await;
    let path = format!("/api/v1/commissions/dashboard?agent={}", sale.agent);
    let figures = json_of(front.get(&path).bearer_auth(&sale.token), 200).await["data"].clone();
    assert_eq!(figures["tiers"].as_array().unwrap().len(), 1, "{figures}");
    let stands = &figures["tiers"][0];
    let told = &stands["progress"]["forecast"];
    assert_eq!(figures["forecast"]["minor"], told["agent"]["minor"], "{figures}");
    assert!(told["method"].as_str().unwrap().starts_with("Pro rata by days"), "{told}");
    let (so_far, forecast) = (&figures["this_month"]["minor"], &figures["forecast"]["minor"]);
    assert_eq!(so_far, 5_000);
    assert!(forecast.as_i64().unwrap() >= 5_000, "{figures}");
    // The method is the domain's, by the same totals.
    let (days, day) =
        (told["period_days"].as_i64().unwrap(), told["elapsed_days"].as_i64().unwrap());
    let deals = told["total"]["deals"].as_i64().unwrap();
    assert!((deals * day - days).abs() <= day, "one sale in {day} of {days} days: {told}");
}

#[tokio::test]
async fn operators_decide_about_tiers_and_splits() {
    let front = Front::new().await;
    let sale = sale(&front).await;
    let ops = Operator::of(&front).await;
    let (agency, agent) = (sale.agency, sale.agent);
    // One agent's tier, from before the sale on, and the share of this one deal.
    let since = Utc::now() - chrono::Duration::days(3);
    let tier = json!({ "kind": "tier_changed", "agency_id": agency, "agent_id": agent,
        "tier": "platinum", "occurred_at": since });
    let split = json!({ "kind": "split_changed", "lead_id": sale.lead, "split": [
        { "to": "agent", "percent": "50" }, { "to": "agency", "percent": "50" }] });
    for body in [tier, split] {
        let recorded = ops.post(EVENTS, &body, 201).await;
        book(&front, &sale, id_of(&recorded["data"]["event_id"])).await;
    }
    book(&front, &sale, sale.event).await;
    let entries = explained(&front, &sale.token, sale.lead).await;
    // Platinum is 15 % of 1,000.00, and half of it is the agent's.
    let got = |who: &str| -> i64 {
        let all = entries.iter().flat_map(|e| e["postings"].as_array().unwrap());
        let theirs = all.filter(|p| p["account"] == "payable" && p["owner_kind"] == who);
        theirs.map(|p| p["amount"]["minor"].as_i64().unwrap()).sum()
    };
    assert_eq!((got("agent"), got("agency")), (7_500, 7_500), "{entries:?}");
}

#[tokio::test]
async fn an_entrys_owner_gets_a_proof_of_it_and_nobody_else() {
    let front = Front::new().await;
    let sale = sale(&front).await;
    let (theirs, _) = front.agency("they@other.example").await;
    book(&front, &sale, sale.event).await;
    let entry = id_of(&explained(&front, &sale.token, sale.lead).await[0]["id"]);
    let path = format!("/api/v1/commissions/{entry}/proof");
    let early = json_of(front.get(&path).bearer_auth(&sale.token), 409).await;
    assert_eq!(early["error"]["code"], "not_signed_yet");
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    ledger::sequence(&mut tx, 10).await.unwrap().unwrap();
    let key = HeadKey::of(&front.keys);
    let head = ledger::sign(&mut tx, &key, Utc::now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let given = json_of(front.get(&path).bearer_auth(&sale.token), 200).await;
    let proof: EntryProof = serde_json::from_value(given["data"]["proof"].clone()).unwrap();
    assert_eq!((proof.verify(Some(&head.root)), proof.entry.id), (Ok(()), entry));
    assert_eq!(proof.head.public_key, key.public());
    json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    let nothing = format!("/api/v1/commissions/{}/proof", Uuid::now_v7());
    json_of(front.get(&nothing).bearer_auth(&sale.token), 404).await;
}
