//! What an agent is told about a new lead, by e-mail and by WhatsApp.

mod email;
mod follow_up;
#[cfg(test)]
mod tests;
mod whatsapp;

pub use email::{EmailText, lead_email};
pub use follow_up::{FollowUpNotice, follow_up_email};
pub use whatsapp::{WHATSAPP_LIMIT, lead_whatsapp};

use crate::{StandardLead, normalise};

/// Everything a notification says.
#[derive(Clone, Copy, Debug)]
pub struct LeadNotice<'a> {
    /// The lead.
    pub lead: &'a StandardLead,
    /// Who is told.
    pub agent: &'a str,
    /// The agency the lead was given to.
    pub agency: &'a str,
    /// Where the agent accepts or declines it.
    pub link: &'a str,
}

impl LeadNotice<'_> {
    /// `New lead: Windows`, marked if it is a test. On one line.
    fn headline(&self) -> String {
        let what = self.lead.interest.as_deref().and_then(normalise::line);
        let mark = if self.lead.is_test { "TEST lead" } else { "New lead" };
        match what {
            Some(what) => format!("{mark}: {}", normalise::shorten(&what, 80)),
            None => mark.to_owned(),
        }
    }

    /// What is known about the person, in reading order, without the free text. One line each.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let lead = self.lead;
        let join = |parts: &[&Option<String>]| {
            let words: Vec<_> = parts.iter().filter_map(|p| p.as_deref()).collect();
            words.join(" ")
        };
        let place = [join(&[&lead.postal_code, &lead.city]), join(&[&lead.country])]
            .into_iter()
            .filter(|p| !p.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
        let budget = lead
            .budget
            .map(|amount| format!("{amount} {}", lead.currency.as_deref().unwrap_or_default()));
        let rows = [
            ("Name", join(&[&lead.first_name, &lead.last_name])),
            ("Company", join(&[&lead.company])),
            ("Place", place),
            ("Phone", join(&[&lead.phone])),
            ("E-mail", join(&[&lead.email])),
            ("Interest", join(&[&lead.interest])),
            ("Budget", budget.unwrap_or_default()),
        ];
        rows.into_iter()
            .filter_map(|(label, value)| normalise::line(&value).map(|value| (label, value)))
            .collect()
    }
}

/// A stranger's words, each line marked, so that they cannot pass for the platform's own. WhatsApp
/// shows such lines as a quotation.
fn quoted(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(|line| format!("> {line}")).collect();
    lines.join("\n")
}
