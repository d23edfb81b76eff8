//! What is tried again, when, and what ends it: pauses, disabling, dead workers.

use super::support::{Hooks, policy, refuse, verified};
use chrono::{Duration as Span, Utc};
use std::sync::Arc;
use std::time::Duration;
use switchyard_catalog::line::Cause;
use switchyard_catalog::{TendWebhooks, outbound as manage};
use switchyard_domain::EndpointId;
use switchyard_providers::Providers;
use switchyard_queue::NewJob;
use switchyard_store::outbound::DeliveryState::{Delivered, Failed, Pending};
use switchyard_store::outbound::{self, EndpointState, ResendFault};
use switchyard_tests::fakes::{FakeSmtp, HttpStep};

/// How long the only waiting job waits, in seconds.
async fn waits(hooks: &Hooks) -> f64 {
    sqlx::query_scalar(
        "select extract(epoch from run_at - now())::float8 from engine.jobs where stage = 1",
    )
    .fetch_one(&mut hooks.line.test.owner().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_waits_are_the_standards_and_a_longer_wish_is_granted() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    let wish = |secs: &str| HttpStep::Refuse {
        status: 429,
        code: 0,
        message: "slow down".into(),
        retry_after: Some(secs.into()),
    };
    hooks.receiver.script().push([refuse(500), refuse(302), wish("7200"), wish("1")]);
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    for (least, most) in [(5.0, 6.0), (300.0, 360.0), (7_200.0, 8_640.0), (7_200.0, 8_640.0)] {
        let wait = waits(&hooks).await;
        assert!((least - 2.0..=most).contains(&wait), "{wait} is not within {least} and {most}");
        assert!(hooks.line.run().await.is_empty(), "not before its time");
        hooks.line.run_retries().await;
    }
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
    assert_eq!(hooks.receiver.record().all().len(), 5, "a redirect was not followed");
    let message = hooks.deliveries(endpoint).await[0].message;
    let log = outbound::attempts(&mut hooks.tx(None).await, endpoint, message).await.unwrap();
    let statuses: Vec<_> = log.iter().rev().map(|a| a.status).collect();
    assert_eq!(statuses, [Some(500), Some(302), Some(429), Some(429), Some(200)]);
    assert_eq!(log[4].body.as_deref(), Some("{\"error\":\"not now\"}"));
    assert!(log.iter().all(|a| a.duration_ms.is_some()));
}

#[tokio::test]
async fn a_silent_endpoint_is_cut_off_and_tried_again() {
    let policy = switchyard_catalog::outbound::GuardPolicy {
        timeout: Duration::from_millis(300),
        ..policy()
    };
    let hooks = Hooks::over(Providers::capture(), policy).await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    hooks.receiver.script().push([HttpStep::AcceptLate { ms: 600_000 }]);
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    let delivery = &hooks.deliveries(endpoint).await[0];
    assert_eq!(delivery.state, Pending);
    assert!(delivery.last_error.as_ref().unwrap().contains("no answer came"), "{delivery:?}");
    hooks.line.run_retries().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
}

#[tokio::test]
async fn only_the_beginning_of_an_answer_is_kept() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    let text = format!("a\0{}", "ż".repeat(300_000));
    hooks.receiver.script().push([HttpStep::Say { status: 200, text }]);
    let [message] = hooks.tests(endpoint, 1).await[..] else { panic!("one") };
    hooks.line.run().await;
    let log = outbound::attempts(&mut hooks.tx(None).await, endpoint, message).await.unwrap();
    let body = log[0].body.clone().unwrap();
    assert!(
        body.starts_with("a\u{fffd}ż") && (2_000..=2_048).contains(&body.len()),
        "{}",
        body.len()
    );
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_tells_its_owner() {
    let smtp = FakeSmtp::start().await;
    let hooks = Hooks::over(Providers::from_config(&smtp.config(None)).unwrap(), policy()).await;
    let agency = hooks.line.bare_agency("acme", false).await;
    let (endpoint, _) = hooks.endpoint(Some(agency), &["*"], false).await;
    hooks.receiver.script().push([refuse(410)]);
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    let found = hooks.find(endpoint).await;
    assert_eq!(found.state, EndpointState::Disabled);
    assert_eq!(found.reason.as_deref(), Some("the endpoint answered 410 Gone"));
    let [mail] = &smtp.record().all()[..] else { panic!("one mail") };
    assert_eq!(mail.recipient, "office@acme.test");
    assert!(mail.body["text"].as_str().unwrap().contains("410 Gone"), "{:?}", mail.body);

    // What happens meanwhile waits for it, and what it did not take too.
    let mut tx = hooks.tx(None).await;
    let refused = manage::test(&mut tx, endpoint, &Cause::default()).await.err().unwrap();
    assert!(refused.to_string().contains("disabled"), "{refused}");
    drop(tx);
    hooks.line.run_retries().await;
    assert_eq!(hooks.receiver.record().all().len(), 1, "nothing is sent to it");
    hooks.resume(endpoint).await;
    hooks.line.run().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
    assert_eq!(smtp.record().all().len(), 1);
}

/// Makes the endpoint's failing stretch older than it is.
async fn age(hooks: &Hooks, endpoint: EndpointId, failing_days: f64, last_hours: f64) {
    sqlx::query(
        "update switchyard.webhook_endpoints set failing_since = now() - make_interval(secs => $2),
           last_failure_at = now() - make_interval(secs => $3) where id = $1",
    )
    .bind(endpoint.0)
    .bind(failing_days * 86_400.0)
    .bind(last_hours * 3_600.0)
    .execute(&mut hooks.line.test.owner().await)
    .await
    .unwrap();
}

#[tokio::test]
async fn an_endpoint_that_fails_for_five_days_is_disabled() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    hooks.receiver.script().push((0..4).map(|_| refuse(500)));
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    // Not long enough, then too far apart to be one stretch, then after a success.
    age(&hooks, endpoint, 4.9, 1.0).await;
    hooks.line.run_retries().await;
    assert_eq!(hooks.state(endpoint).await, EndpointState::Active);
    age(&hooks, endpoint, 30.0, 49.0).await;
    hooks.line.run_retries().await;
    assert_eq!(hooks.state(endpoint).await, EndpointState::Active);
    let since = hooks.find(endpoint).await.failing_since.unwrap();
    assert!(Utc::now() - since < Span::minutes(5), "the count begins anew");
    age(&hooks, endpoint, 5.1, 1.0).await;
    hooks.line.run_retries().await;
    assert_eq!(hooks.state(endpoint).await, EndpointState::Disabled);
    hooks.resume(endpoint).await;
    assert_eq!(hooks.find(endpoint).await.failing_since, None);
    hooks.line.run().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
}

