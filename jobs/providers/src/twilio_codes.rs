//! Twilio's error codes and what each means for a message.
//!
//! Source: the error dictionary, <https://www.twilio.com/docs/api/errors>, one page a code
//! (`/docs/api/errors/63038`). Twilio changes the table, so what is not listed here is judged by
//! its HTTP status.

use crate::{SendError, SendFault};
use std::time::Duration;

const SOON: SendFault = SendFault::Retry { after: None };
const MINUTE: SendFault = SendFault::Retry { after: Some(Duration::from_secs(60)) };
const HOUR: SendFault = SendFault::Retry { after: Some(Duration::from_secs(3600)) };
const OPERATOR: SendFault = SendFault::Retry { after: Some(SendError::OPERATOR_WAIT) };
const REFUSED: SendFault = SendFault::Permanent;

/// Code, class, and what it is in a few words with what to do. Sorted by code.
const CODES: &[(i64, SendFault, &str)] = &[
    (14107, MINUTE, "too many messages in a short time"),
    (20003, OPERATOR, "Twilio refused the credentials: check account_sid, api_key and auth_token"),
    (20005, OPERATOR, "the Twilio account is not active: see the console"),
    (20006, OPERATOR, "the credentials may not do this: check the API key's permissions"),
    (20008, OPERATOR, "test credentials cannot send: use the live ones"),
    (20404, OPERATOR, "Twilio does not know this account: check account_sid and base_url"),
    (20429, SOON, "too many requests at once; the request was not processed"),
    (20500, SOON, "Twilio had an internal error"),
    (20503, SOON, "Twilio is temporarily unavailable"),
    (21211, REFUSED, "the recipient's number is not valid"),
    (21212, OPERATOR, "the sender's number is not valid: check twilio.from"),
    (21265, REFUSED, "the recipient is a short code"),
    (21408, OPERATOR, "the account may not send to this region: enable it in the console"),
    (21602, REFUSED, "the message has no text"),
    (21603, OPERATOR, "the sender is missing: check twilio.from"),
    (21604, REFUSED, "the recipient is missing"),
    (21606, OPERATOR, "the sender cannot send from this account: check twilio.from"),
    (21608, REFUSED, "a trial account sends to verified numbers only"),
    (21610, REFUSED, "the recipient opted out"),
    (21611, MINUTE, "the sender's queue is full"),
    (21612, REFUSED, "this recipient cannot be reached from this sender"),
    (21614, REFUSED, "the recipient is no mobile number"),
    (21617, REFUSED, "the text is longer than 1,600 characters"),
    (21654, OPERATOR, "the template is not known: check twilio.content_sid"),
    (21655, OPERATOR, "the template's id is not valid: check twilio.content_sid"),
    (21656, REFUSED, "the template does not take this text as its variable 1"),
    (21910, OPERATOR, "sender and recipient are not of the same channel: check twilio.from"),
    (30001, MINUTE, "the sender's queue is full"),
    (30002, OPERATOR, "the Twilio account is suspended: see the console"),
    (63001, OPERATOR, "WhatsApp refused the account's credentials: see the sender in the console"),
    (63003, REFUSED, "the recipient is not on WhatsApp"),
    (63005, REFUSED, "WhatsApp did not accept the content"),
    (63007, OPERATOR, "no WhatsApp sender has this number: check twilio.from"),
    (63012, SOON, "WhatsApp had an internal error"),
    (63013, REFUSED, "the message violates WhatsApp's policy"),
    (63015, REFUSED, "the recipient has not joined the WhatsApp sandbox"),
    (63016, REFUSED, "outside the 24 hours only templates are delivered: set twilio.content_sid"),
    (63017, SOON, "the account sends faster than its rate"),
    (63018, HOUR, "the sender's WhatsApp limit is reached; it moves over 24 hours"),
    (63020, OPERATOR, "the sender's WhatsApp account has a payment problem: see Meta's manager"),
    (63021, REFUSED, "WhatsApp did not accept the content"),
    (63024, REFUSED, "the recipient cannot be reached on WhatsApp"),
    (63027, OPERATOR, "the template does not exist in this language: check twilio.content_sid"),
    (63028, REFUSED, "the template wants another number of variables"),
    (63032, REFUSED, "WhatsApp does not deliver to this recipient at present"),
    (63038, HOUR, "the account's daily limit is reached; it moves over 24 hours"),
    (63041, OPERATOR, "the template is paused by WhatsApp: see the console"),
    (63042, OPERATOR, "the template is disabled by WhatsApp: see the console"),
];

/// What is known of a code.
pub(crate) fn find(code: i64) -> Option<(SendFault, &'static str)> {
    CODES.binary_search_by_key(&code, |c| c.0).ok().map(|i| (CODES[i].1, CODES[i].2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_code_is_found() {
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(CODES.iter().all(|c| find(c.0) == Some((c.1, c.2))));
        assert_eq!(find(21617), Some((REFUSED, "the text is longer than 1,600 characters")));
        assert_eq!(find(1), None);
    }
}
