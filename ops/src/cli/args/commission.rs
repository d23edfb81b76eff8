//! Commissions and their ledger.

use super::portals::instant;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{ArgGroup, Args, Subcommand};
use std::path::PathBuf;
use switchyard_domain::commission::{KindWord, Split};
use switchyard_domain::ledger::{Hash, SignedHead};
use switchyard_domain::money::Currency;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
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
        /// Post what differs, with the reason; exit code 1 if differences are left that no event explains
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
        /// A root that was kept elsewhere: the note `ledger.root` of a backup's manifest as it is (six
        /// lines), or SIZE:ROOT with the root in hexadecimal digits or base64
        #[arg(long, value_name = "NOTE", value_parser = head)]
        root: Vec<(u64, Hash)>,
    },
    /// Record what became of a deal after its sale, or a decision about an agent; its booking follows
    Record(CommissionRecord),
    /// Prove that an entry stands in the ledger's log: the entry, the path to the root, the signed head
    Prove {
        /// The entry
        entry: Uuid,
        /// Under the head of so many entries, as a backup's manifest names it; left out: the newest
        #[arg(long)]
        size: Option<u64>,
        /// Where the proof is written to; left out: to the screen
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check such a proof; needs no database. Exit code 1 if it proves nothing
    VerifyProof {
        /// The file
        file: PathBuf,
        /// The root that it has to lead to, kept elsewhere: hexadecimal digits, or the note `ledger.root`
        #[arg(long, value_name = "HEX", value_parser = root)]
        root: Option<Hash>,
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

/// Something that happened to a deal, or a decision about an agent.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("about").required(true).args(["lead", "conversion", "agent"]))]
pub(in crate::cli) struct CommissionRecord {
    /// refunded, refunded_partly, charged_back, cancelled, corrected, tier_changed or split_changed
    pub(in crate::cli) kind: KindWord,
    /// The lead that was sold
    #[arg(long)]
    pub(in crate::cli) lead: Option<LeadId>,
    /// The sale's event
    #[arg(long, value_name = "EVENT")]
    pub(in crate::cli) conversion: Option<CommissionEventId>,
    /// Whose tier or split changes, in place of a deal
    #[arg(long, requires = "agency")]
    pub(in crate::cli) agent: Option<AgentId>,
    /// The agent's agency; with a deal: it has to be this agency's
    #[arg(long)]
    pub(in crate::cli) agency: Option<AgencyId>,
    /// What went back, or the deal's true value, in units of the currency: 1500.00
    #[arg(long, value_name = "UNITS", requires = "currency")]
    pub(in crate::cli) amount: Option<String>,
    /// The same of the platform's fee
    #[arg(long, value_name = "UNITS", requires = "currency")]
    pub(in crate::cli) fee: Option<String>,
    /// The deal's currency, ISO 4217
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) currency: Option<Currency>,
    /// The agent's tier from then on; left out: by the total again
    #[arg(long)]
    pub(in crate::cli) tier: Option<String>,
    /// Shares as a plan has them: [{"to": "agent", "percent": "100"}]; left out: as the plan says
    #[arg(long, value_name = "JSON", value_parser = split)]
    pub(in crate::cli) split: Option<Split>,
    /// When it happened; left out: now
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(in crate::cli) at: Option<DateTime<Utc>>,
}

fn split(text: &str) -> Result<Split, String> {
    serde_json::from_str(text).map_err(|e| format!("it is no list of shares ({e})"))
}

/// 32 bytes, in hexadecimal digits or base64.
fn hash(text: &str) -> Option<Hash> {
    let bytes = hex::decode(text).ok().or_else(|| BASE64_STANDARD.decode(text).ok());
    bytes?.try_into().ok()
}

/// A head that was kept elsewhere.
fn head(text: &str) -> Result<(u64, Hash), String> {
    if let Ok(head) = SignedHead::from_note(text) {
        return match head.is_signed() {
            true => Ok((head.size, head.root)),
            false => Err("the note's signature does not fit what it says".to_owned()),
        };
    }
    let parts = text.split_once(':');
    let read = parts.and_then(|(size, root)| Some((size.parse().ok()?, hash(root)?)));
    read.ok_or_else(|| {
        "it is no root; give the note `ledger.root` as it is, or SIZE:ROOT".to_owned()
    })
}

fn root(text: &str) -> Result<Hash, String> {
    let bare = hash(text).map(Ok).unwrap_or_else(|| head(text).map(|(_, root)| root));
    bare.map_err(|_| "it is no root; write 64 hexadecimal digits, or the note as it is".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Cli;
    use clap::{CommandFactory, Parser};
    use std::path::Path;

    fn page(name: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::read_to_string(root.join(name)).unwrap()
    }

    #[test]
    fn the_manual_and_the_readme_name_every_command() {
        let cli = Cli::command();
        let commission = cli.find_subcommand("commission").unwrap();
        let (manual, readme) = (page("docs/commissions.md"), page("README.md"));
        let row = readme.lines().find(|l| l.starts_with("| `switchyard commission ")).unwrap();
        for command in commission.get_subcommands() {
            let name = command.get_name();
            let named = ["`", "commission "].iter().any(|at| row.contains(&format!("{at}{name}")));
            assert!(named, "the README's row lacks `{name}`");
            assert!(manual.contains(&format!("commission {name}")), "the manual lacks `{name}`");
        }
    }

    /// Every line of the manuals' examples that runs the program is one that it understands.
    #[test]
    fn the_examples_of_the_manuals_are_commands() {
        let id = "0198c1de-5a1b-7c55-9d0a-0f3c2b6f7a10";
        let mut count = 0;
        for name in ["docs/commissions.md", "docs/commission-plans.md"] {
            let text = page(name);
            for line in text.lines().filter(|l| l.starts_with("switchyard ")) {
                let plain = line.split(" #").next().unwrap();
                let args = plain.split_whitespace().map(|word| match word {
                    "$LEAD" | "$AGENCY" | "$AGENT" => id.to_owned(),
                    "5f0c..." => "5f".repeat(32),
                    word => word.to_owned(),
                });
                Cli::try_parse_from(args).unwrap_or_else(|e| panic!("{name}: {line}\n{e}"));
                count += 1;
            }
        }
        assert!(count >= 10, "only {count} examples");
    }
}
