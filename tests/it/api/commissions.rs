//! What was earned is seen by whom it concerns, and paid out by two people.

use super::leads_work::agent;
use super::support::{Front, Operator, config, json_of};
use chrono::Utc;
use serde_json::{Value, json};
use switchyard_api::ApiConfig;
use switchyard_domain::money::Currency;
use switchyard_domain::payment::{Debtor, PayoutRules};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::Scope;
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};
use uuid::Uuid;

const IBAN: &str = "PL61 1090 1014 0000 0712 1981 2874";

fn settings() -> ApiConfig {
    let debtor = Debtor {
        name: "Switchyard".to_owned(),
        iban: "DE89370400440532013000".parse().unwrap(),
        bic: None,
    };
    let payouts = PayoutRules {
        approval_limit: 1_000.into(),
        debtor: Some(debtor),
        ..PayoutRules::default()
    };
    ApiConfig { payouts, ..config() }
}

/// Books a commission as the ledger's jobs do.
async fn earn(front: &Front, agency: Uuid, agent: Uuid, cents: i64) -> Uuid {
    let (agency, currency) = (AgencyId(agency), Currency::of("EUR").unwrap());
    let owner = Owner::Agent(AgentId(agent));
    let entry = NewEntry {
        key: format!("commission:{}", Uuid::now_v7()),
        agency,
        kind: EntryKind::Commission,
        agent: Some(AgentId(agent)),
        event: None,
        lead: None,
        occurred_at: Utc::now(),
        explanation: json!({ "plan": "standard" }),
        postings: vec![
            (Account::payable(owner, agency, currency), cents),
            (Account::expense(currency), -cents),
        ],
    };
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    let posted = ledger::post(&mut tx, &[entry]).await.unwrap();
    tx.commit().await.unwrap();
    posted[0].id.0
}

fn items(answer: &Value) -> Vec<Value> {
    answer["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn standings_sums_and_explanations_are_ones_own() {
    let front = Front::new().await;
    let ops = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, them) = front.agency("they@other.example").await;
    let (ann, bob) = (agent(&front, me, "Ann").await, agent(&front, them, "Bob").await);
    let entry = earn(&front, me, ann, 12_345).await;
    earn(&front, them, bob, 99_999).await;
    let board = ops.get("/api/v1/commissions/leaderboard", 200).await;
    let names: Vec<Value> = items(&board).iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["Bob", "Ann"]);
    let own = json_of(front.get("/api/v1/commissions/leaderboard").bearer_auth(&mine), 200).await;
    let [standing] = &items(&own)[..] else { panic!("one agent: {own}") };
    assert_eq!((&standing["name"], &standing["place"]), (&json!("Ann"), &json!(1)));
    assert_eq!(standing["pending"]["text"], "123.45 EUR");
    let dashboard = format!("/api/v1/commissions/dashboard?agent={ann}");
    let figures = json_of(front.get(&dashboard).bearer_auth(&mine), 200).await;
    assert_eq!(figures["data"]["this_month"]["minor"], 12_345);
    // What no deal explains is not what deals may bring.
    assert_eq!(figures["data"]["forecast"]["minor"], 0);
    let other = json_of(front.get(&dashboard).bearer_auth(&theirs), 200).await;
    assert_eq!(other["data"]["standing"], Value::Null, "another agency's agent");
    assert_eq!((&other["data"]["forecast"], &other["data"]["tiers"]), (&Value::Null, &json!([])));
    ops.get(&dashboard, 422).await;
    let sums = "/api/v1/commissions/analytics";
    let sums = json_of(front.get(sums).bearer_auth(&mine), 200).await;
    assert_eq!(sums["data"]["by_month"][0]["amount_minor"], "12345");
    assert_eq!(
        sums["data"]["by_agency"],
        json!([{
        "key": me.to_string(), "amount_minor": "12345", "entries": 1 }])
    );
    let path = format!("/api/v1/commissions/{entry}/explain");
    let why = json_of(front.get(&path).bearer_auth(&mine), 200).await;
    let why = &items(&why)[0];
    assert_eq!(why["explanation"]["plan"], "standard");
    let minors: i64 = why["postings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["amount"]["minor"].as_i64().unwrap())
        .sum();
    assert_eq!(minors, 0, "{why}");
    json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    for bad in ["from=2026-13", "from=2020-01&to=2026-01", "currency=XXX"] {
        let path = format!("/api/v1/commissions/analytics?{bad}");
        let status = if bad.starts_with("currency") { 422 } else { 400 };
        ops.get(&path, status).await;
    }
}

