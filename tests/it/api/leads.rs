//! Leads entered by hand, looked at, mended.

use super::support::{Front, Operator, count, json_of};
use serde_json::{Value, json};

const CREATE: &str = "/api/v1/leads/create";

fn jan() -> Value {
    json!({
        "first_name": " Jan ", "last_name": "Kowalski", "email": "JAN@Example.com",
        "phone": "501 234 567", "country": "Poland", "postal_code": "00950",
        "interest": "2-room flat", "privacy_consent": true,
    })
}

#[tokio::test]
async fn a_lead_that_is_typed_in_is_written_like_a_portals_and_given_out() {
    let front = Front::new().await;
    let ops = Operator::of(&front).await;
    let made = ops.post(CREATE, &jan(), 201).await;
    assert_eq!(made["data"]["outcome"], "created");
    let path = format!("/api/v1/leads/{}", made["data"]["id"].as_str().unwrap());
    let lead = ops.get(&path, 200).await["data"]["lead"].clone();
    let said = ["first_name", "email", "phone", "country", "postal_code", "state"];
    let said: Vec<_> = said.iter().map(|f| lead[f].as_str().unwrap()).collect();
    assert_eq!(said, ["Jan", "jan@example.com", "+48501234567", "PL", "00-950", "new"]);
    assert_eq!(lead["privacy_consent"], true);
    let mut owner = front.owner().await;
    let given = "select count(*) from engine.jobs where kind = 'lead.distribute'";
    assert_eq!(count(&mut owner, given).await, 1);
    let event = "select count(*) from switchyard.webhook_events e
                 join switchyard.portals p on p.id = e.portal_id
                 where p.code = 'by-hand' and e.state = 'processed'";
    assert_eq!(count(&mut owner, event).await, 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_by_its_field_and_leaves_nothing_behind() {
    let front = Front::new().await;
    let (agency, _) = front.agency("me@nowak.example").await;
    for (body, field) in [
        (json!({ "first_name": "Jan" }), "email"),
        (json!({ "email": "jan" }), "email"),
        (json!({ "email": "jan@example.com", "phone": "1" }), "phone"),
        (json!({ "email": "jan@example.com", "country": "Nowhere" }), "country"),
        (json!({ "email": "jan@example.com", "budget": "much" }), "budget"),
    ] {
        let refused = json_of(front.post(CREATE, &body).bearer_auth(&agency), 422).await;
        assert_eq!(refused["error"]["code"], "invalid_lead", "{body}");
        assert_eq!(refused["error"]["details"]["fields"][0]["field"], field, "{refused}");
    }
    let unknown = json!({ "email": "jan@example.com", "shoe_size": 44 });
    let refused = json_of(front.post(CREATE, &unknown).bearer_auth(&agency), 422).await;
    assert_eq!(refused["error"]["code"], "invalid_body");
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 0);
    assert_eq!(count(&mut owner, "select count(*) from switchyard.leads").await, 0);
}

#[tokio::test]
async fn the_same_request_makes_one_lead_and_keeps_nothing_personal() {
    let front = Front::new().await;
    let (mine, _) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let send = |token: &str, body: &Value| {
        front.post(CREATE, body).bearer_auth(token).header("idempotency-key", "k-1")
    };
    let first = json_of(send(&mine, &jan()), 201).await;
    let again = json_of(send(&mine, &jan()), 200).await;
    assert_eq!(again["data"]["id"], first["data"]["id"]);
    assert_eq!(again["data"]["outcome"], "repeated");
    let other = json!({ "email": "other@example.com" });
    let refused = json_of(send(&mine, &other), 422).await;
    assert_eq!(refused["error"]["code"], "idempotency_key_reused");
    // Another agency's key is another key.
    json_of(send(&theirs, &jan()), 201).await;
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.leads").await, 2);
    let personal = "select count(*) from engine.requests
                    where answer::text ilike '%jan%' or digest ilike '%jan%'";
    assert_eq!(count(&mut owner, personal).await, 0);
}

#[tokio::test]
async fn an_agency_lists_sees_and_mends_what_it_holds_and_nothing_else() {
    let front = Front::new().await;
    front.demo().await;
    let ops = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let lead = super::leads_work::held(&front, me, "accepted").await;
    let path = format!("/api/v1/leads/{lead}");
    let list = json_of(front.get("/api/v1/leads/list").bearer_auth(&mine), 200).await;
    assert_eq!(list["data"]["items"][0]["id"], lead.to_string());
    let list = json_of(front.get("/api/v1/leads/list").bearer_auth(&theirs), 200).await;
    assert_eq!(list["data"]["items"], json!([]));
    let all = ops.get(&format!("/api/v1/leads/list?agency={me}"), 200).await;
    assert_eq!(all["data"]["items"].as_array().unwrap().len(), 1);
    json_of(front.get("/api/v1/leads/list?portal=demo").bearer_auth(&mine), 400).await;
    json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    let change =
        json!({ "phone": "+48 501 234 567", "company": "Kowalski i Syn", "message": null });
    json_of(front.put(&path, &change).bearer_auth(&theirs), 404).await;
    let changed = json_of(front.put(&path, &change).bearer_auth(&mine), 200).await;
    assert_eq!(changed["data"]["phone"], "+48501234567");
    assert_eq!(changed["data"]["company"], "Kowalski i Syn");
    assert_eq!(changed["data"]["message"], Value::Null);
    assert_eq!(changed["data"]["email"], "jan@example.com", "what is left out stays");
    assert_eq!(changed["data"]["state"], "accepted");
    for bad in [
        json!({ "email": "no" }),
        json!({ "email": null, "phone": null }),
        json!({ "state": "sold" }),
        json!({ "first_name": 7 }),
        json!({ "agent_id": "x" }),
        json!([]),
    ] {
        json_of(front.put(&path, &bad).bearer_auth(&mine), 422).await;
    }
    let stands = json_of(front.get(&path).bearer_auth(&mine), 200).await;
    assert_eq!(stands["data"]["lead"]["email"], "jan@example.com");
}

#[tokio::test]
async fn a_lead_that_nobody_could_get_is_given_out_anew_when_its_place_is_mended() {
    let front = Front::new().await;
    let ops = Operator::of(&front).await;
    let made = ops.post(CREATE, &json!({ "email": "jan@example.com" }), 201).await;
    let path = format!("/api/v1/leads/{}", made["data"]["id"].as_str().unwrap());
    let mut owner = front.owner().await;
    // The line found nobody and forgot the job.
    for done in ["delete from engine.jobs", "update switchyard.leads set state = 'unassigned'"] {
        sqlx::query(done).execute(&mut owner).await.unwrap();
    }
    sqlx::query("delete from engine.job_uniques").execute(&mut owner).await.unwrap();
    ops.put(&path, &json!({ "country": "PL", "postal_code": "00-950" }), 200).await;
    let given = "select count(*) from engine.jobs where kind = 'lead.distribute'";
    assert_eq!(count(&mut owner, given).await, 1);
}

#[tokio::test]
async fn an_agency_keeps_the_lead_that_it_enters_and_takes_nobodys_turn() {
    let front = Front::new().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let ann = super::leads_work::agent(&front, me, "Ann").await;
    let made = json_of(front.post(CREATE, &jan()).bearer_auth(&mine), 201).await;
    let path = format!("/api/v1/leads/{}", made["data"]["id"].as_str().unwrap());
    let lead = json_of(front.get(&path).bearer_auth(&mine), 200).await["data"]["lead"].clone();
    assert_eq!(lead["state"], "accepted");
    json_of(front.get(&path).bearer_auth(&theirs), 404).await;
    let list = json_of(front.get("/api/v1/leads/list").bearer_auth(&mine), 200).await;
    assert_eq!(list["data"]["items"].as_array().unwrap().len(), 1);
    let mut owner = front.owner().await;
    for none in [
        "select count(*) from engine.jobs where kind = 'lead.distribute'",
        "select count(*) from switchyard.lead_distribution_sequence",
    ] {
        assert_eq!(count(&mut owner, none).await, 0, "{none}");
    }
    let own = "select count(*) from switchyard.lead_assignments
               where state = 'accepted' and reason = 'manual' and responded_at is not null";
    assert_eq!(count(&mut owner, own).await, 1);
    // It can be sold at once, by the agency's only agent.
    let deal = json!({ "amount_minor": 65_000_000, "currency": "PLN" });
    let sale = json_of(front.post(&format!("{path}/convert"), &deal).bearer_auth(&mine), 201).await;
    assert_eq!(sale["data"]["agent_id"], ann.to_string());
}
