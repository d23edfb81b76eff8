//! A platform with an archive of its own, and what a test wants of both.

use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::prune::Policy;
use switchyard_backup::source::SourceConfig;
use switchyard_backup::{Keys, Vault};
use switchyard_catalog::alarms::Alarms;
use switchyard_catalog::backup::{Backups, Cadence, Promise, WatchBackups};
use switchyard_catalog::{Platform, registry};
use switchyard_providers::Providers;
use switchyard_providers::archive::Directory;
use switchyard_queue::{NewJob, SystemClock, SystemEntropy};
use switchyard_store::backups::runs::{self, Run, RunKind, RunState};
use switchyard_store::{Db, PgJobStore, Scope, jobs, maintenance};
use switchyard_tests::TestDb;
use switchyard_workers::WorkerConfig;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A database, an archive, keys.
pub struct Yard {
    pub test: TestDb,
    pub platform: Platform,
    pub folder: TempDir,
}

/// Everything by hand: nothing is due for a day.
pub fn seldom() -> Cadence {
    let day = Duration::from_secs(24 * 3600);
    Cadence {
        incremental: day,
        differential: day,
        full: day,
        drill: day,
        verify: day,
        jitter: Duration::ZERO,
    }
}

/// Backups of a database into a folder.
pub fn backups(url: &SecretString, folder: &TempDir, cadence: Cadence) -> Backups {
    let identity = Identity::generate();
    let keys = Keys::new()
        .recipients([identity.recipient()])
        .identities([identity])
        .signing(Signer::generate());
    // A test server has many databases: each has slots of its own name.
    let mut source = SourceConfig::new(url.clone());
    source.patience = Duration::from_secs(60);
    Backups {
        source,
        source_url: url.clone(),
        vault: Vault::new(Arc::new(Directory::new(folder.path())), keys),
        cadence,
        promise: Promise {
            rpo: Duration::from_secs(900),
            rto: Duration::from_secs(1800),
            wal_alarm: 1 << 40,
        },
        policy: Policy::default(),
        scratch: url.clone(),
        standby: None,
    }
}

impl Yard {
    pub async fn new(cadence: Cadence) -> Self {
        Self::over(cadence, Providers::capture(), Alarms::default(), |b| b).await
    }

    pub async fn over(
        cadence: Cadence,
        providers: Providers,
        alarms: Alarms,
        change: impl FnOnce(Backups) -> Backups,
    ) -> Self {
        let test = TestDb::new().await;
        let folder = tempfile::tempdir().unwrap();
        let backups = change(backups(&test.url, &folder, cadence));
        let url = "https://app.example.test/leads/{id}";
        let platform = Platform {
            backups: Some(Arc::new(backups)),
            alarms,
            ..Platform::new(test.db.clone(), providers, url)
        };
        Self { test, platform, folder }
    }

    pub fn backups(&self) -> &Backups {
        self.platform.backups.as_ref().unwrap()
    }

    pub fn work(&self) -> Working {
        work(&self.platform)
    }

    /// Puts the watch into the queue, as the scheduler does every minute.
    pub async fn watch(&self) {
        enqueue(&self.platform.db, NewJob::of(&WatchBackups {}).unwrap()).await;
    }

    /// Runs one sort by hand, through the queue; a worker must be there.
    pub async fn run(&self, kind: RunKind) -> Run {
        let db = &self.platform.db;
        let before = all(db, kind).await.len();
        let job = switchyard_catalog::backup::by_hand(kind, "cli:test").unwrap();
        enqueue(db, job).await;
        until(&format!("the run {kind}"), async || {
            let runs = all(db, kind).await;
            let newest = runs.into_iter().next()?;
            (all(db, kind).await.len() > before && newest.state != RunState::Running)
                .then_some(newest)
        })
        .await
    }
}

/// A worker for every queue; it ends when this is dropped.
pub struct Working {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub fn work(platform: &Platform) -> Working {
    let dispatcher =
        registry().bind(platform.clone(), Arc::new(SystemClock), Arc::new(SystemEntropy));
    let wake = Arc::clone(platform.db.wake());
    let config = WorkerConfig {
        poll_interval: Duration::from_millis(50),
        drain_timeout: Duration::from_millis(500),
        ..WorkerConfig::default()
    };
    let stop = CancellationToken::new();
    let store = PgJobStore::new(&platform.db);
    let task = tokio::spawn(switchyard_workers::run(store, dispatcher, wake, config, stop.clone()));
    // What is due later is brought forward by the scheduler, which these tests do without.
    let (db, ends) = (platform.db.clone(), stop.clone());
    tokio::spawn(async move {
        while !ends.is_cancelled() {
            let _ = maintenance::promote_due(&db).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Working { stop, task }
}

impl Working {
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn enqueue(db: &Db, job: NewJob) {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job).await.unwrap();
    tx.commit().await.unwrap();
}

/// The runs of a kind, newest first.
pub async fn all(db: &Db, kind: RunKind) -> Vec<Run> {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    runs::list(&mut tx, Some(kind), None, 100).await.unwrap()
}

/// Those that succeeded. Fails the test at once if one failed.
pub async fn good(db: &Db, kind: RunKind) -> Vec<Run> {
    let runs = all(db, kind).await;
    let failed = runs.iter().find(|r| r.state == RunState::Failed);
    assert!(failed.is_none(), "a run failed: {failed:?}");
    runs.into_iter().filter(|r| r.state == RunState::Succeeded).collect()
}

/// Asks again and again until there is an answer, for two minutes.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Another database of the test server; a name that `TestDb` sweeps away later.
pub fn beside(url: &SecretString) -> (String, SecretString) {
    let name = format!("sy_test_{}_{}", std::process::id(), uuid::Uuid::new_v4().simple());
    let server = url.expose_secret().rsplit_once('/').unwrap().0;
    let to = SecretString::from(format!("{server}/{name}"));
    (name, to)
}

/// A row that a test can find again.
pub async fn administrator(db: &Db, email: &str) {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    switchyard_store::administrators::create(&mut tx, email, "Anna", "x").await.unwrap();
    tx.commit().await.unwrap();
}

/// Lanes with jobs of a kind that are still to come to their end.
pub async fn open_jobs(db: &Db, kind: &str) -> usize {
    use switchyard_queue::JobState as S;
    let counts = jobs::counts(db).await.unwrap();
    let open = |s| matches!(s, S::Available | S::Scheduled | S::Retryable | S::Running);
    counts.iter().filter(|c| c.kind == kind && c.n > 0 && open(c.state)).count()
}
