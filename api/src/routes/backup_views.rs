//! What the routes of backups answer.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use switchyard_catalog::backup::{Confirmation, Next, Status};
use switchyard_store::backups::alarms::Alarm;
use switchyard_store::backups::runs::Run;
use utoipa::ToSchema;
use uuid::Uuid;

/// A run: a backup, a drill, a restore.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackupRunView {
    /// Its id.
    id: Uuid,
    /// What it does.
    #[schema(example = "incremental")]
    kind: &'static str,
    /// `running`, `succeeded` or `failed`.
    #[schema(example = "succeeded")]
    state: &'static str,
    /// `schedule`, `admin:<id>` or `cli:<user>`.
    #[schema(example = "schedule")]
    asked_by: String,
    /// The job that runs it.
    job: Option<Uuid>,
    /// The backup's name in the archive.
    #[schema(example = "20261123T051500Z-9f3a61c2")]
    backup: Option<String>,
    /// What it restores is at least as new as this.
    covers: Option<DateTime<Utc>>,
    /// After this position of the log.
    from_lsn: Option<String>,
    /// Up to this one.
    to_lsn: Option<String>,
    /// Bytes in the archive.
    stored_bytes: Option<i64>,
    /// Rows of a full backup, changes of the others.
    rows: Option<i64>,
    /// What a drill, a check or a restore found.
    #[schema(value_type = Option<Object>)]
    evidence: Option<Value>,
    /// Why it failed.
    error: Option<String>,
    /// When it began.
    began_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// How long it took.
    seconds: Option<f64>,
}

impl From<Run> for BackupRunView {
    fn from(r: Run) -> Self {
        Self {
            seconds: r.seconds(),
            id: r.id,
            kind: r.kind.as_str(),
            state: r.state.as_str(),
            asked_by: r.asked_by,
            job: r.job,
            backup: r.backup,
            covers: r.covers,
            from_lsn: r.from_lsn,
            to_lsn: r.to_lsn,
            stored_bytes: r.stored_bytes,
            rows: r.rows,
            evidence: r.evidence,
            error: r.error,
            began_at: r.began_at,
            finished_at: r.finished_at,
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlarmView {
    /// What it is about.
    #[schema(example = "backup.rpo")]
    key: String,
    /// `warning` or `critical`.
    #[schema(example = "warning")]
    severity: &'static str,
    /// What is wrong and what to do.
    text: String,
    /// Since when.
    since: DateTime<Utc>,
    /// When people were told last.
    told_at: Option<DateTime<Utc>>,
}

impl From<Alarm> for AlarmView {
    fn from(a: Alarm) -> Self {
        let severity = a.severity.as_str();
        Self { key: a.key, severity, text: a.text, since: a.since, told_at: a.told_at }
    }
}

/// A run that is due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NextView {
    /// What.
    #[schema(example = "incremental")]
    kind: &'static str,
    /// When.
    at: DateTime<Utc>,
}

impl From<Next> for NextView {
    fn from(n: Next) -> Self {
        Self { kind: n.kind.as_str(), at: n.at }
    }
}

/// What was measured over 30 days.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MeasuredView {
    /// Runs that ended.
    #[schema(example = 4512)]
    ended: i64,
    /// Of these, those that succeeded.
    #[schema(example = 4512)]
    succeeded: i64,
    /// The most data that could have been lost, 99 times of 100.
    rpo_p99_seconds: Option<f64>,
    /// The longest such time.
    rpo_worst_seconds: Option<f64>,
    /// How long an increment takes, 99 times of 100.
    increment_p99_seconds: Option<f64>,
    /// How long the last drill's restore took.
    rto_seconds: Option<f64>,
    /// How long the slowest drill's restore took.
    rto_worst_seconds: Option<f64>,
}

/// The last restore that was proven.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProofView {
    /// When.
    at: DateTime<Utc>,
    /// How old that is.
    age_seconds: u64,
    /// The full backup that was restored.
    backup: Option<String>,
    /// How long the restore took.
    restore_seconds: Option<f64>,
    /// The newest full backup that was looked at whether the one before it and its increments make the same.
    compared: Option<ComparedView>,
}

