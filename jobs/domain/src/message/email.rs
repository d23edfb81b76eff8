//! The e-mail: subject, plain text, and HTML that reads the same.

use super::{LeadNotice, quoted};
use crate::normalise;

/// A rendered e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailText {
    /// One line.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part; everything that came from outside is escaped.
    pub html: String,
}

/// RFC 5322 allows 998 characters a line; mail programs show about 70, phones about 40.
pub(super) const LONGEST_SUBJECT: usize = 120;

/// The e-mail that tells an agent about a lead.
#[must_use]
pub fn lead_email(notice: &LeadNotice<'_>) -> EmailText {
    let lead = notice.lead;
    let mut subject = notice.headline();
    if let Some(code) = &lead.postal_code {
        subject.push_str(&format!(" ({code})"));
    }
    let agent = normalise::line(notice.agent).unwrap_or_default();
    let agency = normalise::line(notice.agency).unwrap_or_default();
    let opening = format!("{agency} has a new lead. Accept it before you call.");
    EmailText {
        subject: normalise::shorten(
            &normalise::line(&subject).unwrap_or_default(),
            LONGEST_SUBJECT,
        ),
        text: text(notice, &agent, &opening),
        html: html(notice, &agent, &opening),
    }
}

const TEST_NOTE: &str = "This is a test lead: nobody is waiting for an answer.";

fn text(notice: &LeadNotice<'_>, agent: &str, opening: &str) -> String {
    let mut out = format!("Hello {agent},\n\n{opening}\n");
    if notice.lead.is_test {
        out.push_str(&format!("{TEST_NOTE}\n"));
    }
    out.push('\n');
    for (label, value) in notice.rows() {
        out.push_str(&format!("{label}: {value}\n"));
    }
    if let Some(message) = &notice.lead.message {
        out.push_str(&format!("\nMessage:\n{}\n", quoted(message)));
    }
    out.push_str(&format!("\nAccept or decline: {}\n", notice.link));
    out
}

fn html(notice: &LeadNotice<'_>, agent: &str, opening: &str) -> String {
    let mut rows = String::new();
    for (label, value) in notice.rows() {
        let value = match label {
            "Phone" => linked("tel:", &value),
            "E-mail" => linked("mailto:", &value),
            _ => escape(&value),
        };
        rows.push_str(&format!(
            "<tr><th align=\"left\" valign=\"top\">{label}</th><td>{value}</td></tr>\n"
        ));
    }
    let message = notice.lead.message.as_ref().map_or_else(String::new, |message| {
        let lines = escape(message).replace('\n', "<br>\n");
        format!("<p><b>Message</b></p>\n<blockquote>{lines}</blockquote>\n")
    });
    let test = if notice.lead.is_test {
        format!("<p><b>{}</b></p>\n", escape(TEST_NOTE))
    } else {
        String::new()
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body style=\"font-family: sans-serif\">\n<p>Hello {agent},</p>\n<p>{opening}</p>\n{test}\
         <table cellpadding=\"4\">\n{rows}</table>\n{message}\
         <p><a href=\"{link}\">Accept or decline</a></p>\n</body></html>\n",
        title = escape(&notice.headline()),
        agent = escape(agent),
        opening = escape(opening),
        link = escape(notice.link),
    )
}

/// A phone number or an address as a link; both are normalised before they get here.
fn linked(scheme: &str, value: &str) -> String {
    let value = escape(value);
    format!("<a href=\"{scheme}{value}\">{value}</a>")
}

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
