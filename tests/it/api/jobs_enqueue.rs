//! Enqueuing over HTTP: one job or many, once for each idempotency key.

use super::support::{Front, config, count, json_of};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::sync::Arc;
use switchyard_queue::JobId;
use switchyard_store::{maintenance, sealing};
use switchyard_tests::TestDb;
use switchyard_tests::kit::ring;
use uuid::Uuid;

const ONE: &str = "/api/admin/jobs";
const MANY: &str = "/api/admin/jobs/batch";
const JOBS: &str = "select count(*) from engine.jobs";

struct Desk {
    front: Front,
    token: String,
}

impl Desk {
    async fn new() -> Self {
        let front = Front::new().await;
        let token = front.admin().await;
        Self { front, token }
    }

    fn ask(&self, path: &str, body: &Value) -> RequestBuilder {
        self.front.post(path, body).bearer_auth(&self.token)
    }

    fn once(&self, path: &str, key: &str, body: &Value) -> RequestBuilder {
        self.ask(path, body).header("idempotency-key", key)
    }

    async fn refused(&self, path: &str, body: &Value) -> Value {
        let answer = json_of(self.ask(path, body), 422).await;
        answer["error"].clone()
    }
}

fn distribute(lead: Uuid) -> Value {
    json!({"kind": "lead.distribute", "args": {"lead": lead}})
}

#[tokio::test]
async fn what_is_said_of_a_job_reaches_it() {
    let desk = Desk::new().await;
    let tenant = Uuid::now_v7();
    let new = json!({
        "kind": "nobody.knows", "queue": "elsewhere", "args": {"n": 1}, "partition": "p",
        "priority": -5, "max_attempts": 3, "timeout_seconds": 90, "unique_key": "one",
        "tenant": tenant, "run_at": "2026-12-31T00:00:00Z", "deadline_seconds": 7200,
    });
    let made = json_of(desk.ask(ONE, &new), 201).await;
    let id = made["data"]["id"].as_str().unwrap();
    let path = format!("/api/admin/jobs/{id}");
    let shown = json_of(desk.front.get(&path).bearer_auth(&desk.token), 200).await;
    let job = &shown["data"]["job"];
    assert_eq!((&job["queue"], &job["partition"]), (&json!("elsewhere"), &json!("p")));
    assert_eq!((&job["priority"], &job["max_attempts"]), (&json!(-5), &json!(3)));
    assert_eq!((&job["timeout_ms"], &job["tenant"]), (&json!(90_000), &json!(tenant)));
    assert_eq!(job["unique_key"], "nobody.knows \"one\"");
    assert_eq!(job["run_at"], "2026-12-31T00:00:00Z");
    assert!(job["deadline"].is_string(), "{job}");
    assert_eq!(shown["data"]["args"], json!({"n": 1}));

    let again = json_of(desk.ask(ONE, &new), 200).await;
    assert_eq!(again["data"], json!({"id": id, "inserted": false, "outcome": "standing"}));
    assert_eq!(count(&mut desk.front.owner().await, JOBS).await, 1);
}

#[tokio::test]
async fn a_job_that_makes_no_sense_is_refused_in_the_envelope() {
    let desk = Desk::new().await;
    let with = |name: &str, value: Value| {
        let mut new = distribute(Uuid::now_v7());
        new[name] = value;
        new
    };
    for wrong in [
        json!({"kind": "nobody.knows"}),
        json!({"kind": "two words", "queue": "q"}),
        json!({"kind": "x", "queue": "q", "unique_for_seconds": 60}),
        json!({"kind": "x", "queue": "q", "replace_args": true}),
        json!({"kind": "lead.distribute", "args": {"lead": 7}}),
        with("queue", json!("No Queue")),
        with("max_attempts", json!(0)),
        with("timeout_seconds", json!(0)),
        with("delay_seconds", json!(40_000_000)),
        with("run_at", json!("2199-01-01T00:00:00Z")),
    ] {
        assert_eq!(desk.refused(ONE, &wrong).await["code"], "invalid_job", "{wrong}");
    }
    let both =
        json!({"kind": "x", "queue": "q", "delay_seconds": 1, "run_at": "2026-12-31T00:00:00Z"});
    assert_eq!(desk.refused(ONE, &both).await["code"], "invalid_job");
    assert_eq!(desk.refused(ONE, &with("color", json!("red"))).await["code"], "invalid_body");
    let zero = json!({"kind": "x", "queue": "q", "args": {"a": "\u{0}"}});
    assert_eq!(desk.refused(ONE, &zero).await["code"], "zero_byte");
    let blank = desk.ask(ONE, &distribute(Uuid::now_v7())).header("idempotency-key", "a b");
    assert_eq!(json_of(blank, 400).await["error"]["code"], "invalid_idempotency_key");
    let (agency, _) = desk.front.agency("biuro@nowak.example").await;
    let stranger = desk.front.post(MANY, &json!({"jobs": []})).bearer_auth(agency);
    assert_eq!(json_of(stranger, 403).await["error"]["code"], "forbidden");
    assert_eq!(count(&mut desk.front.owner().await, JOBS).await, 0);
}