#[tokio::test]
async fn nothing_is_sent_to_a_paused_endpoint_and_everything_when_it_goes_on() {
    let hooks = Hooks::new().await;
    let agency = hooks.line.agency("mine", &["00-950"]).await;
    for ordered in [false, true] {
        let (endpoint, _) = hooks.endpoint(Some(agency), &["*"], ordered).await;
        hooks.receiver.record().clear();
        hooks.receiver.script().push([refuse(500)]);
        hooks.tests(endpoint, 2).await; // enqueued, not run yet
        hooks.line.run().await; // one waits for its next attempt
        hooks.tests(endpoint, 1).await;
        hooks.pause(endpoint).await;
        let before = hooks.receiver.record().all().len();
        hooks.lead(&format!("p-{ordered}"), "00-950").await;
        hooks.line.run_retries().await;
        assert_eq!(hooks.receiver.record().all().len(), before, "nothing after the pause");
        let why = hooks.deliveries(endpoint).await.last().unwrap().why();
        assert!(why.contains("paused"), "{why}");
        hooks.resume(endpoint).await;
        hooks.line.run().await;
        assert_eq!(hooks.states(endpoint).await, [Delivered; 4], "ordered: {ordered}");
        hooks.pause(endpoint).await;
    }
}

#[tokio::test]
async fn what_was_given_up_is_sent_again_since_a_time() {
    let hooks = Hooks::new().await;
    for ordered in [false, true] {
        let (endpoint, secret) = hooks.endpoint(None, &["webhook.test"], ordered).await;
        let sent = hooks.tests(endpoint, 3).await;
        sqlx::query(
            "update switchyard.outbound_deliveries set state = 'failed', job_id = null,
               settled_at = now() - case when message_id = $1 then interval '2 days' else '1 hour' end
             where endpoint_id = $2",
        )
        .bind(sent[0].0)
        .bind(endpoint.0)
        .execute(&mut hooks.line.test.owner().await)
        .await
        .unwrap();
        hooks.line.run().await;
        assert_eq!(hooks.states(endpoint).await, [Failed; 3], "their jobs send nothing any more");
        hooks.receiver.record().clear();
        let mut tx = hooks.tx(None).await;
        let since = Utc::now() - Span::days(1);
        manage::resend_failed(&mut tx, endpoint, since, &Cause::default()).await.unwrap();
        tx.commit().await.unwrap();
        hooks.line.run().await;
        assert_eq!(hooks.states(endpoint).await, [Failed, Delivered, Delivered]);
        let came = hooks.receiver.record().all();
        assert_eq!(came.len(), 2);
        assert!(came.iter().all(|r| verified(r, &secret)));
    }
}

