//! Commissions beside the ledger: plans and whom they hold for, events, what of them is not booked, and the
//! groups of deals that are evaluated together.

mod assignments;
mod deals;
mod events;
mod groups;
mod plans;
mod unbooked;
mod walk;

pub use assignments::{
    Assignment, NewAssignment, assign, assignments_for, assignments_of, end_assignment,
};
pub use deals::{lock_deal, naming};
pub use events::{
    EventRow, EventState, RecordFault, Settle, decisions, event, followers, in_groups, lock_agency,
    lock_agents, record, refused_ungrouped, roots, settle, state, take, wait_for,
};
pub use groups::{
    Group, GroupFilter, GroupId, GroupKey, NewTotals, groups, groups_by_id, of_agents, save,
};
pub use plans::{
    DEFAULT_PLAN, NewPlan, NewVersion, Plan, PlanId, PlanVersion, VersionFault, add_version,
    create, ensure, find, list, versions, versions_of,
};
pub use unbooked::{Backlog, Left, UnbookedFilter, about, backlog, left, unbooked};
pub use walk::{
    AgentPage, PostedFor, Posting, agencies, agents_after, events_of_agents, freeze, posted_for,
    posted_for_nobody,
};
