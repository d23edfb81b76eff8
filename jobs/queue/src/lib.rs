//! The contract of a job: what a job is, what may become of it, and what a store and a wake-up
//! channel must do for it. This crate knows no particular job and no database.

mod canonical;
mod causes;
mod clock;
mod context;
mod counters;
mod ids;
mod job;
mod options;
mod outbox;
mod outcome;
mod pattern;
mod progress;
mod redis_counters;
mod redis_wake;
mod registry;
mod result;
mod retry;
mod schedule;
mod sealed;
mod state;
mod store;
pub mod testing;
mod trace;
mod transition;
mod version;
mod wake;
mod workflow;

#[cfg(test)]
mod tests;

pub use canonical::{canonical, digest};
pub use causes::causes;
pub use clock::{Clock, Entropy, ManualClock, SeededEntropy, SystemClock, SystemEntropy};
pub use context::Context;
pub use counters::{Allowance, Counters, LocalCounters, Refill, Taken};
pub use ids::{Fence, JobId, LaneId, LimitId, WorkerId};
pub use job::{ClaimedJob, Enqueued, Job, NewJob, Placement, Retention, SUSPECT_AFTER};
pub use options::{Options, QueueName, Replaces, UniqueKey, UniqueUntil};
pub use outbox::Outbox;
pub use outcome::{ErrorClass, JobError, JobResult, Outcome, Settled};
pub use progress::{Progress, Report};
pub use redis_counters::RedisCounters;
pub use redis_wake::RedisWake;
pub use registry::{Dispatcher, KindInfo, Registry};
pub use result::{LARGEST_RESULT, check_result};
pub use retry::RetryPolicy;
pub use schedule::{MissedPolicy, ScheduleSpec};
pub use sealed::{ArgsCipher, SealFault, opened_args, sealed_form, sealed_parts, shown_args};
pub use state::JobState;
pub use store::{
    ActiveLane, Claim, ClaimRequest, ErrorReport, Held, HeldBack, JobStore, LaneTake, Place,
    Presence, Reaped, Renewed, SettleAs, Settlement, StoreError, Stretch, Until, WorkerInfo,
};
pub use trace::TraceContext;
pub use transition::{JobEvent, Transition, transitions};
pub use version::{kind_name, kind_version, stored_kind};
pub use wake::{Wake, WakeError, WakeToken};
pub use workflow::{
    FailurePolicy, MOST_EDGES, MOST_NODES, Membership, Plan, StartedWorkflow, Step, Workflow,
    WorkflowFault, WorkflowId, WorkflowState, layers,
};