#[tokio::test]
async fn one_delivery_is_sent_again_however_it_stands() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    hooks.receiver.script().push([refuse(500), refuse(500)]);
    let [message] = hooks.tests(endpoint, 1).await[..] else { panic!("one") };
    hooks.line.run().await;
    let resend = async || {
        let mut tx = hooks.tx(None).await;
        let done = manage::resend(&mut tx, endpoint, message, &Cause::default()).await;
        if done.is_ok() {
            tx.commit().await.unwrap();
        }
        done
    };
    resend().await.unwrap(); // it waits for its next attempt: sent now
    hooks.line.run().await;
    assert_eq!(hooks.receiver.record().all().len(), 2);
    resend().await.unwrap();
    hooks.line.run().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
    resend().await.unwrap(); // it was taken: sent once more, with the same id
    hooks.line.run().await;
    hooks.line.run_retries().await; // the first job's turn comes, and it has nothing to do
    let counts = hooks.receiver.record().counts();
    assert_eq!((counts.requests, counts.messages), (4, 1));
    hooks.pause(endpoint).await;
    assert!(matches!(resend().await, Err(ResendFault::NotActive(EndpointState::Paused))));
}

#[tokio::test]
async fn a_worker_that_dies_during_the_call_leaves_it_to_the_next_with_the_same_id() {
    let hooks = Hooks::new().await;
    let (endpoint, secret) = hooks.endpoint(None, &["*"], false).await;
    hooks.receiver.script().push([HttpStep::AcceptLate { ms: 600_000 }]);
    let [message] = hooks.tests(endpoint, 1).await[..] else { panic!("one") };
    let hooks = Arc::new(hooks);
    let presence = hooks.line.register().await;
    let job = hooks.line.claim(presence.id, &[]).await.pop().unwrap();
    let dying = {
        let (hooks, job) = (Arc::clone(&hooks), job.clone());
        tokio::spawn(async move { hooks.line.run_claimed(job).await })
    };
    hooks.receiver.record().wait_for(1).await;
    let mut tx = hooks.tx(None).await;
    let under_way = manage::resend(&mut tx, endpoint, message, &Cause::default()).await;
    assert!(matches!(under_way, Err(ResendFault::UnderWay)), "{under_way:?}");
    drop(tx);
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());

    let heir = hooks.line.register().await;
    let again = hooks.line.claim(heir.id, &[presence.id]).await.pop().expect("the dead worker's");
    hooks.line.run_claimed(again).await.unwrap();
    let came = hooks.receiver.record().all();
    assert_eq!(came.len(), 2);
    assert_eq!(came[0].marker, came[1].marker);
    assert!(verified(&came[1], &secret));
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
    let log = outbound::attempts(&mut hooks.tx(None).await, endpoint, message).await.unwrap();
    assert_eq!(log.len(), 2);
    assert!(log[1].error.as_ref().unwrap().contains("may have arrived"), "{log:?}");
    // The first worker was only frozen: it can write nothing any more.
    assert!(hooks.line.run_claimed(job).await.is_err());
    assert_eq!(hooks.receiver.record().all().len(), 2);
}