#[tokio::test]
async fn money_goes_out_by_two_people_and_one_file() {
    let front = Front::with(settings()).await;
    let ops = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, them) = front.agency("they@other.example").await;
    let ann = agent(&front, me, "Ann").await;
    let stranger = agent(&front, them, "Bob").await;
    earn(&front, me, ann, 50_000).await;
    let ask = |body: &Value, token: &str| {
        front.post("/api/v1/commissions/payout", body).bearer_auth(token)
    };
    let all = json!({ "agent_id": ann, "method": "sepa" });
    let nowhere = json_of(ask(&all, &mine), 409).await;
    assert_eq!(nowhere["error"]["code"], "no_account");
    let payee = |body: &Value| front.put("/api/v1/commissions/payee", body).bearer_auth(&mine);
    for bad in [
        json!({ "agent_id": ann, "name": "Ann", "iban": "PL61109010140000071219812875" }),
        json!({ "agent_id": ann, "name": "Ann", "iban": IBAN, "bic": "COBADEFF" }),
        json!({ "agent_id": ann, "name": "Ann" }),
        json!({ "agent_id": ann, "name": "", "iban": IBAN }),
        json!({ "agent_id": ann, "name": "日本", "iban": IBAN }),
        json!({ "agent_id": ann, "name": "Ann", "stripe_account": "acct-1" }),
        json!({ "agent_id": stranger, "name": "Bob", "iban": IBAN }),
    ] {
        json_of(payee(&bad), 422).await;
    }
    let set = json_of(payee(&json!({ "agent_id": ann, "name": "Ann", "iban": IBAN })), 200).await;
    assert_eq!(set["data"]["iban"], "PL…2874", "shown masked");
    let asked = json_of(ask(&all, &mine), 201).await;
    assert_eq!(asked["data"]["state"], "requested");
    assert_eq!(asked["data"]["amount"]["text"], "500.00 EUR");
    assert_eq!(json_of(ask(&all, &mine), 409).await["error"]["code"], "payout_open");
    let id = asked["data"]["id"].as_str().unwrap();
    let step = |verb: &str| format!("/api/v1/commissions/payout/{id}/{verb}");
    json_of(front.post(&step("approve"), &Value::Null).bearer_auth(&mine), 403).await;
    let listed = json_of(front.get("/api/v1/commissions/payouts").bearer_auth(&theirs), 200).await;
    assert_eq!(listed["data"]["items"], json!([]));
    ops.post("/api/v1/commissions/payout/export", &json!({ "method": "sepa" }), 409).await;
    ops.post(&step("settle"), &json!({ "arrived": true }), 409).await;
    let approved = ops.post(&step("approve"), &Value::Null, 200).await;
    assert_eq!(approved["data"]["state"], "approved");
    let file =
        ops.post("/api/v1/commissions/payout/export", &json!({ "method": "sepa" }), 201).await;
    let path = format!("/api/v1/commissions/payout/files/{}", file["data"]["id"].as_str().unwrap());
    let got = front.get(&path).bearer_auth(&ops.token).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "application/xml");
    let xml = got.text().await.unwrap();
    assert!(xml.contains("<CtrlSum>500.00</CtrlSum>") && xml.contains(&IBAN.replace(' ', "")));
    json_of(front.get(&path).bearer_auth(&mine), 403).await;
    let settled = ops.post(&step("settle"), &json!({ "arrived": true }), 200).await;
    assert_eq!(settled["data"]["state"], "confirmed");
    assert!(settled["data"]["settled_by"].as_str().unwrap().starts_with("admin:"), "{settled}");
    assert_eq!(file["data"]["left_out"], json!([]));
    let standing = format!("/api/v1/commissions/dashboard?agent={ann}");
    let standing = json_of(front.get(&standing).bearer_auth(&mine), 200).await;
    assert_eq!(standing["data"]["standing"]["paid"]["minor"], 50_000);
    assert_eq!(standing["data"]["standing"]["pending"]["minor"], 0);
}

#[tokio::test]
async fn an_operator_who_asks_may_not_approve_above_the_limit() {
    let front = Front::with(settings()).await;
    let ops = Operator::of(&front).await;
    let (_, me) = front.agency("me@nowak.example").await;
    let ann = agent(&front, me, "Ann").await;
    earn(&front, me, ann, 50_000).await;
    let payee = json!({ "agency_id": me, "agent_id": ann, "name": "Ann", "iban": IBAN });
    ops.put("/api/v1/commissions/payee", &payee, 200).await;
    let path = "/api/v1/commissions/payout";
    let mut wanted =
        json!({ "agency_id": me, "agent_id": ann, "method": "csv", "amount_minor": 1_001 });
    let asked = ops.post(path, &wanted, 201).await;
    let step = |verb: &str| format!("{path}/{}/{verb}", asked["data"]["id"].as_str().unwrap());
    ops.post(&step("approve"), &Value::Null, 403).await;
    ops.post(&step("decline"), &json!({ "reason": "" }), 422).await;
    let declined = ops.post(&step("decline"), &json!({ "reason": "not now" }), 200).await;
    assert_eq!(
        (&declined["data"]["state"], &declined["data"]["error"]),
        (&json!("declined"), &json!("not now"))
    );
    wanted["amount_minor"] = json!(1_000);
    let asked = ops.post(path, &wanted, 201).await;
    assert_eq!(asked["data"]["state"], "approved", "up to the limit nobody has to");
    wanted["currency"] = json!("PLN");
    wanted["method"] = json!("sepa");
    assert_eq!(ops.post(path, &wanted, 422).await["error"]["code"], "not_euro");
}

