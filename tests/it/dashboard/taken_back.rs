//! A sale that does not stand is taken back on the lead's page.

use super::support::{Ops, agency};
use chrono::Utc;
use serde_json::json;
use switchyard_catalog::lead_work::{self, Actor, Deal, Entered};
use switchyard_catalog::line::Cause;
use switchyard_domain::commission::EventKind;
use switchyard_domain::{AgentId, CommissionEventId};
use switchyard_store::{Scope, agents, commissions};

#[tokio::test]
async fn a_form_on_the_leads_page_takes_a_part_or_all_of_a_sale_back_once() {
    let ops = Ops::new().await;
    let books = agency(&ops.db, "Nowak", "nowak", &[]).await;
    let agent = AgentId::new();
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    agents::upsert(&mut tx, agent, books, "Ann", None, None).await.unwrap();
    let by = Actor { agency: Some(books), name: "agency:1".to_owned() };
    let fields = json!({ "first_name": "Halina", "last_name": "Zając", "email": "h@example.test" });
    let entered = lead_work::enter(&mut tx, &fields, &by, &Cause::default()).await.unwrap();
    let Entered::New(lead) = entered else { panic!("{entered:?}") };
    tx.commit().await.unwrap();
    let mut session = ops.sign_in().await;
    let path = format!("/ops/leads/{lead}");
    assert!(!session.page(&path).await.contains("taken-back"), "it was not sold");
    let deal = Deal {
        amount_minor: 100_000,
        fee_minor: None,
        currency: "EUR",
        product: None,
        agent: Some(agent),
        sold_at: Utc::now(),
    };
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let (_, sale) = lead_work::convert(&mut tx, lead, &deal, &by, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();

    let page = session.page(&path).await;
    let id = page.split_once("name=\"event\" value=\"").unwrap().1.split('"').next().unwrap();
    let to = format!("{path}/taken-back");
    let form =
        |event: &str, kind: &'static str, amount: &'static str| -> [(&'static str, String); 4] {
            let currency = "EUR".to_owned();
            [
                ("event", event.to_owned()),
                ("kind", kind.to_owned()),
                ("amount", amount.to_owned()),
                ("currency", currency),
            ]
        };
    let mut send = async |form: [(&'static str, String); 4]| {
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        session.send(&to, &form).await.1
    };
    let done = send(form(id, "refunded", "250.50")).await;
    assert!(done.contains("Recorded. What it changes is being booked."), "{done}");
    let twice = send(form(id, "refunded", "250.50")).await;
    assert!(twice.contains("It was recorded already."), "{twice}");
    let fresh = || CommissionEventId::new().to_string();
    let much = send(form(&fresh(), "charged_back", "749.51")).await;
    assert!(much.contains("Not recorded: 749.51 EUR is more than what is left"), "{much}");
    let other = send(form(&fresh(), "corrected", "1")).await;
    assert!(other.contains("is not recorded here"), "{other}");
    let off = send(form(&fresh(), "cancelled", "")).await;
    assert!(off.contains("Recorded."), "{off}");
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let deal = CommissionEventId(sale.event);
    let mut events = commissions::naming(&mut tx, deal).await.unwrap();
    events.sort_by_key(|row| row.event.occurred_at);
    let events: Vec<_> = events.into_iter().map(|row| row.event).collect();
    let [part, all] = &events[..] else { panic!("two events: {events:?}") };
    assert_eq!((&part.kind, part.amount.unwrap().minor), (&EventKind::RefundedPartly, 25_050));
    assert_eq!((&all.kind, all.amount, all.lead), (&EventKind::Cancelled, None, Some(lead)));
}
