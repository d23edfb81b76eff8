//! The WhatsApp message: plain text, short enough for every provider.

use super::{LeadNotice, quoted};
use crate::normalise;

/// Longest text that every way to WhatsApp takes, in UTF-16 units (the strictest way to count).
///
/// Meta's Cloud API takes 4,096 characters in a text message and 1,024 in a template's body with its
/// parameters filled in; Twilio's Messages API takes 1,600 (error 21617).
pub const WHATSAPP_LIMIT: usize = 1024;

/// The text that tells an agent about a lead. The link is never cut; the person's message is.
#[must_use]
pub fn lead_whatsapp(notice: &LeadNotice<'_>) -> String {
    let mut head = format!("*{}*", notice.headline());
    for (label, value) in notice.rows() {
        let most = if label == "E-mail" { 254 } else { 100 };
        let value = normalise::shorten(&value, most);
        let line = format!("\n{label}: {value}");
        // The rows that matter come first; the last ones give way.
        if units(&head) + units(&line) + units(notice.link) + 50 <= WHATSAPP_LIMIT {
            head.push_str(&line);
        }
    }
    let tail = format!("\n\nAccept or decline: {}", notice.link);
    let Some(message) = &notice.lead.message else { return head + &tail };
    let room = WHATSAPP_LIMIT.saturating_sub(units(&head) + units(&tail) + units("\n\n"));
    match cut(&quoted(message), room) {
        Some(message) => format!("{head}\n\n{message}{tail}"),
        None => head + &tail,
    }
}

/// As much of a text as has at most `room` UTF-16 units with the `…`; `None` if that is too little
/// to be of use.
fn cut(text: &str, room: usize) -> Option<String> {
    if units(text) <= room {
        return Some(text.to_owned());
    }
    if room < 20 {
        return None;
    }
    let mut used = 1; // the `…`
    let kept: String = text
        .chars()
        .take_while(|c| {
            used += c.len_utf16();
            used <= room
        })
        .collect();
    Some(format!("{}…", kept.trim_end()))
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