async fn tend(hooks: &Hooks) {
    let mut tx = hooks.tx(None).await;
    tx.enqueue(NewJob::of(&TendWebhooks {}).unwrap()).await.unwrap();
    tx.commit().await.unwrap();
    hooks.line.run().await;
}

#[tokio::test]
async fn the_chore_mends_what_crossed_and_drops_what_is_old() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], true).await;
    let owner = || async { hooks.line.test.owner().await };
    // A delivery that no job will send.
    hooks.tests(endpoint, 2).await;
    for sql in [
        "update switchyard.outbound_deliveries set job_id = null",
        "delete from engine.jobs where kind = 'webhook.send'",
        "delete from engine.limits",
    ] {
        sqlx::query(sql).execute(&mut owner().await).await.unwrap();
    }
    tend(&hooks).await;
    assert_eq!(hooks.states(endpoint).await, [Delivered; 2]);
    let limit: i32 =
        sqlx::query_scalar("select max_running from engine.limits where partition = $1")
            .bind(endpoint.to_string())
            .fetch_one(&mut owner().await)
            .await
            .unwrap();
    assert_eq!(limit, 1);

    // One whose job is a dead letter.
    let sent = hooks.tests(endpoint, 2).await;
    sqlx::query("update engine.jobs set stage = 5, last_error = 'it took its worker down' where kind = 'webhook.send'")
        .execute(&mut owner().await)
        .await
        .unwrap();
    tend(&hooks).await;
    assert_eq!(hooks.states(endpoint).await, [Delivered, Delivered, Failed, Delivered]);
    let all = hooks.deliveries(endpoint).await;
    let dead = all.iter().find(|d| d.message == sent[0]).unwrap();
    assert!(dead.why().contains("took its worker down"), "{}", dead.why());

    // After a month nothing is kept, and a removed endpoint leaves no limit.
    sqlx::query("update switchyard.outbound_messages set created_at = now() - interval '31 days'")
        .execute(&mut owner().await)
        .await
        .unwrap();
    let mut tx = hooks.tx(None).await;
    manage::remove(&mut tx, endpoint).await.unwrap();
    tx.commit().await.unwrap();
    tend(&hooks).await;
    assert_eq!(hooks.deliveries(endpoint).await.len(), 0);
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from engine.limits) + (select count(*) from switchyard.outbound_attempts)",
    )
    .fetch_one(&mut owner().await)
    .await
    .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn without_the_key_a_webhook_waits_and_no_attempt_is_used_up() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    hooks.tests(endpoint, 1).await;
    // A secret of another master key.
    let sealed = switchyard_domain::secrets::MasterKey::new([8; 32]).seal("x", &[1; 32]);
    sqlx::query("update switchyard.webhook_endpoints set secret = $1")
        .bind(sealed)
        .execute(&mut hooks.line.test.owner().await)
        .await
        .unwrap();
    hooks.line.run().await;
    assert_eq!(hooks.receiver.record().all().len(), 0);
    let delivery = &hooks.deliveries(endpoint).await[0];
    assert!(delivery.why().contains("master key"), "{}", delivery.why());
    assert_eq!(hooks.find(endpoint).await.failing_since, None, "it is not the endpoint's fault");
    let mut tx = hooks.tx(None).await;
    manage::rotate(&mut tx, &super::support::key(), endpoint).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query(
        "update switchyard.webhook_endpoints set old_secret = null, old_secret_until = null",
    )
    .execute(&mut hooks.line.test.owner().await)
    .await
    .unwrap();
    hooks.line.run_retries().await;
    assert_eq!(hooks.states(endpoint).await, [Delivered]);
}
