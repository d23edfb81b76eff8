//! What the command line does with deliveries and leads.

use super::portals::FILE;
use super::{Desk, KEY};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use switchyard_catalog::line::{self, Cause, Delivery};
use switchyard_domain::delivery::DeliveryKey;
use switchyard_domain::{EventId, Headers};
use switchyard_store::events;
use switchyard_tests::program::{Running, until};

impl Desk {
    /// Takes a delivery in, as the API does once it was found authentic.
    async fn deliver(&self, code: &str, body: &Value) -> EventId {
        let portal = self.portal(code).await.id;
        let delivery = Delivery {
            portal,
            key: DeliveryKey::Sender(uuid::Uuid::new_v4().to_string()),
            body: serde_json::to_vec(body).unwrap(),
            headers: Headers::from_iter([("content-type", "application/json")]),
            url: None,
            remote_addr: None,
        };
        let event = line::event(delivery, &Cause::default()).unwrap();
        let id = event.id;
        events::ingest(&self.test.db, vec![event]).await.unwrap();
        id
    }

    /// A worker process.
    fn work(&self) -> Running {
        let url = self.test.url.expose_secret();
        let environment = [("DATABASE_URL", url), ("SWITCHYARD_SECRET_KEY", KEY)];
        Running::start(self.folder.path(), "work", &environment, &["work"])
    }

    async fn until_judged(&self, event: EventId) -> Value {
        let id = event.to_string();
        until("the event to be judged", || async {
            let shown = self.told(&["events", "show", &id]).await;
            (shown["state"] != "received").then_some(shown)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_judged_listed_and_replayed_through_todays_mapping() {
    let desk = Desk::new().await;
    let file = desk.write("acme.yaml", FILE);
    desk.told(&["portals", "apply", &file]).await;
    let worker = desk.work();
    let good = desk
        .deliver(
            "acme",
            &json!({"id": "1", "name": "Ada", "mail": "ada@example.com", "town": "Oslo"}),
        )
        .await;
    let bad = desk.deliver("acme", &json!({"id": "2", "e_mail": "eve@example.com"})).await;
    desk.until_judged(good).await;
    let refused = desk.until_judged(bad).await;
    assert_eq!((&refused["state"], &refused["portal_version"]), (&json!("rejected"), &json!(1)));
    assert_eq!(refused["body"], r#"{"id":"2","e_mail":"eve@example.com"}"#);
    let leads = desk.told(&["leads", "list", "--portal", "acme"]).await;
    let lead = leads[0].clone();
    assert_eq!(leads.as_array().unwrap().len(), 1);
    assert_eq!(
        (&lead["email"], &lead["event_id"], &lead["city"]),
        (&json!("ada@example.com"), &json!(good), &json!(null))
    );

    let mended = FILE.replace("email: mail", "email: {from: [mail, e_mail]}\n    city: town");
    desk.write("acme.yaml", &mended);
    desk.told(&["portals", "apply", &file]).await;
    let range = ["events", "replay", "--portal", "acme"];
    let dry = desk.told(&[&range[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        dry["counts"],
        json!({"events": 2, "events_changed": 2, "leads_changed": 1, "leads_new": 1})
    );
    let change = &dry["changes"][0]["leads"][0];
    assert_eq!(change["fields"], json!([{"field": "city", "before": null, "after": "Oslo"}]));
    assert_eq!(
        desk.told(&["leads", "list"]).await.as_array().unwrap().len(),
        1,
        "a dry run writes nothing"
    );

    let done = desk.told(&range).await;
    assert_eq!(done["counts"], dry["counts"]);
    assert!(!done["finished_at"].is_null());
    let leads = desk.told(&["leads", "list", "--portal", "acme"]).await;
    assert_eq!(leads.as_array().unwrap().len(), 2);
    let same = leads.as_array().unwrap().iter().find(|l| l["id"] == lead["id"]).unwrap();
    assert_eq!(same["city"], "Oslo");
    let again = desk.told(&range).await;
    assert_eq!(again["counts"], json!({"events": 2, "leads_same": 2}), "again changes nothing");

    let one = desk.told(&["events", "replay", &good.to_string()]).await;
    assert_eq!((&one["differs"], &one["state"]), (&json!(false), &json!("processed")));
    let shown = desk.told(&["events", "show", &bad.to_string()]).await;
    assert_eq!((&shown["state"], &shown["portal_version"]), (&json!("processed"), &json!(2)));
    let listed =
        desk.told(&["events", "list", "--state", "processed", "--since", "2020-01-01"]).await;
    assert_eq!(listed["events"].as_array().unwrap().len(), 2);
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_portal_holds_what_comes_until_it_goes_on() {
    let desk = Desk::new().await;
    let file = desk.write("acme.yaml", FILE);
    desk.told(&["portals", "apply", &file]).await;
    assert_eq!(desk.told(&["portals", "pause", "acme"]).await["changed"], json!(true));
    assert_eq!(desk.told(&["portals", "pause", "acme"]).await["changed"], json!(false));
    let worker = desk.work();
    let event = desk.deliver("acme", &json!({"id": "1", "mail": "ada@example.com"})).await;
    assert_eq!(desk.until_judged(event).await["state"], "held");
    assert_eq!(desk.told(&["portals", "list"]).await["portals"][0]["state"], "paused");
    assert_eq!(desk.told(&["leads", "list"]).await, json!([]));
    desk.told(&["portals", "resume", "acme"]).await;
    let id = event.to_string();
    until("the event to be processed", || async {
        let shown = desk.told(&["events", "show", &id]).await;
        (shown["state"] == "processed").then_some(())
    })
    .await;
    assert_eq!(worker.stop().await, Some(0));
}
