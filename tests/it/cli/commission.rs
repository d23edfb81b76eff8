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
