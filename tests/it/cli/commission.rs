//! Commissions on the command line: what is not booked, and why.

use super::Desk;
use chrono::Utc;
use serde_json::{Value, json};
use switchyard_catalog::conversion;
use switchyard_catalog::line::Cause;
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_store::Scope;
use switchyard_store::commissions::{self, EventState, Settle};

const WHY: &str = "the plan has no tier of that name";

/// A decision about an agent that was recorded long ago.
async fn decision(desk: &Desk) -> CommissionEvent {
    let event = CommissionEvent {
        id: CommissionEventId::new(),
        kind: EventKind::TierChanged { tier: Some("diamond".into()) },
        lead: None,
        agency: AgencyId::new(),
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
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    conversion::record(&mut tx, std::slice::from_ref(&event), &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query("update switchyard.commission_events set received_at = now() - interval '1 hour'")
        .execute(&mut desk.test.owner().await)
        .await
        .unwrap();
    event
}

async fn finding(desk: &Desk) -> Value {
    let findings = desk.say(&["--json", "doctor"]).await.json()["findings"].clone();
    let findings = findings.as_array().unwrap();
    findings.iter().find(|f| f["check"] == "commissions").expect("a finding").clone()
}

#[tokio::test]
async fn what_is_not_booked_is_listed_with_the_reason_and_the_doctor_tells() {
    let desk = Desk::new().await;
    let none = desk.say(&["commission", "unbooked"]).await;
    assert_eq!((none.code, none.out.trim()), (Some(0), "every event is booked"));
    assert_eq!(finding(&desk).await["level"], "ok");
    let event = decision(&desk).await;
    let listed = desk.say(&["--json", "commission", "unbooked"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed[0]["state"], &listed[0]["reason"]), (&json!("pending"), &Value::Null));
    let waits = finding(&desk).await;
    assert_eq!(waits["level"], "warn", "{waits}");
    assert!(waits["found"].as_str().unwrap().starts_with("1 events wait"), "{waits}");
    assert!(waits["remedy"].as_str().unwrap().contains("commission unbooked"), "{waits}");

    let refused = Settle {
        id: event.id,
        state: EventState::Refused,
        group: None,
        reason: Some(WHY.to_owned()),
    };
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    commissions::settle(&mut tx, &[refused]).await.unwrap();
    tx.commit().await.unwrap();
    let only = |state| ["commission", "unbooked", "--state", state];
    assert!(desk.say(&only("refused")).await.out.contains(WHY));
    assert_eq!(desk.say(&only("pending")).await.out.trim(), "every event is booked");
    assert_eq!(desk.say(&only("lost")).await.code, Some(2));
    let settled = finding(&desk).await;
    assert_eq!(settled["level"], "ok", "{settled}");
    assert!(settled["found"].as_str().unwrap().contains("1 were refused"), "{settled}");

    let id = event.id.to_string();
    let told = desk.say(&["commission", "explain", &id]).await;
    assert!(told.out.contains("tier_changed") && told.out.contains(WHY), "{told:?}");
    let told = desk.say(&["--json", "commission", "explain", &id]).await.json();
    assert_eq!((&told[0]["state"], &told[0]["reason"]), (&json!("refused"), &json!(WHY)));
    let nothing = desk.say(&["commission", "explain", &AgentId::new().to_string()]).await;
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.err.contains("nothing is known of"), "{nothing:?}");
}

/// A sale of 1,000.00 EUR, as its lead would record it.
async fn sale(desk: &Desk) -> CommissionEvent {
    use switchyard_domain::LeadId;
    use switchyard_domain::money::{Currency, Money};
    let event = CommissionEvent {
        id: CommissionEventId::new(),
        kind: EventKind::Converted,
        lead: Some(LeadId::new()),
        agency: AgencyId::new(),
        agent: AgentId::new(),
        manager: None,
        portal: None,
        product: Some("Flat".into()),
        occurred_at: Utc::now(),
        received_at: Utc::now(),
        amount: Some(Money::new(100_000, Currency::of("EUR").unwrap())),
        fee: None,
        of: None,
    };
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    conversion::record(&mut tx, std::slice::from_ref(&event), &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    event
}

#[tokio::test]
async fn what_became_of_a_deal_is_recorded_by_a_command() {
    let desk = Desk::new().await;
    let sale = sale(&desk).await;
    let deal = sale.id.to_string();
    let record = |kind: &'static str, more: &[&str]| {
        let args =
            [&["--json", "commission", "record", kind, "--conversion", &deal], more].concat();
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let say = async |args: Vec<String>| {
        desk.say(&args.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let part = ["--amount", "250.50", "--currency", "EUR"];
    let done = say(record("refunded_partly", &part)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let id = CommissionEventId(done.json()["event_id"].as_str().unwrap().parse().unwrap());
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    let stored = commissions::event(&mut tx, id).await.unwrap().event;
    tx.rollback().await.unwrap();
    assert_eq!((stored.amount.unwrap().minor, stored.of), (25_050, Some(sale.id)));
    assert_eq!((stored.agent, stored.lead, stored.product), (sale.agent, sale.lead, sale.product));
    let jobs = desk.say(&["--json", "jobs", "list", "--kind", "commission.book"]).await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2, "the sale's booking and its own: {jobs}");

    let much = say(record("refunded_partly", &["--amount", "749.51", "--currency", "EUR"])).await;
    assert_eq!((much.code, much.err.contains("749.50 EUR")), (Some(1), true), "{much:?}");
    let other = say(record("charged_back", &["--amount", "1", "--currency", "PLN"])).await;
    assert_eq!((other.code, other.err.contains("tell it in EUR")), (Some(1), true), "{other:?}");
    assert_eq!(say(record("refunded", &part)).await.code, Some(2), "the whole has no amount");
    assert_eq!(say(record("sold", &[])).await.code, Some(2));
    assert_eq!(desk.say(&["commission", "record", "refunded"]).await.code, Some(2));
    let nobody = AgencyId::new().to_string();
    let elsewhere = say(record("refunded", &["--agency", &nobody])).await;
    assert_eq!((elsewhere.code, elsewhere.err.contains("not_found")), (Some(1), true));
}

/// An entry under a head that the program's own key signed.
async fn logged(desk: &Desk) -> String {
    use switchyard_domain::ledger::HeadKey;
    use switchyard_domain::money::Currency;
    use switchyard_domain::secrets::MasterKey;
    use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};
    let (agency, euros) = (AgencyId::new(), Currency::of("EUR").unwrap());
    let entry = |n: i64| NewEntry {
        key: format!("commission:{n}"),
        agency,
        kind: EntryKind::Commission,
        agent: None,
        event: None,
        lead: None,
        occurred_at: Utc::now(),
        explanation: json!({ "plan": "standard" }),
        postings: vec![
            (Account::payable(Owner::Agency(agency), agency, euros), n),
            (Account::expense(euros), -n),
        ],
    };
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    let posted = ledger::post(&mut tx, &[entry(1), entry(2), entry(3)]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    ledger::sequence(&mut tx, 9).await.unwrap().unwrap();
    let key = HeadKey::of(&MasterKey::parse(super::KEY).unwrap());
    ledger::sign(&mut tx, &key, Utc::now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    posted[1].id.0.to_string()
}

#[tokio::test]
async fn an_entry_is_proven_by_a_file_that_needs_no_database() {
    use switchyard_tests::program::say;
    let desk = Desk::new().await;
    let entry = logged(&desk).await;
    let done = desk.say(&["--json", "commission", "prove", &entry, "--out", "proof.json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let root = done.json()["root"].as_str().unwrap().to_owned();
    let alone = |more: Vec<String>| {
        let fixed = ["--json", "commission", "verify-proof", "proof.json"].map(str::to_owned);
        let args: Vec<String> = fixed.into_iter().chain(more).collect();
        async { say(desk.folder.path(), &[], args).await }
    };
    let holds = alone(Vec::new()).await;
    assert_eq!(holds.code, Some(0), "{holds:?}");
    assert_eq!((&holds.json()["entry"], &holds.json()["size"]), (&json!(entry), &json!(3)));
    let against = |root: &str| vec!["--root".to_owned(), root.to_owned()];
    assert_eq!(alone(against(&root)).await.code, Some(0));
    let other = alone(against(&"00".repeat(32))).await;
    assert_eq!((other.code, other.err.contains("another root")), (Some(1), true), "{other:?}");

    let file = desk.folder.path().join("proof.json");
    let text = std::fs::read_to_string(&file).unwrap();
    // Two cents become a fortune.
    let bent = text.replacen("\"EUR\",\n        2\n", "\"EUR\",\n        2000000\n", 1);
    assert_ne!(bent, text, "{text}");
    std::fs::write(&file, bent).unwrap();
    let refused = alone(against(&root)).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("not the one that was logged"), "{refused:?}");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(alone(Vec::new()).await.code, Some(1));

    let unknown = desk.say(&["commission", "prove", &AgencyId::new().to_string()]).await;
    assert_eq!((unknown.code, unknown.err.contains("there is no entry")), (Some(1), true));
    let size = desk.say(&["commission", "prove", &entry, "--size", "2"]).await;
    assert_eq!(size.code, Some(1), "no head of two was signed: {size:?}");
}

#[tokio::test]
async fn the_audit_takes_a_kept_root_in_every_shape_that_people_have_it_in() {
    use switchyard_store::ledger;
    let desk = Desk::new().await;
    logged(&desk).await;
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    let head = ledger::root(&mut tx).await.unwrap().unwrap();
    tx.rollback().await.unwrap();
    let (note, hex) = (head.to_note(), hex::encode(head.root));
    let base64 = note.lines().nth(2).unwrap();
    let shapes =
        [note.clone(), note.replace('\n', "\\n"), format!("3:{hex}"), format!("3:{base64}")];
    for root in &shapes {
        let audit = desk.say(&["commission", "audit", "--root", root]).await;
        assert_eq!(audit.code, Some(0), "{root}: {audit:?}");
    }
    for root in [format!("4:{hex}"), format!("3:{}", "00".repeat(32))] {
        let audit = desk.say(&["commission", "audit", "--root", &root]).await;
        assert_eq!(audit.code, Some(1), "{root} is not of this log: {audit:?}");
    }
    // A note that was written over, and what is no root at all.
    for root in [note.replacen("\n3\n", "\n2\n", 1), hex] {
        let audit = desk.say(&["commission", "audit", "--root", &root]).await;
        assert_eq!(audit.code, Some(2), "{root}: {audit:?}");
    }
}
