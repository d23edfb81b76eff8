//! What may be said of outbound webhooks.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use switchyard_domain::{AgencyId, EndpointId, OutboundMessageId};
use switchyard_store::outbound::DeliveryState;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Endpoints {
    /// Every endpoint: where it stands and how it does
    List {
        /// Only endpoints of this agency
        #[arg(long, conflicts_with = "partners")]
        agency: Option<AgencyId>,
        /// Only endpoints of the platform's partners
        #[arg(long)]
        partners: bool,
    },
    /// Add an endpoint; prints its signing secret, this once
    Add(EndpointAdd),
    /// One endpoint
    Show(EndpointArg),
    /// Send nothing more to it; what happens meanwhile is kept for it
    Pause(EndpointArg),
    /// Send to it again, all that waits too; also to one that was disabled
    Resume(EndpointArg),
    /// Give it a new secret; prints it, this once. The one before signs along for 24 hours
    Rotate(EndpointArg),
    /// Send it a test event
    Test(EndpointArg),
    /// What it was told, the newest first, and why each is where it is
    Deliveries {
        #[command(flatten)]
        endpoint: EndpointArg,
        /// Only deliveries in this state: pending, delivered, failed
        #[arg(long)]
        state: Option<DeliveryState>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Send one delivery again, or all that were given up since a time; with the same ids
    Resend(ResendArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EndpointArg {
    /// Id of the endpoint
    pub(in crate::cli) endpoint: EndpointId,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EndpointAdd {
    /// Where to: an https address
    pub(in crate::cli) url: String,
    /// What it is to hear of: an event, a group such as lead.*, or *; with commas between
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', default_value = "*")]
    pub(in crate::cli) events: Vec<String>,
    /// Whose it is; without it a partner's of the platform, who hears of all leads
    #[arg(long)]
    pub(in crate::cli) agency: Option<AgencyId>,
    /// A few words for people
    #[arg(long, default_value = "")]
    pub(in crate::cli) description: String,
    /// One message at a time, in the order in which things happened
    #[arg(long)]
    pub(in crate::cli) ordered: bool,
    /// At most so many requests a second
    #[arg(long, value_name = "N")]
    pub(in crate::cli) rate: Option<i32>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResendArgs {
    #[command(flatten)]
    pub(in crate::cli) endpoint: EndpointArg,
    /// The webhook-id, or its UUID
    #[arg(value_parser = message, required_unless_present = "failed_since")]
    pub(in crate::cli) message: Option<OutboundMessageId>,
    /// All that were given up at this time or later: 2026-03-01T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "message")]
    pub(in crate::cli) failed_since: Option<DateTime<Utc>>,
}

fn message(text: &str) -> Result<OutboundMessageId, String> {
    let id = text.strip_prefix("msg_").unwrap_or(text).parse();
    id.map_err(|_| "is no webhook-id (msg_...) and no UUID".to_owned())
}
