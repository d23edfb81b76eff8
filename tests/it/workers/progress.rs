//! What running jobs say of how far they are, from the job to the row.

use super::stage::{Act, Stage, brisk, eventually};
use switchyard_queue::{JobState, Options};
use switchyard_store::jobs::Reason;

#[tokio::test]
async fn a_running_job_says_how_far_it_is_and_a_new_attempt_starts_at_nothing() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let _promoter = stage.promoter();
    let (half, most) = (Act::Tell(50, "half".into()), Act::Tell(90, "most".into()));
    let ids = stage.enqueue_all(vec![(half, Options::new()), (most, Options::new())]).await;
    for (id, share, note) in [(ids[0], 0.5, "50 of 100"), (ids[1], 0.9, "90 of 100")] {
        let row = eventually("the progress is written down", async || {
            let row = stage.show(id).await.row;
            row.progress_at.is_some().then_some(row)
        })
        .await;
        assert_eq!((row.state, row.progress), (JobState::Running, Some(share)));
        assert_eq!((row.progress_note.as_deref(), row.stuck_since), (Some(note), None));
        let why = switchyard_store::jobs::why(&stage.db, id).await.unwrap();
        let said = why.reasons.iter().find(|r| r.code() == "progress").unwrap();
        assert!(matches!(said, Reason::Progress { fraction: Some(f), .. } if *f == share));
        assert!(said.message().contains(note) && said.message().contains(" %"), "{said:?}");
    }
    stage.record.open("half");
    let second = stage.running(ids[0], 1).await;
    assert_eq!(second.job.attempt, 2);
    let row = stage.show(ids[0]).await.row;
    assert_eq!(row.state, JobState::Running);
    assert_eq!((row.progress, row.progress_note, row.progress_at), (None, None, None));
    assert!(stage.show(ids[1]).await.row.progress.is_some(), "the other one is where it was");
    stage.record.open("half2");
    assert_eq!(stage.until(ids[0], JobState::Completed).await.row.progress, None);
    worker.leave().await;
}

#[tokio::test]
async fn while_its_row_is_in_its_own_hands_a_jobs_word_waits_and_comes_after_it() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    // Its row is locked from before it says anything, as by its own long transaction.
    let gate = stage.enqueue(Act::Wait("first".into()), Options::new()).await;
    let id = stage.enqueue(Act::Tell(50, "half".into()), Options::new().delay(HOUR)).await;
    stage.running(gate, 0).await;
    let mut owner = stage.test.owner().await;
    switchyard_store::jobs::retry(&stage.db, id).await.unwrap();
    let run = stage.running(id, 0).await;
    let mut tx = sqlx::Connection::begin(&mut owner).await.unwrap();
    sqlx::query("select 1 from engine.jobs where id = $1 for update")
        .bind(id.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    // Another job's word is written meanwhile: nobody waits for the locked row.
    let other = stage.enqueue(Act::Tell(10, "other".into()), Options::new()).await;
    eventually("the other's progress is written down", async || {
        stage.show(other).await.row.progress.map(|_| ())
    })
    .await;
    tx.rollback().await.unwrap();
    eventually("the word that waited is written down", async || {
        stage.show(id).await.row.progress.filter(|p| *p == 0.5).map(|_| ())
    })
    .await;
    assert_eq!(run.job.attempt, 1);
    for gate in ["first", "half", "half2", "other", "other2"] {
        stage.record.open(gate);
    }
    worker.leave().await;
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
