//! The error codes of Meta's Cloud API and what each means for a message.
//!
//! Source: <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>
//! (May 2026), which says to judge by `code`, not by the HTTP status: limits come as 400. What is
//! not listed here is judged by its HTTP status.

use crate::{SendError, SendFault};
use std::time::Duration;

const SOON: SendFault = SendFault::Retry { after: None };
const PAIR: SendFault = SendFault::Retry { after: Some(Duration::from_secs(6)) };
const MINUTE: SendFault = SendFault::Retry { after: Some(Duration::from_secs(60)) };
const HOUR: SendFault = SendFault::Retry { after: Some(Duration::from_secs(3600)) };
const OPERATOR: SendFault = SendFault::Retry { after: Some(SendError::OPERATOR_WAIT) };
const REFUSED: SendFault = SendFault::Permanent;

/// Code, class, and what it is in a few words with what to do. Sorted by code.
const CODES: &[(i64, SendFault, &str)] = &[
    (0, OPERATOR, "Meta refused the access token: make a new one"),
    (1, SOON, "an unknown error: a fault of the request or of the server"),
    (2, SOON, "the API is down or overloaded"),
    (3, OPERATOR, "the access token lacks a permission: check it with the token debugger"),
    (4, MINUTE, "the app's call limit is reached"),
    (10, OPERATOR, "the permission was not granted or was withdrawn"),
    (33, OPERATOR, "the sending number was deleted: check meta.phone_number_id"),
    (100, REFUSED, "a parameter is not valid"),
    (190, OPERATOR, "the access token has expired: make a new one"),
    (368, OPERATOR, "the account is blocked for a policy violation: see Meta's manager"),
    (80007, MINUTE, "the account's rate limit is reached"),
    (130429, SOON, "the sending number's throughput is reached"),
    (130472, REFUSED, "the recipient is part of an experiment of Meta's"),
    (130497, REFUSED, "the account may not message people in this country"),
    (131000, SOON, "something went wrong at Meta"),
    (131005, OPERATOR, "the access token lacks a permission"),
    (131008, REFUSED, "a required parameter is missing"),
    (131009, REFUSED, "a parameter's value is not valid"),
    (131016, SOON, "the service is temporarily unavailable"),
    (131021, REFUSED, "the recipient is the sender"),
    (131026, REFUSED, "the recipient cannot be reached on WhatsApp"),
    (131030, REFUSED, "the recipient is not on the test number's list"),
    (131031, OPERATOR, "the account is locked: see Meta's manager"),
    (131037, OPERATOR, "the sender's display name awaits approval: see Meta's manager"),
    (131042, OPERATOR, "the account has a payment problem: see Meta's manager"),
    (131045, OPERATOR, "the sending number is not registered properly: register it anew"),
    (131047, REFUSED, "outside the 24 hours only templates are delivered: set meta.template"),
    (131048, HOUR, "the sender is limited because recipients reported it as spam"),
    (131049, REFUSED, "Meta chose not to deliver it; sending again at once would not help"),
    (131050, REFUSED, "the recipient opted out"),
    (131051, REFUSED, "the message's type is not supported"),
    (131056, PAIR, "too many messages to this recipient in a short time"),
    (131057, MINUTE, "the account is in maintenance"),
    (132000, OPERATOR, "the template wants another number of variables: check meta.template"),
    (132001, OPERATOR, "the template does not exist in this language: check meta.template"),
    (132005, REFUSED, "the text is too long for the template"),
    (132007, REFUSED, "the text violates WhatsApp's policy"),
    (132012, REFUSED, "the text does not have the form that the template wants"),
    (132015, OPERATOR, "the template is paused for its quality: see Meta's manager"),
    (132016, OPERATOR, "the template is disabled for its quality: see Meta's manager"),
    (133004, SOON, "the server is temporarily unavailable"),
    (133010, OPERATOR, "the sending number is not registered: register it"),
];

/// What is known of a code. 200 to 299 are all permissions that were not granted.
pub(crate) fn find(code: i64) -> Option<(SendFault, &'static str)> {
    if (200..300).contains(&code) {
        return Some((OPERATOR, "the access token lacks a permission"));
    }
    CODES.binary_search_by_key(&code, |c| c.0).ok().map(|i| (CODES[i].1, CODES[i].2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_code_is_found() {
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(CODES.iter().all(|c| find(c.0) == Some((c.1, c.2))));
        assert_eq!(find(131_056).map(|c| c.0), Some(PAIR));
        assert_eq!(find(200).map(|c| c.0), Some(OPERATOR));
        assert_eq!(find(300), None);
    }
}
