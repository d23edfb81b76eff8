//! A paused portal's deliveries wait, and go their way when it resumes; old refusals are forgotten.

use super::support::{Line, person};
use serde_json::json;
use switchyard_catalog::line::{self, Cause};
use switchyard_store::events::{self, EventState};
use switchyard_store::refusals::{self, NewCount, NewRefusal};

#[tokio::test]
async fn what_came_during_a_pause_becomes_leads_after_it() {
    let line = Line::new().await;
    line.agency("acme", &["00-950"]).await;
    line.run().await;
    let mut tx = line.platform().await;
    assert!(line::pause(&mut tx, line.portal).await.unwrap());
    assert!(!line::pause(&mut tx, line.portal).await.unwrap());
    tx.commit().await.unwrap();
    let batch: Vec<_> = (0..7)
        .map(|n| line.delivery(&format!("p{n}"), &person(&format!("p{n}"), Some("00-950"))))
        .collect();
    events::ingest(&line.db, batch).await.unwrap();
    assert_eq!(line.run().await, [], "nothing is due while it is paused");
    assert!(line.events().await.iter().all(|e| e.state == EventState::Held));

    let mut tx = line.platform().await;
    assert!(line::resume(&mut tx, line.portal, &Cause::default()).await.unwrap());
    tx.commit().await.unwrap();
    line.run().await;
    assert!(line.events().await.iter().all(|e| e.state == EventState::Processed));
    assert_eq!(line.leads().await.len(), 7);
}

#[tokio::test]
async fn a_release_stops_when_the_portal_is_paused_again() {
    let line = Line::new().await;
    let mut tx = line.platform().await;
    line::pause(&mut tx, line.portal).await.unwrap();
    tx.commit().await.unwrap();
    events::ingest(&line.db, vec![line.delivery("a", &person("a", None))]).await.unwrap();
    let mut tx = line.platform().await;
    line::resume(&mut tx, line.portal, &Cause::default()).await.unwrap();
    line::pause(&mut tx, line.portal).await.unwrap();
    tx.commit().await.unwrap();
    let ran = line.run().await;
    assert_eq!(ran, [("portal.release_held".to_owned(), "settled")]);
    assert_eq!(line.events().await[0].state, EventState::Held);
}

#[tokio::test]
async fn old_refusals_and_counts_are_forgotten() {
    let line = Line::new().await;
    let refusal = |code: &str| NewRefusal {
        portal: line.portal,
        address: "203.0.113.7".into(),
        method: "POST".into(),
        status: 401,
        code: code.into(),
        message: "no".into(),
        request_id: None,
        headers: json!({}),
        body: Some(vec![0, 255]),
        body_bytes: Some(2),
    };
    let count = |outcome: &str| NewCount { portal: line.portal, outcome: outcome.into(), n: 2 };
    let mut tx = line.platform().await;
    let counts = [count("accepted"), count("old"), count("accepted")];
    refusals::record(&mut tx, &[refusal("old"), refusal("new")], &counts).await.unwrap();
    tx.commit().await.unwrap();
    let mut owner = line.test.owner().await;
    for sql in [
        "update switchyard.refused_requests set at = now() - interval '31 days' where code = 'old'",
        "update switchyard.delivery_counts set minute = now() - interval '91 days'
         where outcome = 'old'",
    ] {
        assert_eq!(sqlx::query(sql).execute(&mut owner).await.unwrap().rows_affected(), 1);
    }
    let mut tx = line.platform().await;
    tx.enqueue(switchyard_catalog::registry().parse("refusals.expire", json!({})).unwrap())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    line.run().await;
    let mut tx = line.platform().await;
    let left = refusals::list(&mut tx, line.portal, None, 10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].request.code.as_str(), &left[0].request.body),
        ("new", &Some(vec![0, 255]))
    );
    let circuit = &refusals::circuits(&mut tx, None).await.unwrap()[0];
    assert_eq!((circuit.taken, circuit.refused, circuit.error_rate()), (4, 0, Some(0.0)));
    let rows: i64 = sqlx::query_scalar("select count(*) from switchyard.delivery_counts")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}
