//! The types of event, and which of them an endpoint wants.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most entries in an endpoint's list of events.
pub const MOST_SUBSCRIPTIONS: usize = 50;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $agencies:literal, $about:literal;)*) => {
        /// What happened. The word is part of the contract with receivers and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl EventType {
            /// Every type, in the order of a lead's way.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in the payload's `type` and in subscriptions.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// When it is sent and what it tells, for receivers.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => $about,)* }
            }

            /// Whether agencies' endpoints get it (of their own leads only). The platform's partners
            /// get every type.
            #[must_use]
            pub fn for_agencies(self) -> bool {
                match self { $(Self::$name => $agencies,)* }
            }
        }
    };
}

events! {
    /// A lead came in.
    LeadCreated = "lead.created", false,
        "A portal's event became a lead. Nobody holds it yet.";
    /// A lead was offered to an agency.
    LeadAssigned = "lead.assigned", true,
        "A lead was offered to an agency, with everything that is known of the person.";
    /// An agency took a lead.
    LeadAccepted = "lead.accepted", true, "The agency took the lead.";
    /// An agency turned a lead down.
    LeadRejected = "lead.rejected", true,
        "The agency turned the lead down. It may not see the person any more: only ids are told.";
    /// Nobody covers a lead's place.
    LeadUnassigned = "lead.unassigned", false,
        "No agency may get the lead; it waits for a territory.";
    /// A message to an agency was not sent.
    MessageFailed = "message.failed", true,
        "A message about a lead was certainly not sent and will not be tried again by itself.";
    /// A commission was booked.
    CommissionBooked = "commission.booked", true, "A lead converted and its commission was booked.";
    /// Somebody asked for a trial.
    Test = "webhook.test", true,
        "Somebody pressed \"send a test\". It goes to that endpoint alone, whatever it subscribes to.";
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|e| e.as_str() == s);
        found.ok_or_else(|| format!("`{s}` is no type of event"))
    }
}

/// Why a list of subscriptions was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSubscription {
    /// It is empty or endless.
    #[error("an endpoint subscribes to 1 to {MOST_SUBSCRIPTIONS} events, such as `lead.*`")]
    Count,
    /// It would never match anything.
    #[error("`{0}` is no event; there are {known}, `*` and groups such as `lead.*`",
        known = known())]
    Unknown(String),
}

fn known() -> String {
    let words: Vec<_> = EventType::ALL.iter().map(|e| format!("`{e}`")).collect();
    words.join(", ")
}

/// Looks whether every entry is an event, a group (`lead.*`) or everything (`*`).
///
/// # Errors
/// [`BadSubscription`] names the first that is not.
pub fn check_subscriptions(patterns: &[String]) -> Result<(), BadSubscription> {
    if !(1..=MOST_SUBSCRIPTIONS).contains(&patterns.len()) {
        return Err(BadSubscription::Count);
    }
    let matches_something =
        |p: &&String| EventType::ALL.iter().any(|e| subscribed(std::slice::from_ref(*p), *e));
    match patterns.iter().find(|p| !matches_something(p)) {
        Some(p) => Err(BadSubscription::Unknown(p.clone())),
        None => Ok(()),
    }
}

/// Whether one of the entries means this event; the same as `switchyard.event_matches` in the
/// database.
#[must_use]
pub fn subscribed(patterns: &[String], event: EventType) -> bool {
    let word = event.as_str();
    patterns.iter().any(|p| {
        p == "*" || p == word || p.strip_suffix('*').is_some_and(|g| group_of(word) == Some(g))
    })
}

/// `lead.` of `lead.created`.
fn group_of(word: &str) -> Option<&str> {
    word.find('.').map(|dot| &word[..=dot])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn a_group_means_its_events_and_no_others() {
        let matched = |p: &str| -> Vec<&str> {
            let all = EventType::ALL.iter().filter(|e| subscribed(&list(&[p]), **e));
            all.map(|e| e.as_str()).collect()
        };
        assert_eq!(matched("lead.*").len(), 5);
        assert_eq!(matched("message.*"), ["message.failed"]);
        assert_eq!(matched("lead.accepted"), ["lead.accepted"]);
        assert_eq!(matched("*").len(), EventType::ALL.len());
        for nothing in ["", "lead", "lead.", "lead*", "l*", "lead.a*", ".*", "lead.*.*", "LEAD.*"] {
            assert_eq!(matched(nothing), Vec::<&str>::new(), "{nothing}");
        }
    }

    #[test]
    fn what_would_never_match_is_refused_by_name() {
        assert_eq!(check_subscriptions(&list(&["lead.*", "commission.booked"])), Ok(()));
        assert_eq!(check_subscriptions(&[]), Err(BadSubscription::Count));
        assert_eq!(check_subscriptions(&list(&["*"; 51])), Err(BadSubscription::Count));
        let refused =
            check_subscriptions(&list(&["lead.*", "lead.sold"])).map_err(|e| e.to_string());
        assert!(refused.is_err_and(|e| e.contains("`lead.sold`") && e.contains("`lead.assigned`")));
    }

    #[test]
    fn every_word_is_read_back() {
        for event in EventType::ALL {
            assert_eq!(event.as_str().parse(), Ok(*event));
        }
    }
}
