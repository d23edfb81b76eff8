//! Commissions and their ledger.

use chrono::NaiveDate;
use clap::Subcommand;
use switchyard_domain::AgencyId;
use switchyard_store::commissions::EventState;
use uuid::Uuid;

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
    /// Every entry about a lead, an event or an entry: event, plan, tier, arithmetic, who got what, and its
    /// place in the log; and what was not booked, with the reason
    Explain {
        /// The lead, the event or the entry
        id: Uuid,
    },
    /// Events that are not booked: refused with the reason, waiting for their conversion or for a job
    Unbooked {
        /// Only those in this state: pending, waiting or refused
        #[arg(long)]
        state: Option<EventState>,
        /// Only this agency's
        #[arg(long)]
        agency: Option<AgencyId>,
        /// At most so many of what waits for a job, and as many of the others
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
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
