//! The ledger's chores as what they are: jobs in the queue, run by a worker.

use super::support::Books;
use crate::backup::support::{enqueue, until, work};
use chrono::{Days, Utc};
use switchyard_catalog::{
    AuditLedger, ClosePeriod, Platform, RecomputeCommissions, SequenceLedger, month_of,
};
use switchyard_domain::ledger::HeadKey;
use switchyard_domain::secrets::MasterKey;
use switchyard_providers::Providers;
use switchyard_queue::{Job, JobState, NewJob};
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
