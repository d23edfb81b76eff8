//! Progress and stuck jobs on the screens.

use super::support::Ops;
use std::time::Duration;
use switchyard_queue::{ClaimRequest, Held, JobStore, LaneTake, Options, Report, WorkerInfo};
use switchyard_store::PgJobStore;

const KIND: &str = "leads.rescan_unassigned";

#[tokio::test]
async fn a_running_job_shows_how_far_it_is_and_a_silent_one_asks_for_attention() {
    let ops = Ops::new().await;
    let id = ops.job(KIND, Options::new()).await;
    let store = PgJobStore::new(&ops.db);
    let info = WorkerInfo {
        host: "slow".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        kinds: vec![KIND.to_owned()],
        queues: vec!["maintenance".to_owned()],
        declares: switchyard_catalog::registry().kinds().copied().collect(),
    };
    let presence = store.register(&info).await.unwrap();
    let active = store.active_lanes(&info.queues).await.unwrap();
    let lanes: Vec<_> = active.iter().map(|l| LaneTake::whole(l.lane, 10)).collect();
    let request = ClaimRequest {
        worker: presence.id,
        kinds: &info.kinds,
        lanes: &lanes,
        lease: Duration::from_secs(600),
        dead: &[],
        alone: false,
    };
    let claimed = store.claim(&request).await.unwrap();
    let job = claimed.jobs.iter().find(|j| j.id == id).unwrap();
    let mut session = ops.sign_in().await;
    let page = format!("/ops/jobs/{id}");
    assert!(!session.page(&page).await.contains("<progress"));

    let mut events = session.live(&format!("/ops/live?jobs={id}")).await;
    events.until("row", |row| row.contains("st-running")).await;
    let report = Report { fraction: Some(0.42), note: "42 <of> 100".to_owned() };
    store.report(&[(Held { id, fence: job.fence }, report)]).await.unwrap();
    events.until("row", |row| row.contains(r#"value="42""#)).await;
    let shown = session.page(&page).await;
    assert!(
        shown.contains(r#"<progress max="100" value="42""#)
            && shown.contains("42 &#60;of&#62; 100")
    );
    assert!(!session.page("/ops").await.contains("stuck job"));
    assert!(session.page("/ops/jobs?stuck=true").await.contains("No job matches"));

    let mut owner = ops.test.owner().await;
    let earlier = "update engine.jobs set claimed_at = claimed_at - interval '1 hour',
                   progress_at = progress_at - interval '10 minutes'";
    sqlx::raw_sql(earlier).execute(&mut owner).await.unwrap();
    events.until("row", |row| row.contains("stuck")).await;
    assert!(session.page("/ops/jobs?stuck=true").await.contains(&id.to_string()));
    assert!(session.page(&page).await.contains("It has said nothing since"));
    let mut first = session.live("/ops/live?on=overview").await;
    first.until("tiles", |tiles| tiles.contains("/ops/jobs?stuck=true")).await;
}
