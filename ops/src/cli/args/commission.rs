//! Commissions and their ledger.

use chrono::NaiveDate;
use clap::Subcommand;
use switchyard_domain::{AgencyId, LeadId};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Commission {
    /// Compute all commissions again from the events and hold them against the ledger; exit code 1 if
    /// they differ
    Recompute {
        /// Only this agency's
        #[arg(long)]
        agency: Option<AgencyId>,
        /// Post what differs, with the reason
        #[arg(long)]
        post: bool,
    },
    /// Close a month of an agency's books; its figures are final
    Close {
        /// Whose
        agency: AgencyId,
        /// Any day of the month
        month: NaiveDate,
    },
    /// Look for entries of the ledger that somebody changed behind its triggers; exit code 1 if there
    /// are any
    Audit {
        /// A root that was kept elsewhere, in a backup's manifest say: SIZE:HEX
        #[arg(long, value_name = "SIZE:HEX", value_parser = head)]
        root: Vec<(u64, [u8; 32])>,
    },
    /// Every entry of a lead: event, plan, tier, arithmetic, who got what, and its place in the log
    Explain {
        /// The lead
        lead: LeadId,
    },
}

fn head(text: &str) -> Result<(u64, [u8; 32]), String> {
    let parts = text.split_once(':');
    let read = parts.and_then(|(size, root)| {
        let root = hex::decode(root).ok()?.try_into().ok()?;
        Some((size.parse().ok()?, root))
    });
    read.ok_or_else(|| format!("`{text}` is no root; write SIZE:HEX as `ledger.root` has them"))
}
