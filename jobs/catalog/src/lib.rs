//! Every job of the platform, one file each, and the table of them.
//!
//! # Adding a job
//!
//! A job is a serialisable struct, four constants and `run`; then one line in [`registry`], and one
//! in [`schedules`] if it is periodic. Workers, CLI, dashboard and metrics read the table.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use switchyard_catalog::{Platform, queues};
//! use switchyard_queue::{Context, Job, JobResult, Outcome, QueueName, Registry};
//!
//! /// Says hello to one person.
//! #[derive(Serialize, Deserialize)]
//! struct Greet { name: String }
//!
//! impl Job for Greet {
//!     type State = Platform;
//!     const KIND: &'static str = "demo.greet";
//!     const ABOUT: &'static str = "Says hello to one person.";
//!     const QUEUE: QueueName = queues::MAINTENANCE;
//!     async fn run(self, _cx: &Context<Platform>) -> JobResult {
//!         println!("Hello, {}!", self.name);
//!         Ok(Outcome::Done)
//!     }
//! }
//!
//! let registry = switchyard_catalog::registry().with::<Greet>();
//! let job = registry.parse("demo.greet", serde_json::json!({ "name": "Ada" }))?;
//! assert_eq!(job.queue, "maintenance");
//! # Ok::<(), String>(())
//! ```
//!
//! A job that writes to the database opens its transaction with `db.begin_job(cx.job())`, writes,
//! enqueues what follows, and ends with `tx.done()`: work, follow-ups and the end of the job are
//! then one commit, and a worker that lost the job can write none of it.

pub mod alarms;
pub mod backup;
mod bodies_compress;
mod commission_batch;
mod commission_book;
mod commission_catch_up;
mod commission_close;
mod commission_entries;
mod commission_gather;
mod commission_payout;
mod commission_plans;
mod commission_recompute;
pub mod commission_record;
mod commission_statement;
pub mod conversion;
mod deliver;
mod deliveries_expire;
mod fault;
pub mod judging;
mod keeping;
mod lead_distribute;
mod lead_follow_up;
pub mod lead_work;
mod leads_rescan;
mod ledger_audit;
mod ledger_sequence;
pub mod line;
mod messages_settle;
mod notify_email;
mod notify_whatsapp;
pub mod outbound;
pub mod payouts;
mod platform;
mod portal_release;
pub mod portal_rules;
mod portals_watch;
pub mod queues;
mod refusals_expire;
pub mod replay;
pub mod samples;
pub mod statements;
pub mod tiers;
mod together;
mod webhook_enrich;
mod webhook_flush;
mod webhook_notice;
mod webhook_process;
mod webhook_replay;
mod webhook_send;
mod webhook_tend;

pub use bodies_compress::CompressBodies;
pub use commission_batch::BookFault;
pub use commission_book::BookCommission;
pub use commission_catch_up::CatchUpCommissions;
pub use commission_close::{CloseFault, ClosePeriod, Closing, month_of};
pub use commission_payout::CommissionPayout;
pub use commission_recompute::{
    Difference, RecomputeCommissions, Recomputed, WrongVersion, recompute,
};
pub use commission_statement::CommissionStatement;
pub use deliveries_expire::ExpireKeys;
pub use lead_distribute::DistributeLead;
pub use lead_follow_up::LeadFollowUp;
pub use leads_rescan::RescanUnassigned;
pub use ledger_audit::AuditLedger;
pub use ledger_sequence::SequenceLedger;
pub use messages_settle::SettleMessages;
pub use notify_email::NotifyEmail;
pub use notify_whatsapp::NotifyWhatsApp;
pub use platform::Platform;
pub use portal_release::ReleaseHeld;
pub use portals_watch::WatchPortals;
pub use refusals_expire::ExpireRefusals;
pub use webhook_enrich::EnrichLead;
pub use webhook_flush::FlushEndpoint;
pub use webhook_notice::TellOwner;
pub use webhook_process::ProcessWebhook;
pub use webhook_replay::{ReplayWebhooks, preview_range};
pub use webhook_send::SendWebhook;
pub use webhook_tend::TendWebhooks;

use serde_json::json;
use switchyard_queue::{Job, MissedPolicy, Registry, ScheduleSpec};

/// The table of jobs.
#[must_use]
pub fn registry() -> Registry<Platform> {
    Registry::new()
        .with::<ProcessWebhook>()
        .with::<EnrichLead>()
        .with::<ReplayWebhooks>()
        .with::<DistributeLead>()
        .with::<LeadFollowUp>()
        .with::<CommissionPayout>()
        .with::<CommissionStatement>()
        .with::<NotifyEmail>()
        .with::<NotifyWhatsApp>()
        .with::<RescanUnassigned>()
        .with::<ExpireKeys>()
        .with::<SettleMessages>()
        .with::<SendWebhook>()
        .with::<FlushEndpoint>()
        .with::<TellOwner>()
        .with::<TendWebhooks>()
        .with::<ReleaseHeld>()
        .with::<ExpireRefusals>()
        .with::<WatchPortals>()
        .with::<CompressBodies>()
        .with::<BookCommission>()
        .with::<CatchUpCommissions>()
        .with::<RecomputeCommissions>()
        .with::<ClosePeriod>()
        .with::<SequenceLedger>()
        .with::<AuditLedger>()
        .with::<backup::TakeFull>()
        .with::<backup::TakeIncremental>()
        .with::<backup::TakeDifferential>()
        .with::<backup::ProveRestore>()
        .with::<backup::VerifyBackups>()
        .with::<backup::PruneBackups>()
        .with::<backup::CopyBackups>()
        .with::<backup::RestoreBackup>()
        .with::<backup::WatchBackups>()
        .with::<alarms::TellAlarm>()
}

/// The cron table. What is periodic rescans, so a missed firing is made up for by the next; what comes once
/// a month is made up for at once.
#[must_use]
pub fn schedules() -> Vec<ScheduleSpec> {
    let utc = |name, cron, kind| ScheduleSpec {
        name,
        cron,
        tz: "UTC",
        kind,
        args: json!({}),
        missed: MissedPolicy::Skip,
    };
    vec![
        utc("rescan unassigned leads", "0 * * * * *", RescanUnassigned::KIND),
        utc("settle stranded messages", "20 */5 * * * *", SettleMessages::KIND),
        utc("tend outbound webhooks", "40 * * * * *", TendWebhooks::KIND),
        utc("expire delivery keys", "30 */10 * * * *", ExpireKeys::KIND),
        utc("expire refusals", "45 17 * * * *", ExpireRefusals::KIND),
        utc("watch portals", "50 * * * * *", WatchPortals::KIND),
        // It enqueues the backups that are due, each at its own time.
        utc("watch backups", "15 * * * * *", backup::WatchBackups::KIND),
        utc("compress bodies", "10 * * * * *", CompressBodies::KIND),
        utc("catch up with commissions", "25 */5 * * * *", CatchUpCommissions::KIND),
        utc("sequence the ledger", "*/10 * * * * *", SequenceLedger::KIND),
        utc("audit the ledger", "0 40 3 * * *", AuditLedger::KIND),
        utc("recompute commissions", "0 10 4 * * *", RecomputeCommissions::KIND),
        // What arrives within the first two days of a month still counts in the one before. It is made up
        // for if nobody was there at the time: the next firing is a month away.
        ScheduleSpec {
            missed: MissedPolicy::Once,
            ..utc("close the month before", "0 10 2 3 * *", ClosePeriod::KIND)
        },
    ]
}
