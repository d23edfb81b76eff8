//! Commissions beside the ledger: plans and whom they hold for, events, and the groups of deals that
//! are evaluated together.

mod events;
mod groups;
mod plans;
mod walk;

pub use events::{
    EventRow, EventState, RecordFault, Settle, decisions, event, followers, in_groups, lock_agents,
    record, roots, settle, state, take, wait_for,
};
pub use groups::{
    Group, GroupFilter, GroupId, GroupKey, NewTotals, groups, groups_by_id, of_agents, save,
};
pub use plans::{
    Assignment, DEFAULT_PLAN, NewAssignment, NewPlan, NewVersion, Plan, PlanId, PlanVersion,
    add_version, assign, assignments_for, create, end_assignment, ensure, find, list, versions,
    versions_of,
};
pub use walk::{
    AgentPage, agencies, agents_after, events_of_agents, freeze, open_counts, posted_for,
};