#[tokio::test]
async fn statements_are_drawn_up_as_pdf_and_csv_and_sent_by_a_job() {
    let front = Front::new().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let ann = agent(&front, me, "Ann").await;
    earn(&front, me, ann, 12_345).await;
    let month = Utc::now().format("%Y-%m");
    let path = format!("/api/v1/commissions/statements/{month}?agent={ann}");
    let pdf = front.get(&path).bearer_auth(&mine).send().await.unwrap();
    assert_eq!(pdf.headers()["content-type"], "application/pdf");
    assert!(pdf.bytes().await.unwrap().starts_with(b"%PDF-1."));
    let csv = front.get(&format!("{path}&format=csv")).bearer_auth(&mine).send().await.unwrap();
    let csv = csv.text().await.unwrap();
    assert!(
        csv.contains(",123.45,EUR,") && csv.trim_end().ends_with(",closing,,,,123.45,EUR,"),
        "{csv}"
    );
    json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    json_of(front.get(&format!("{path}&format=doc")).bearer_auth(&mine), 400).await;
    json_of(front.get("/api/v1/commissions/statements/2026-99").bearer_auth(&mine), 400).await;
    let closed = json_of(front.get("/api/v1/commissions/statements").bearer_auth(&mine), 200).await;
    assert_eq!(closed["data"], json!([]));
    let send = format!("/api/v1/commissions/statements/{month}/send?agent={ann}");
    let sent = json_of(front.post(&send, &Value::Null).bearer_auth(&mine), 202).await;
    let again = json_of(front.post(&send, &Value::Null).bearer_auth(&mine), 202).await;
    assert_eq!(again["data"]["job_id"], sent["data"]["job_id"], "one job at a time");
}

#[tokio::test]
async fn an_event_that_was_refused_is_explained_by_its_reason() {
    use switchyard_domain::commission::{CommissionEvent, EventKind};
    use switchyard_domain::{CommissionEventId, LeadId};
    use switchyard_store::commissions::{self, EventState, Settle};
    let front = Front::new().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let event = CommissionEvent {
        id: CommissionEventId::new(),
        kind: EventKind::Converted,
        lead: Some(LeadId::new()),
        agency: AgencyId(me),
        agent: AgentId::new(),
        manager: None,
        portal: None,
        product: None,
        occurred_at: Utc::now(),
        received_at: Utc::now(),
        amount: None,
        fee: None,
        of: None,
    };
    let refused = Settle {
        id: event.id,
        state: EventState::Refused,
        group: None,
        reason: Some("it has no amount".to_owned()),
    };
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    commissions::record(&mut tx, std::slice::from_ref(&event)).await.unwrap();
    commissions::settle(&mut tx, &[refused]).await.unwrap();
    tx.commit().await.unwrap();
    for id in [event.id.0, event.lead.unwrap().0] {
        let path = format!("/api/v1/commissions/{id}/explain");
        let told = json_of(front.get(&path).bearer_auth(&mine), 200).await;
        let [told] = &items(&told)[..] else { panic!("one event: {told}") };
        assert_eq!(told["state"], "refused");
        assert_eq!(told["reason"], "it has no amount");
        assert_eq!(told["sentence"], "Refused: it has no amount.");
        assert_eq!((&told["period"], &told["postings"]), (&Value::Null, &json!([])));
        json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    }
}

#[tokio::test]
async fn a_payout_that_is_asked_for_again_with_its_key_is_the_same() {
    let front = Front::with(settings()).await;
    let ops = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let ann = agent(&front, me, "Ann").await;
    earn(&front, me, ann, 50_000).await;
    let payee = json!({ "agent_id": ann, "name": "Ann", "iban": IBAN });
    json_of(front.put("/api/v1/commissions/payee", &payee).bearer_auth(&mine), 200).await;
    let path = "/api/v1/commissions/payout";
    let wanted = json!({ "agent_id": ann, "method": "csv", "amount_minor": 900 });
    let ask = |body: &Value| {
        front.post(path, body).bearer_auth(&mine).header("idempotency-key", "september")
    };
    let first = json_of(ask(&wanted), 201).await;
    let id = first["data"]["id"].as_str().unwrap();
    // On its way, a second one could be asked for: the retry must not be that.
    ops.post(&format!("{path}/export"), &json!({ "method": "csv" }), 201).await;
    ops.post(&format!("{path}/{id}/settle"), &json!({ "arrived": true }), 200).await;
    let again = json_of(ask(&wanted), 200).await;
    assert_eq!((&again["data"]["id"], &again["data"]["state"]), (&json!(id), &json!("confirmed")));
    let other = json!({ "agent_id": ann, "method": "csv", "amount_minor": 901 });
    assert_eq!(json_of(ask(&other), 422).await["error"]["code"], "idempotency_key_reused");
    let listed = ops.get("/api/v1/commissions/payouts", 200).await;
    assert_eq!(listed["data"]["items"].as_array().unwrap().len(), 1, "{listed}");
    // Without the key it is another one.
    json_of(front.post(path, &wanted).bearer_auth(&mine), 201).await;
}
