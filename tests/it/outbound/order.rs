//! Order where it is wanted, and none where it is not.

use super::support::{Hooks, refuse};
use switchyard_domain::outbound::webhook_id;
use switchyard_store::outbound::DeliveryState::{Delivered, Failed, Pending};
use switchyard_tests::fakes::HttpStep;

#[tokio::test]
async fn a_failing_message_holds_back_those_behind_it_and_says_so() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], true).await;
    hooks.receiver.script().push([refuse(500), refuse(503)]);
    let sent = hooks.tests(endpoint, 4).await;
    hooks.line.run().await;
    assert_eq!(hooks.receiver.record().all().len(), 1, "only the first was tried");
    assert_eq!(hooks.states(endpoint).await, [Pending; 4]);
    let why: Vec<_> = hooks.deliveries(endpoint).await.iter().map(|d| d.why()).collect();
    assert!(why[0].starts_with("Attempt 1 failed: it answered 500. Tried again at"), "{}", why[0]);
    assert!(why[1].contains(&webhook_id(sent[0])), "{}", why[1]);

    hooks.line.run_retries().await;
    assert_eq!(hooks.receiver.record().all().len(), 2);
    hooks.line.run_retries().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered; 4]);
    let came: Vec<_> = hooks.receiver.record().all().into_iter().map(|r| r.marker).collect();
    let expected = [0, 0, 0, 1, 2, 3].map(|n: usize| webhook_id(sent[n]));
    assert_eq!(came, expected);
}

#[tokio::test]
async fn many_workers_at_once_keep_the_order() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], true).await;
    let sent = hooks.tests(endpoint, 20).await;
    let run = || hooks.line.run();
    tokio::join!(run(), run(), run(), run());
    hooks.line.run().await;
    let came: Vec<_> = hooks.receiver.record().all().into_iter().map(|r| r.marker).collect();
    assert_eq!(came, sent.iter().map(|m| webhook_id(*m)).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_order_a_failing_message_holds_nobody_back() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    hooks.receiver.script().push([refuse(500)]);
    hooks.tests(endpoint, 4).await;
    hooks.line.run().await;
    let states = hooks.states(endpoint).await;
    assert_eq!(states.iter().filter(|s| **s == Delivered).count(), 3, "{states:?}");
    hooks.line.run_retries().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered; 4]);
}

#[tokio::test]
async fn a_message_that_is_given_up_lets_the_next_one_go() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], true).await;
    hooks.receiver.script().push((0..10).map(|_| refuse(500)));
    let sent = hooks.tests(endpoint, 2).await;
    hooks.line.run().await;
    for _ in 0..9 {
        hooks.line.run_retries().await;
    }
    assert_eq!(hooks.states(endpoint).await, [Failed, Delivered]);
    let dead: i64 = sqlx::query_scalar("select count(*) from engine.jobs where stage = 5")
        .fetch_one(&mut hooks.line.test.owner().await)
        .await
        .unwrap();
    assert_eq!(dead, 0, "an endpoint's trouble is no dead letter of ours");

    // Sent again it goes to the end of the line.
    let mut tx = hooks.tx(None).await;
    let cause = switchyard_catalog::line::Cause::default();
    switchyard_catalog::outbound::resend(&mut tx, endpoint, sent[0], &cause).await.unwrap();
    tx.commit().await.unwrap();
    hooks.line.run().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered; 2]);
    assert_eq!(hooks.receiver.record().all().last().unwrap().marker, webhook_id(sent[0]));
}

#[tokio::test]
async fn an_endpoint_is_called_one_at_a_time_if_it_wants_order_and_eight_if_not() {
    let hooks = Hooks::new().await;
    for (ordered, most) in [(true, 1), (false, 8)] {
        let (endpoint, _) = hooks.endpoint(None, &["webhook.test"], ordered).await;
        hooks.receiver.script().push((0..20).map(|_| HttpStep::Accept));
        hooks.tests(endpoint, 20).await;
        let presence = hooks.line.register().await;
        let claimed = hooks.line.claim(presence.id, &[]).await.len();
        assert_eq!(claimed, most, "ordered: {ordered}");
        let heir = hooks.line.register().await;
        for job in hooks.line.claim(heir.id, &[presence.id]).await {
            hooks.line.run_claimed(job).await.unwrap();
        }
        hooks.line.run().await;
        hooks.receiver.script().clear();
    }
}
