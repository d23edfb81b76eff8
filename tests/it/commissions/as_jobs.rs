//! The ledger's chores as what they are: jobs in the queue, run by a worker.

use super::support::{Books, at, plan};
use crate::backup::support::{enqueue, until, work};
use chrono::{Days, Utc};
use serde_json::json;
use sqlx::AssertSqlSafe;
use switchyard_catalog::{
    AuditLedger, ClosePeriod, Platform, RecomputeCommissions, SequenceLedger, month_of,
};
use switchyard_domain::ledger::HeadKey;
use switchyard_domain::secrets::MasterKey;
use switchyard_providers::Providers;
use switchyard_queue::{Job, JobState, NewJob};
use switchyard_store::backups::alarms::{self, Alarm, Severity};
use switchyard_store::jobs::{self, JobFilter, JobRow};
use switchyard_store::{Db, ledger};

async fn of_kind(db: &Db, kind: &str) -> Vec<JobRow> {
    let filter = JobFilter { kind: Some(kind.to_owned()), ..JobFilter::default() };
    jobs::list(db, &filter).await.unwrap()
}

/// Puts a job into the queue and waits for its end; gives how it ended, and with which error.
pub async fn run<J: Job<State = Platform>>(db: &Db, job: &J) -> (JobState, String) {
    let before = of_kind(db, J::KIND).await.len();
    enqueue(db, NewJob::of(job).unwrap()).await;
    let row = until(&format!("the end of {}", J::KIND), async || {
        let rows = of_kind(db, J::KIND).await;
        let newest = rows.iter().max_by_key(|row| row.id)?.clone();
        let over = matches!(newest.state, JobState::Completed | JobState::Discarded);
        (rows.len() > before && over).then_some(newest)
    })
    .await;
    (row.state, row.error.unwrap_or_default())
}

#[tokio::test]
async fn a_worker_books_sequences_audits_recomputes_and_closes() {
    let books = Books::new("marginal").await;
    let key = HeadKey::of(&MasterKey::new([7; 32]));
    let db = books.db.clone().signing_with(Some(key));
    let url = "https://app.example.test/leads/{id}";
    let platform = Platform::new(db.clone(), Providers::capture(), url);
    // A month that is over, and old enough to be closed.
    let when = Utc::now() - Days::new(62);
    let deals: Vec<_> = (0..12).map(|n| books.deal(n % 2, 40_000, when)).collect();
    books.record(&deals).await.unwrap();
    let working = work(&platform);
    until("the bookings", async || {
        let waits = "select count(*) from switchyard.commission_events where state <> 'booked'";
        (books.count(waits).await == 0).then_some(())
    })
    .await;
    let fine = (JobState::Completed, String::new());
    assert_eq!(run(&db, &SequenceLedger {}).await, fine);
    let head = ledger::root(&mut books.platform().await).await.unwrap().expect("it signs");
    assert_eq!((head.size, head.public_key), (12, db.head_key().unwrap().public()));
    assert_eq!(run(&db, &AuditLedger {}).await, fine);
    let again = RecomputeCommissions { agency: None, post: false };
    assert_eq!(run(&db, &again).await, fine);
    let month = month_of(when.date_naive());
    let close = ClosePeriod { agency: Some(books.agency), month: Some(month) };
    assert_eq!(run(&db, &close).await, fine);
    let closed = ledger::closed(&mut books.platform().await, books.agency, None).await.unwrap();
    let [closed] = &closed[..] else { panic!("one month: {closed:?}") };
    assert_eq!((closed.month, closed.figures.is_empty()), (month, false));

    // What the owner of the server does is found by both, each in its own way.
    let edit = "alter table ledger.postings disable trigger all;
      update ledger.postings set amount = amount * 2 where entry_id = (select min(entry_id::text)::uuid from ledger.log)";
    sqlx::raw_sql(edit).execute(&mut books.test.owner().await).await.unwrap();
    let (state, error) = run(&db, &AuditLedger {}).await;
    assert_eq!(state, JobState::Discarded);
    assert!(error.contains("\"altered\"") && error.contains("commission audit"), "{error}");
    let (state, error) = run(&db, &again).await;
    assert_eq!(state, JobState::Discarded);
    assert!(error.contains("the ledger differs from the events"), "{error}");
    working.stop().await;
}

async fn open(books: &Books) -> Vec<Alarm> {
    let all = alarms::open(&mut books.platform().await).await.unwrap();
    all.into_iter().filter(|a| a.key.starts_with("commissions.")).collect()
}

