//! Commission plans: what they say, and for whom they hold.

use super::portals::instant;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use switchyard_domain::{AgencyId, AgentId};
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Plans {
    /// Read a plan and tell everything that is wrong with it; stores nothing
    Check {
        /// The document, JSON (docs/commission-plans.md)
        file: PathBuf,
    },
    /// Make a plan from a document, or add the document as its next version; the same one again changes nothing
    Apply(PlanApply),
    /// Every plan, its versions, and for whom it holds
    List,
    /// What a version of a plan says, as a document
    Show {
        /// Its code
        code: String,
        /// Which version (default: the newest)
        #[arg(long)]
        version: Option<i32>,
    },
    /// Let a plan hold for an agency, an agent, a portal's leads, or everybody; the most exact one wins
    Assign(PlanAssign),
    /// Let an assignment end; deals from then on are the next exact plan's
    Unassign {
        /// Its id, as `plans list` tells it
        assignment: Uuid,
        /// From then on (default: now)
        #[arg(long, value_parser = instant)]
        at: Option<DateTime<Utc>>,
    },
    /// Say who an agent's manager is, who gets the manager's share of what is sold from then on; nobody if left out
    Manager {
        /// The agent
        agent: AgentId,
        /// Another agent of the same agency
        manager: Option<AgentId>,
    },
}

/// When a version begins.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Beginning {
    /// With this day of the plan's calendar.
    Day(NaiveDate),
    /// At this moment.
    Moment(DateTime<Utc>),
}

fn beginning(text: &str) -> Result<Beginning, String> {
    match text.parse() {
        Ok(day) => Ok(Beginning::Day(day)),
        Err(_) => instant(text).map(Beginning::Moment),
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanApply {
    /// The document, JSON (docs/commission-plans.md); its `name` is the plan's code
    pub(in crate::cli) file: PathBuf,
    /// Periods that begin then or later have the version (default: the document's `valid_from`, or now; a plan's
    /// first one has all before, too). A day is one of the plan's calendar
    #[arg(long, value_parser = beginning)]
    pub(in crate::cli) from: Option<Beginning>,
    /// What people call it (default: its code)
    #[arg(long)]
    pub(in crate::cli) title: Option<String>,
    /// Made for this agency, which alone sees it; a plan's first version says so
    #[arg(long)]
    pub(in crate::cli) agency: Option<AgencyId>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanAssign {
    /// The plan's code
    pub(in crate::cli) code: String,
    /// Deals of this agency
    #[arg(long)]
    pub(in crate::cli) agency: Option<AgencyId>,
    /// Deals of this agent
    #[arg(long)]
    pub(in crate::cli) agent: Option<AgentId>,
    /// Deals of leads from the portal with this code
    #[arg(long)]
    pub(in crate::cli) portal: Option<String>,
    /// Deals that happen then or later (default: all)
    #[arg(long, value_parser = instant)]
    pub(in crate::cli) from: Option<DateTime<Utc>>,
    /// Deals that happen before (default: for good)
    #[arg(long, value_parser = instant)]
    pub(in crate::cli) until: Option<DateTime<Utc>>,
}
