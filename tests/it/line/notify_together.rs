//! Messages whose sending begins at the same moment share their commits, and nothing else.

use super::support::{Line, person};
use std::collections::BTreeMap;
use switchyard_domain::AgentId;
use switchyard_providers::Providers;
use switchyard_queue::{ClaimedJob, Outcome};
use switchyard_store::agents;
use switchyard_tests::fakes::{FakeTwilio, HttpStep};
use uuid::Uuid;

const CODES: [&str; 4] = ["00-950", "00-951", "00-952", "00-953"];
const LEADS: usize = 40;

/// Four agencies, each with an agent who has WhatsApp, and leads for each, up to the jobs that tell them. The
/// provider takes its time, so that those who began together are answered together.
async fn up_to_the_messages() -> (Line, FakeTwilio, Vec<ClaimedJob>) {
    let twilio = FakeTwilio::start().await;
    twilio.script().push((0..LEADS).map(|_| HttpStep::AcceptLate { ms: 300 }));
    let line = Line::with_providers(Providers::from_config(&twilio.config()).unwrap()).await;
    for (n, code) in CODES.iter().enumerate() {
        let agency = line.bare_agency(&format!("agency{n}"), false).await;
        line.cover(agency, &[*code]).await;
        let mut tx = line.tenant(agency).await;
        let phone = format!("+4860010020{n}");
        agents::upsert(&mut tx, AgentId::new(), agency, "Ann", None, Some(&phone)).await.unwrap();
        tx.commit().await.unwrap();
    }
    line.run().await; // the searches that new territories start
    let delivery = |n: usize| {
        let id = format!("p{n}");
        line.delivery(&id, &person(&id, Some(CODES[n % CODES.len()])))
    };
    let new: Vec<_> = (0..LEADS).map(delivery).collect();
    switchyard_store::events::ingest(&line.db, new).await.unwrap();
    let presence = line.register().await;
    let mut telling = Vec::new();
    while telling.len() < LEADS {
        let (tell, others): (Vec<_>, Vec<_>) = line
            .claim(presence.id, &[])
            .await
            .into_iter()
            .partition(|job| job.kind == "notify.whatsapp");
        assert!(!tell.is_empty() || !others.is_empty(), "{} of {LEADS}", telling.len());
        telling.extend(tell);
        let done = futures::future::join_all(others.into_iter().map(|job| line.run_claimed(job)));
        assert!(done.await.iter().all(Result::is_ok));
    }
    (line, twilio, telling)
}

async fn run_all(line: &Line, jobs: &[ClaimedJob]) -> Vec<switchyard_queue::JobResult> {
    futures::future::join_all(jobs.iter().map(|job| line.run_claimed(job.clone()))).await
}

fn message(job: &ClaimedJob) -> Uuid {
    job.args["message"].as_str().unwrap().parse().unwrap()
}

/// Where each message stands, and how often its sending was begun.
async fn states(line: &Line) -> BTreeMap<Uuid, (String, i32)> {
    let rows: Vec<(Uuid, String, i32)> =
        sqlx::query_as("select id, state, attempts from switchyard.messages")
            .fetch_all(&mut line.test.owner().await)
            .await
            .unwrap();
    rows.into_iter().map(|(id, state, attempts)| (id, (state, attempts))).collect()
}

#[tokio::test]
async fn messages_of_many_agencies_share_commits_and_each_is_sent_once() {
    let (line, twilio, jobs) = up_to_the_messages().await;
    let answers = run_all(&line, &jobs).await;
    assert!(answers.iter().all(|a| matches!(a, Ok(Outcome::Settled(_)))), "{answers:?}");
    let sent = ("sent".to_owned(), 1);
    assert!(states(&line).await.values().all(|stands| *stands == sent));
    let counts = twilio.record().counts();
    assert_eq!((counts.requests, counts.messages), (LEADS, LEADS));
    let (named, commits, done): (i64, i64, i64) = sqlx::query_as(
        "select count(distinct m.provider_id), count(distinct m.sent_at), count(*) filter (where
           e.state = 'done' and e.result->>'provider_id' = m.provider_id)
         from switchyard.messages m join engine.effects e on e.key = 'message ' || m.id",
    )
    .fetch_one(&mut line.test.owner().await)
    .await
    .unwrap();
    assert_eq!((named, done), (LEADS as i64, LEADS as i64), "each has its own answer");
    assert!(commits < LEADS as i64 / 2, "{commits} commits for {LEADS} messages");
    crate::engine::support::audit(&mut line.test.owner().await).await;
}

#[tokio::test]
async fn what_is_not_as_usual_is_told_apart_and_keeps_nobody_from_being_sent() {
    let (line, twilio, mut jobs) = up_to_the_messages().await;
    let mut owner = line.test.owner().await;
    // An earlier attempt began this one and nobody knows the end; that one is sent already; and this
    // job's tenant is not the agency whose message it names.
    let (doubtful, done, foreign) = (message(&jobs[3]), message(&jobs[4]), message(&jobs[5]));
    let intent =
        "insert into engine.effects (key, job_id, fence, state) values ($1, $2, 1, 'intent')";
    let key = format!("message {doubtful}");
    sqlx::query(intent).bind(key).bind(Uuid::now_v7()).execute(&mut owner).await.unwrap();
    let sent = "update switchyard.messages set state = 'sent', provider = 'x', sent_at = now()
                where id = $1";
    sqlx::query(sent).bind(done).execute(&mut owner).await.unwrap();
    let other = jobs.iter().find(|job| job.tenant != jobs[5].tenant).unwrap().tenant;
    jobs[5].tenant = other;

    let answers = run_all(&line, &jobs).await;
    for (job, answer) in jobs.iter().zip(&answers) {
        match answer {
            Ok(Outcome::Settled(_)) => assert_ne!(message(job), foreign),
            Err(fault) => {
                assert_eq!((message(job), fault.to_string().as_str()), (foreign, "not found"));
            }
            other => panic!("{other:?}"),
        }
    }
    for (id, (state, _)) in states(&line).await {
        let expected = match id {
            id if id == doubtful => "unknown",
            id if id == foreign => "queued",
            _ => "sent",
        };
        assert_eq!(state, expected, "{id}");
    }
    let counts = twilio.record().counts();
    assert_eq!((counts.requests, counts.messages), (LEADS - 3, LEADS - 3));
}

#[tokio::test]
async fn a_message_whose_intent_was_committed_by_somebody_who_never_said_so_is_sent() {
    let (line, twilio, jobs) = up_to_the_messages().await;
    let mut owner = line.test.owner().await;
    // As it is when whoever led the transaction of several was stopped while it was committed.
    let intent =
        "insert into engine.effects (key, job_id, fence, state) values ($1, $2, $3, 'intent')";
    for job in &jobs {
        let key = format!("message {}", message(job));
        let intent = sqlx::query(intent).bind(key).bind(job.id.0).bind(job.fence.0);
        intent.execute(&mut owner).await.unwrap();
    }
    let answers = run_all(&line, &jobs).await;
    assert!(answers.iter().all(|a| matches!(a, Ok(Outcome::Settled(_)))), "{answers:?}");
    assert!(states(&line).await.values().all(|(state, _)| state == "sent"));
    assert_eq!(twilio.record().counts().messages, LEADS);
}