/// Two deals of a lifetime whose version changes in between, as they stood before the first deal chose it
/// in whatever order deals came: under version 2, and booked so.
async fn under_the_later_version() -> Books {
    let mut lifetime = plan("marginal");
    lifetime["window"] = "lifetime".into();
    let books = Books::under(Some(lifetime.clone()), 2).await;
    lifetime["version"] = 2.into();
    lifetime["tiers"][0]["rate"] = "30".into();
    let december = "2026-12-01T00:00:00Z".parse().unwrap();
    books.version(&lifetime, december).await;
    books.book(&[books.deal(0, 10_000, at(3, 0)), books.deal(0, 10_000, december)]).await;
    books.book(&[books.deal(1, 10_000, at(3, 0))]).await;
    assert_eq!((books.owed(0).await, books.recomputed(false).await.differing), (2 * 210, 0));
    let mut owner = books.test.owner().await;
    let versions = "switchyard.commission_plan_versions";
    let bend = format!(
        "alter table {versions} disable trigger append_only;
         create temporary table kept as select * from {versions};
         update {versions} v set document = k.document from kept k
           where v.version = 1 and k.version = 2 and k.plan_id = v.plan_id"
    );
    sqlx::raw_sql(AssertSqlSafe(bend)).execute(&mut owner).await.unwrap();
    books.recomputed(true).await;
    let back = format!(
        "update {versions} v set document = k.document from kept k
           where k.version = v.version and k.plan_id = v.plan_id;
         update switchyard.commission_groups set plan_version = 2"
    );
    sqlx::raw_sql(AssertSqlSafe(back)).execute(&mut owner).await.unwrap();
    assert_eq!((books.owed(0).await, books.owed(1).await), (2 * 2_100, 2_100));
    books
}

#[tokio::test]
async fn a_lifetime_under_a_wrong_version_is_told_of_and_put_right() {
    let books = under_the_later_version().await;
    let platform = Platform::new(books.db.clone(), Providers::capture(), "https://x.test/{id}");
    let working = work(&platform);
    let again = RecomputeCommissions { agency: None, post: false };
    let (state, error) = run(&books.db, &again).await;
    assert_eq!(state, JobState::Discarded);
    assert!(error.contains("differs from the events in"), "{error}");
    let alarms = open(&books).await;
    let [alarm] = &alarms[..] else { panic!("one alarm: {alarms:?}") };
    assert_eq!((alarm.key.as_str(), alarm.severity), ("commissions.differ", Severity::Critical));
    assert!(alarm.text.contains("switchyard commission recompute"), "{alarm:?}");

    // What the operator sees: which lifetimes, and each line with both amounts.
    let said = books.say(&[], &["commission", "recompute"]).await;
    let told = format!("the lifetime of agent {} under plan", books.agents[0]);
    assert!(said.code == Some(1) && said.out.contains(&told), "{said:?}");
    assert!(said.out.contains("stands under version 2; its first deal has version 1"), "{said:?}");
    let said = books.say(&[], &["--json", "commission", "recompute"]).await.json();
    let found = &said["versions"][0];
    assert_eq!(
        (&found["stands"], &found["first"], &said["posted"]),
        (&json!(2), &json!(1), &json!(0))
    );
    assert!(said["differences"].as_array().unwrap().iter().any(|d| d["computed"] == 210));

    // And does.
    let said = books.say(&[], &["--json", "commission", "recompute", "--post"]).await;
    assert_eq!((said.code, &said.json()["left"]), (Some(0), &json!(0)), "{said:?}");
    assert_eq!((books.owed(0).await, books.owed(1).await), (2 * 210, 210));
    let corrected = "select count(*) from ledger.entries e where e.kind = 'correction'
      and e.explanation->'changes'->'before'->>'minor' = '3000'
      and e.explanation->'changes'->'after'->>'minor' = '300'";
    assert_eq!(books.count(corrected).await, 3, "the entries that were wrong stay");
    books.assert_sound().await;
    assert_eq!(run(&books.db, &again).await, (JobState::Completed, String::new()));
    assert!(open(&books).await.is_empty(), "the alarm is over");
    // It goes on from there, also without evaluating anew.
    books.book(&[books.deal(0, 10_000, at(28, 0))]).await;
    books.book(&[books.deal(0, 10_000, "2026-12-05T00:00:00Z".parse().unwrap())]).await;
    assert_eq!((books.owed(0).await, books.recomputed(false).await.differing), (4 * 210, 0));
    working.stop().await;
}
