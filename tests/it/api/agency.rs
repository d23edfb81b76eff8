//! An agency's own leads and territories, and nobody else's.

use super::support::{Front, count, json_of};
use axum::http::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

/// A lead that is offered to an agency, as the line would leave it.
async fn offered(owner: &mut PgConnection, agency: Uuid, n: usize) -> Uuid {
    let (event, lead) = (Uuid::now_v7(), Uuid::now_v7());
    sqlx::query(
        "with event as (
           insert into switchyard.webhook_events (id, portal_id, body, headers, state)
           select $1, id, '{}', '{}', 'processed' from switchyard.portals limit 1
           returning id, portal_id
         ), lead as (
           insert into switchyard.leads (id, portal_id, event_id, agency_id, state, first_name, email)
           select $2, portal_id, id, $3, 'assigned', $4, 'jan@example.com' from event returning id
         )
         insert into switchyard.lead_assignments (id, lead_id, agency_id, reason, explanation)
         select gen_random_uuid(), id, $3, 'round_robin', 'its turn' from lead",
    )
    .bind(event)
    .bind(lead)
    .bind(agency)
    .bind(format!("Jan {n}"))
    .execute(owner)
    .await
    .unwrap();
    lead
}

#[tokio::test]
async fn leads_are_listed_page_by_page_and_only_ones_own() {
    let front = Front::new().await;
    front.demo().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, them) = front.agency("they@other.example").await;
    let mut owner = front.owner().await;
    let mut leads = Vec::new();
    for n in 0..5 {
        leads.push(offered(&mut owner, me, n).await.to_string());
    }
    let other = offered(&mut owner, them, 9).await;
    leads.reverse();
    let (mut seen, mut path) = (Vec::new(), "/api/mobile/leads?limit=2".to_owned());
    for pages in 1.. {
        let page = json_of(front.get(&path).bearer_auth(&mine), 200).await;
        let items = page["data"]["items"].as_array().unwrap();
        seen.extend(items.iter().map(|l| l["id"].as_str().unwrap().to_owned()));
        match page["data"]["next"].as_str() {
            Some(next) => path = format!("/api/mobile/leads?limit=2&cursor={next}"),
            None => {
                assert_eq!(pages, 3);
                break;
            }
        }
    }
    assert_eq!(seen, leads);
    let path = format!("/api/mobile/leads/{other}");
    json_of(front.get(&path).bearer_auth(&theirs), 200).await;
    json_of(front.get(&path).bearer_auth(&mine), 404).await;
    json_of(front.put(&format!("{path}/accept"), &Value::Null).bearer_auth(&mine), 404).await;
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=x", "state=sold"] {
        let path = format!("/api/mobile/leads?{bad}");
        json_of(front.get(&path).bearer_auth(&mine), 400).await;
    }
    json_of(front.get("/api/mobile/leads/not-an-id").bearer_auth(&mine), 400).await;
}

#[tokio::test]
async fn a_lead_is_accepted_once_and_cannot_be_turned_down_then() {
    let front = Front::new().await;
    front.demo().await;
    let (token, agency) = front.agency("me@nowak.example").await;
    let lead = offered(&mut front.owner().await, agency, 1).await;
    let at = |verb: &str| {
        let path = format!("/api/mobile/leads/{lead}/{verb}");
        front.request(Method::PUT, &path).bearer_auth(&token)
    };
    for _ in 0..2 {
        let answer = json_of(at("accept"), 200).await;
        assert_eq!(answer["data"]["answer"], "accepted");
    }
    let refused = json_of(at("reject"), 409).await;
    assert_eq!(refused["error"]["code"], "already_answered");
    let accepted = front.get("/api/mobile/leads?state=accepted").bearer_auth(&token);
    assert_eq!(json_of(accepted, 200).await["data"]["items"][0]["id"], lead.to_string());
    let offers = front.get("/api/mobile/leads?state=assigned").bearer_auth(&token);
    assert_eq!(json_of(offers, 200).await["data"]["items"], json!([]));
}

#[tokio::test]
async fn a_lead_that_is_turned_down_goes_to_the_next_agency() {
    let front = Front::new().await;
    front.demo().await;
    let (token, agency) = front.agency("me@nowak.example").await;
    let mut owner = front.owner().await;
    let lead = offered(&mut owner, agency, 1).await;
    let path = format!("/api/mobile/leads/{lead}/reject");
    let long = json!({"note": "x".repeat(1_001)});
    json_of(front.put(&path, &long).bearer_auth(&token), 422).await;
    let note = json!({"note": "too far"});
    let sent = front.put(&path, &note).bearer_auth(&token).header("x-request-id", "reject-1");
    json_of(sent, 200).await;
    json_of(front.get(&format!("/api/mobile/leads/{lead}")).bearer_auth(&token), 404).await;
    let kept: String = sqlx::query_scalar("select note from switchyard.lead_assignments")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(kept, "too far");
    let next = "select count(*) from engine.jobs
                where kind = 'lead.distribute' and request_id = 'reject-1'";
    assert_eq!(count(&mut owner, next).await, 1);
}

#[tokio::test]
async fn territories_are_written_in_one_way_and_belong_to_their_agency() {
    let front = Front::new().await;
    let (mine, _) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let path = "/api/mobile/territories";
    let new = json!({"country": "pl", "postal_codes": ["00950", " 00-951 "]});
    let added = json_of(front.post(path, &new).bearer_auth(&mine), 201).await;
    assert_eq!(added["data"]["added"], 2);
    let again = json!({"country": "PL", "postal_code": "00-950"});
    assert_eq!(json_of(front.post(path, &again).bearer_auth(&mine), 201).await["data"]["added"], 0);
    let listed = json_of(front.get(path).bearer_auth(&mine), 200).await;
    let codes: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|t| t["postal_code"].clone()).collect();
    assert_eq!(codes, ["00-950", "00-951"]);
    assert_eq!(json_of(front.get(path).bearer_auth(&theirs), 200).await["data"], json!([]));
    let rescans = "select count(*) from engine.jobs where kind = 'leads.rescan_unassigned'";
    assert!(count(&mut front.owner().await, rescans).await >= 1);
    let remove = |path: &str, token: &str| {
        let path = format!("/api/mobile/territories/{path}");
        front.request(Method::DELETE, &path).bearer_auth(token)
    };
    json_of(remove("00-950", &theirs), 404).await;
    json_of(remove("00950?country=PL", &mine), 200).await;
    json_of(remove("00-950", &mine), 404).await;
    for bad in [
        json!({"country": "Nowhere", "postal_code": "1"}),
        json!({"country": "PL", "postal_code": "<script>"}),
        json!({"country": "PL"}),
        json!({"country": "PL", "postal_codes": vec!["1"; 1_001]}),
    ] {
        json_of(front.post(path, &bad).bearer_auth(&mine), 422).await;
    }
}
