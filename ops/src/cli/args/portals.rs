//! Portals, their deliveries, and the leads that came of them.

use chrono::{DateTime, NaiveDate, Utc};
use clap::{ArgGroup, Args, Subcommand};
use std::path::PathBuf;
use switchyard_domain::money::Currency;
use switchyard_domain::{AgentId, EventId, LeadId, LeadState};
use switchyard_store::events::EventState;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Portals {
    /// Make a portal from a file, or bring it up to date; the same file again changes nothing
    Apply(PortalApply),
    /// Run a delivery, or the file's samples, through a file's mapping; stores nothing
    Test(PortalTest),
    /// Every portal
    List,
    /// One portal: settings, version, credentials (not shown), pulse
    Show(PortalArg),
    /// Give a portal a new API key, printed once, or a new signing secret; the old one stays good
    Rotate(PortalRotate),
    /// Take what comes for a portal and hold it
    Pause(PortalArg),
    /// Let a portal go on; what was held is taken up
    Resume(PortalArg),
    /// Every version of a portal's settings
    Versions(PortalArg),
    /// Put the settings of an earlier version in force, as a new version
    Rollback {
        /// Its code
        code: String,
        /// The version
        version: i32,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PortalArg {
    /// Its code
    pub(in crate::cli) code: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PortalApply {
    /// The file: YAML, or JSON if its name ends with .json
    pub(in crate::cli) file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PortalTest {
    /// The file
    pub(in crate::cli) file: PathBuf,
    /// A delivery: a raw body, or a recorded request as JSON (default: the file's samples)
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) event: Option<PathBuf>,
    /// Of the body (default: application/json, or what the recorded request says)
    #[arg(long, value_name = "TYPE", requires = "event")]
    pub(in crate::cli) content_type: Option<String>,
    /// A header field of the delivery: 'X-Campaign: spring'
    #[arg(long = "header", value_name = "NAME: VALUE", requires = "event")]
    pub(in crate::cli) headers: Vec<String>,
    /// The URL that it came to, with its query
    #[arg(long, requires = "event")]
    pub(in crate::cli) url: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PortalRotate {
    /// Its code
    pub(in crate::cli) code: String,
    /// How long the old one stays good: 90s, 30m, 24h
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(in crate::cli) keep: String,
    /// A new signing secret, from this environment variable
    #[arg(long, value_name = "NAME", conflicts_with = "secret_file")]
    pub(in crate::cli) secret_env: Option<String>,
    /// A new signing secret, from this file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) secret_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Leads {
    /// Leads, the newest first; with --json one array of standard leads
    List(LeadsList),
    /// One lead with all its fields, notes, reminders and its sale
    Show {
        /// Id of the lead
        lead: LeadId,
    },
    /// Write a note about a lead, for operators
    Note {
        /// Id of the lead
        lead: LeadId,
        /// What is to be remembered
        text: String,
    },
    /// Record that a lead was sold; its commission follows
    Convert(LeadsConvert),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LeadsConvert {
    /// Id of the lead; its agency has accepted it
    pub(in crate::cli) lead: LeadId,
    /// The deal's value in units of the currency: 650000.00
    #[arg(long, value_name = "UNITS")]
    pub(in crate::cli) amount: String,
    /// ISO 4217: PLN
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) currency: Currency,
    /// What the platform earns by it, in units of the currency
    #[arg(long, value_name = "UNITS")]
    pub(in crate::cli) fee: Option<String>,
    /// What was sold; if left out, what the lead asked for
    #[arg(long)]
    pub(in crate::cli) product: Option<String>,
    /// Who closed it; if left out, whoever works on the lead
    #[arg(long, value_name = "AGENT")]
    pub(in crate::cli) agent: Option<AgentId>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LeadsList {
    /// Only leads of this portal
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) portal: Option<String>,
    /// Only leads in this state
    #[arg(long)]
    pub(in crate::cli) state: Option<LeadState>,
    /// Only leads of this delivery
    #[arg(long, value_name = "EVENT")]
    pub(in crate::cli) event: Option<EventId>,
    /// Only leads before this one: the last of the page before
    #[arg(long, value_name = "LEAD")]
    pub(in crate::cli) before: Option<LeadId>,
    /// At most this many
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(in crate::cli) limit: u32,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Events {
    /// Deliveries, the newest first
    List(EventsList),
    /// One delivery: body, headers, verdict, and what it became
    Show {
        /// Id of the event
        event: EventId,
    },
    /// Judge deliveries again, by their portals' settings of today
    Replay(EventsReplay),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EventsList {
    /// Only deliveries of this portal
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) portal: Option<String>,
    /// Only deliveries in this state: received, processed, rejected, ignored, held
    #[arg(long)]
    pub(in crate::cli) state: Option<EventState>,
    /// Only deliveries that came then or later: 2026-03-01, 2026-03-01T12:30 (UTC) or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(in crate::cli) since: Option<DateTime<Utc>>,
    /// Only deliveries before this one: the last of the page before
    #[arg(long, value_name = "EVENT")]
    pub(in crate::cli) before: Option<EventId>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(in crate::cli) limit: u32,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["event", "portal", "from", "state"]).multiple(true))]
pub(in crate::cli) struct EventsReplay {
    /// One delivery
    #[arg(conflicts_with_all = ["portal", "from", "to", "state"])]
    pub(in crate::cli) event: Option<EventId>,
    /// Deliveries of this portal
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) portal: Option<String>,
    /// Deliveries that came then or later: 2026-03-01, 2026-03-01T12:30 (UTC) or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(in crate::cli) from: Option<DateTime<Utc>>,
    /// Deliveries that came before (default: now)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(in crate::cli) to: Option<DateTime<Utc>>,
    /// Deliveries in this state
    #[arg(long)]
    pub(in crate::cli) state: Option<EventState>,
    /// Show what would change, field by field, and change nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Do not wait for the workers that replay a range
    #[arg(long, conflicts_with = "event")]
    pub(in crate::cli) detach: bool,
}

/// A day, a minute or an instant; without a zone it is UTC.
pub(super) fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let day = |t: &str| t.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    let minute = |t: &str| chrono::NaiveDateTime::parse_from_str(t, "%Y-%m-%dT%H:%M").ok();
    let second = |t: &str| t.parse::<chrono::NaiveDateTime>().ok();
    text.parse::<DateTime<Utc>>()
        .ok()
        .or_else(|| {
            day(text).or_else(|| minute(text)).or_else(|| second(text)).map(|t| t.and_utc())
        })
        .ok_or_else(|| {
            format!(
                "`{text}` is no time; write 2026-03-01, 2026-03-01T12:30 or 2026-03-01T12:30:00Z"
            )
        })
}