#[tokio::test]
async fn the_same_request_again_has_its_effect_once() {
    let desk = Desk::new().await;
    // Not unique by itself.
    let new = json!({"kind": "x", "queue": "q", "args": {"a": 1, "b": 2}});
    let first = json_of(desk.once(ONE, "key-1", &new), 201).await;
    let same = json!({"queue": "q", "kind": "x", "args": {"b": 2, "a": 1}});
    let again = json_of(desk.once(ONE, "key-1", &same), 200).await;
    assert_eq!(
        again["data"],
        json!({"id": first["data"]["id"], "inserted": false, "outcome": "standing"})
    );

    let other = json!({"kind": "x", "queue": "q", "args": {"a": 2}});
    let reused = json_of(desk.once(ONE, "key-1", &other), 422).await;
    assert_eq!(reused["error"]["code"], "idempotency_key_reused");
    json_of(desk.once(ONE, "key-2", &new), 201).await;
    // A request that was refused has used nothing up.
    let wrong = json!({"kind": "lead.distribute", "args": {}});
    json_of(desk.once(ONE, "key-3", &wrong), 422).await;
    json_of(desk.once(ONE, "key-3", &new), 201).await;
    assert_eq!(count(&mut desk.front.owner().await, JOBS).await, 3);
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day() {
    let desk = Desk::new().await;
    let new = json!({"kind": "x", "queue": "q"});
    let db = &desk.front.test.db;
    json_of(desk.once(ONE, "key", &new), 201).await;
    maintenance::forget_lapsed(db).await.unwrap();
    json_of(desk.once(ONE, "key", &new), 200).await;
    sqlx::raw_sql("update engine.requests set created_at = created_at - interval '1 day'")
        .execute(&mut desk.front.owner().await)
        .await
        .unwrap();
    assert_eq!(maintenance::forget_lapsed(db).await.unwrap(), 1);
    json_of(desk.once(ONE, "key", &new), 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_same_requests_at_once_one_has_the_effect() {
    let desk = Desk::new().await;
    let new = json!({"jobs": [{"kind": "x", "queue": "q"}, {"kind": "y", "queue": "q"}]});
    let asked = (0..6).map(|_| desk.once(MANY, "storm", &new).send());
    let answers = futures::future::join_all(asked).await;
    let mut statuses = Vec::new();
    let mut told = Vec::new();
    for answer in answers {
        let answer = answer.unwrap();
        statuses.push(answer.status().as_u16());
        let body: Value = answer.json().await.unwrap();
        told.push(body["data"]["jobs"][1]["id"].clone());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
    told.dedup();
    assert_eq!(told.len(), 1, "all hear of the same job");
    assert_eq!(count(&mut desk.front.owner().await, JOBS).await, 2);
}

#[tokio::test]
async fn ten_thousand_jobs_in_one_request() {
    let desk = Desk::new().await;
    let lead = Uuid::now_v7();
    let mut jobs: Vec<Value> = (0..9_998)
        .map(|n| json!({"kind": "x", "queue": "q", "args": {"n": n, "text": "x".repeat(100)}}))
        .collect();
    jobs.extend([distribute(lead), distribute(lead)]);
    let made = json_of(desk.ask(MANY, &json!({"jobs": jobs})), 201).await;
    let answers = made["data"]["jobs"].as_array().unwrap();
    assert_eq!(answers.len(), 10_000);
    assert_eq!(answers[9_998]["inserted"], true);
    assert_eq!(answers[9_999]["id"], answers[9_998]["id"]);
    assert_eq!(answers[9_999]["outcome"], "standing");
    let mut owner = desk.front.owner().await;
    assert_eq!(count(&mut owner, JOBS).await, 9_999);
    let requests = "select count(distinct request_id) from engine.jobs";
    assert_eq!(count(&mut owner, requests).await, 1, "all are this request's");

    jobs.push(distribute(Uuid::now_v7()));
    assert_eq!(desk.refused(MANY, &json!({"jobs": jobs})).await["code"], "invalid_batch");
    assert_eq!(desk.refused(MANY, &json!({"jobs": []})).await["code"], "invalid_batch");
}

#[tokio::test]
async fn a_batch_with_a_fault_is_refused_whole_and_says_where() {
    let desk = Desk::new().await;
    let jobs = json!({"jobs": [
        distribute(Uuid::now_v7()),
        {"kind": "lead.distribute", "args": {}},
        {"kind": "nobody.knows"},
    ]});
    let fault = desk.refused(MANY, &jobs).await;
    assert_eq!(fault["code"], "invalid_job");
    let told = fault["details"]["jobs"].as_array().unwrap();
    assert_eq!(told.iter().map(|f| &f["index"]).collect::<Vec<_>>(), [&json!(1), &json!(2)]);
    assert!(told[0]["message"].as_str().unwrap().contains("missing field `lead`"), "{told:?}");
    assert_eq!(count(&mut desk.front.owner().await, JOBS).await, 0);
}

#[tokio::test]
async fn a_standing_job_is_changed_if_the_new_one_says_so() {
    let desk = Desk::new().await;
    let new = |n: u32, replace: bool| {
        json!({
            "kind": "x", "queue": "q", "args": {"n": n}, "unique_key": "one",
            "unique_for_seconds": 60, "replace_args": replace,
        })
    };
    let first = json_of(desk.ask(ONE, &new(1, false)), 201).await;
    assert_eq!(first["data"]["outcome"], "inserted");
    let kept = json_of(desk.ask(ONE, &new(2, false)), 200).await;
    assert_eq!(kept["data"]["outcome"], "standing");
    let changed = json_of(desk.ask(ONE, &new(3, true)), 200).await;
    assert_eq!(changed["data"]["outcome"], "replaced");
    assert_eq!(changed["data"]["id"], first["data"]["id"]);
    let three = "select count(*) from engine.jobs where args = '{\"n\": 3}'";
    assert_eq!(count(&mut desk.front.owner().await, three).await, 1);
}

#[tokio::test]
async fn jobs_of_a_kind_that_workers_declared_encrypted_are_sealed_on_the_way_in() {
    let test = TestDb::new().await;
    let db = test.db.clone().sealing_with(Some(Arc::new(ring(&[1]))));
    let front = Front::over(test, db.clone(), config()).await;
    let desk = Desk { token: front.admin().await, front };
    let mut owner = desk.front.owner().await;
    let declared =
        "insert into engine.kinds (kind, name, queue, max_attempts, timeout_ms, encrypted)
                    values ('test.secret', 'test.secret', 'q', 3, 1000, true)";
    sqlx::raw_sql(declared).execute(&mut owner).await.unwrap();
    let new = json!({"kind": "test.secret", "queue": "q", "args": {"word": "xyzzy"}});
    let first = json_of(desk.once(ONE, "secret", &new), 201).await;
    let again = json_of(desk.once(ONE, "secret", &new), 200).await;
    assert_eq!(first["data"]["id"], again["data"]["id"]);
    let many = json!({"jobs": [new, distribute(Uuid::now_v7())]});
    json_of(desk.ask(MANY, &many), 201).await;
    let sealed = "select count(*) from engine.jobs where kind = 'test.secret' and args ? '$sealed'";
    assert_eq!(count(&mut owner, sealed).await, 2);
    let told = "select count(*) from engine.jobs j where j::text like '%xyzzy%'";
    assert_eq!(count(&mut owner, told).await, 0);
    let kept = "select count(*) from engine.requests r where r.digest = $$";
    let digest = switchyard_queue::digest(&json!({
        "kind": "test.secret", "args": {"word": "xyzzy"}, "delay_seconds": 0, "run_at": null,
        "queue": "q", "partition": null, "priority": null, "max_attempts": null,
        "timeout_seconds": null, "deadline_seconds": null, "unique_key": null, "unique_for_seconds": null,
        "replace_args": false, "replace_run_at": false, "tenant": null,
    }));
    let kept: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("{kept}{digest}$$")))
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(kept, 0, "a hash that anybody could make is not kept");
    let id: Uuid = first["data"]["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/api/admin/jobs/{id}");
    let shown = json_of(desk.front.get(&path).bearer_auth(&desk.token), 200).await;
    assert_eq!(shown["data"]["args"]["$sealed"].as_object().unwrap().len(), 1, "{shown}");
    let args = sealing::reveal(&db, JobId(id)).await.unwrap();
    assert_eq!(args, json!({"word": "xyzzy"}));
    let forged =
        json!({"kind": "x.y", "queue": "q", "args": {"$sealed": {"key": "1", "data": "2"}}});
    assert_eq!(desk.refused(ONE, &forged).await["code"], "reserved_arguments");
}