/// A full backup, beside what the one before it and its increments make.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComparedView {
    /// The full backup.
    full: String,
    /// When.
    at: DateTime<Utc>,
    /// Why no older backup leads to it; `null`: they are the same.
    out_of_reach: Option<String>,
}

/// The restore that this system came from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoredView {
    /// The full backup.
    backup: String,
    /// The state that was restored is at least as new as this.
    covers: DateTime<Utc>,
    /// When.
    restored_at: DateTime<Utc>,
    /// `null`: nothing leaves this system yet.
    released_at: Option<DateTime<Utc>>,
    /// By whom.
    released_by: Option<String>,
}

/// How backups stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusView {
    /// The archive; `null`: none is configured.
    #[schema(example = "s3://backups/switchyard")]
    archive: Option<String>,
    /// The second archive.
    second: Option<String>,
    /// The restore that this system came from, if it did.
    restored: Option<RestoredView>,
    /// How old what could be restored now is.
    #[schema(example = 312)]
    exposed_seconds: Option<u64>,
    /// Promised: the most data that may be lost.
    #[schema(example = 900)]
    rpo_seconds: Option<u64>,
    /// Promised: the longest time of a restore.
    #[schema(example = 1800)]
    rto_seconds: Option<u64>,
    /// What was measured.
    measured: MeasuredView,
    /// The last restore that was proven.
    proof: Option<ProofView>,
    /// The newest run of each kind that succeeded.
    latest: Vec<BackupRunView>,
    /// What is due next.
    next: Vec<NextView>,
    /// What is wrong.
    alarms: Vec<AlarmView>,
}

impl From<Status> for StatusView {
    fn from(s: Status) -> Self {
        let f = s.figures;
        Self {
            archive: s.archive,
            second: s.second,
            restored: s.restored.map(|r| RestoredView {
                backup: r.backup,
                covers: r.covers,
                restored_at: r.restored_at,
                released_at: r.released_at,
                released_by: r.released_by,
            }),
            exposed_seconds: s.exposed_seconds,
            rpo_seconds: s.rpo_seconds,
            rto_seconds: s.rto_seconds,
            measured: MeasuredView {
                ended: f.ended,
                succeeded: f.succeeded,
                rpo_p99_seconds: f.rpo_p99,
                rpo_worst_seconds: f.rpo_worst,
                increment_p99_seconds: f.increment_p99,
                rto_seconds: f.rto,
                rto_worst_seconds: f.rto_worst,
            },
            proof: s.proof.map(|p| ProofView {
                at: p.at,
                age_seconds: p.age_seconds,
                backup: p.backup,
                restore_seconds: p.restore_seconds,
                compared: p.compared.map(|c| ComparedView {
                    full: c.full,
                    at: c.at,
                    out_of_reach: c.out_of_reach,
                }),
            }),
            latest: s.latest.into_iter().map(BackupRunView::from).collect(),
            next: s.next.into_iter().map(NextView::from).collect(),
            alarms: s.alarms.into_iter().map(AlarmView::from).collect(),
        }
    }
}

/// A request that waits for its confirmation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AskedView {
    /// Confirm it at `POST /api/v1/backup/confirm/{request}`.
    request: Uuid,
    /// For you alone; it is not shown again.
    token: String,
    /// To be typed by hand, if you confirm it yourself.
    phrase: String,
    /// Until when.
    expires_at: DateTime<Utc>,
}

impl From<Confirmation> for AskedView {
    fn from(c: Confirmation) -> Self {
        let Confirmation { request, token, phrase, expires_at } = c;
        Self { request, token, phrase, expires_at }
    }
}
