//! The e-mail that reminds somebody of a lead.

use super::email::{EmailText, LONGEST_SUBJECT, escape};
use super::{LeadNotice, quoted};
use crate::normalise;

/// Everything a reminder says.
#[derive(Clone, Copy, Debug)]
pub struct FollowUpNotice<'a> {
    /// The lead, who is told, and where to look at it.
    pub about: LeadNotice<'a>,
    /// What somebody wrote down when planning it.
    pub note: Option<&'a str>,
}

/// The e-mail that reminds an agent of a lead.
#[must_use]
pub fn follow_up_email(notice: &FollowUpNotice<'_>) -> EmailText {
    let about = &notice.about;
    let line = |text: &str| normalise::line(text).unwrap_or_default();
    let person = [&about.lead.first_name, &about.lead.last_name];
    let person: Vec<_> = person.into_iter().filter_map(|n| n.as_deref().map(line)).collect();
    let whom = if person.is_empty() { "a lead".to_owned() } else { person.join(" ") };
    let (agent, opening) = (line(about.agent), format!("You wanted to be reminded of {whom}."));
    let mut text = format!("Hello {agent},\n\n{opening}\n");
    if let Some(note) = notice.note {
        text.push_str(&format!("\nNote:\n{}\n", quoted(note)));
    }
    text.push('\n');
    for (label, value) in about.rows() {
        text.push_str(&format!("{label}: {value}\n"));
    }
    text.push_str(&format!("\nOpen the lead: {}\n", about.link));
    let subject = normalise::shorten(&format!("Follow up: {whom}"), LONGEST_SUBJECT);
    EmailText { html: html(notice, &agent, &opening, &subject), subject, text }
}

fn html(notice: &FollowUpNotice<'_>, agent: &str, opening: &str, title: &str) -> String {
    let rows: String = notice
        .about
        .rows()
        .iter()
        .map(|(label, value)| {
            let value = escape(value);
            format!("<tr><th align=\"left\" valign=\"top\">{label}</th><td>{value}</td></tr>\n")
        })
        .collect();
    let note = notice.note.map_or_else(String::new, |note| {
        let lines = escape(note).replace('\n', "<br>\n");
        format!("<p><b>Note</b></p>\n<blockquote>{lines}</blockquote>\n")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body style=\"font-family: sans-serif\">\n<p>Hello {agent},</p>\n<p>{opening}</p>\n{note}\
         <table cellpadding=\"4\">\n{rows}</table>\n<p><a href=\"{link}\">Open the lead</a></p>\n\
         </body></html>\n",
        title = escape(title),
        agent = escape(agent),
        opening = escape(opening),
        link = escape(notice.about.link),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StandardLead;

    #[test]
    fn a_reminder_says_whom_and_why_and_escapes_what_came_from_outside() {
        let lead = StandardLead {
            first_name: Some("Jan <b>".to_owned()),
            phone: Some("+48501234567".to_owned()),
            ..StandardLead::default()
        };
        let about = LeadNotice { lead: &lead, agent: "Ann", agency: "Nowak", link: "https://x/1" };
        let note = Some("call\n<script>");
        let email = follow_up_email(&FollowUpNotice { about, note });
        assert_eq!(email.subject, "Follow up: Jan <b>");
        assert!(email.text.contains("> call\n> <script>") && email.text.contains("+48501234567"));
        assert!(email.html.contains("Jan &lt;b&gt;") && !email.html.contains("<script>"));
        let nobody = StandardLead::default();
        let about = LeadNotice { lead: &nobody, ..about };
        let email = follow_up_email(&FollowUpNotice { about, note: None });
        assert_eq!(email.subject, "Follow up: a lead");
        assert!(!email.text.contains("Note:"));
    }
}
