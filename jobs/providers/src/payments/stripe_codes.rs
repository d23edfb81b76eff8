//! What Stripe's refusals mean for a transfer: <https://docs.stripe.com/error-codes> and
//! <https://docs.stripe.com/error-low-level>.

use crate::{SendError, SendFault};

const SOON: SendFault = SendFault::Retry { after: None };
const OPERATOR: SendFault = SendFault::Retry { after: Some(SendError::OPERATOR_WAIT) };
const STOP: SendFault = SendFault::Permanent;

/// Codes that say more than the status.
const CODES: [(&str, SendFault, &str); 19] = [
    ("balance_insufficient", OPERATOR, "the Stripe balance does not cover it; top it up"),
    ("insufficient_funds", OPERATOR, "the Stripe balance does not cover it; top it up"),
    ("lock_timeout", SOON, "another request was changing the same thing"),
    ("idempotency_key_in_use", SOON, "the same transfer is being made at this moment"),
    ("rate_limit", SOON, "too many requests"),
    ("api_key_expired", OPERATOR, "the secret key has expired; set a new one"),
    ("platform_api_key_expired", OPERATOR, "the secret key has expired; set a new one"),
    (
        "secret_key_required",
        OPERATOR,
        "the key is no secret key; set `providers.stripe.secret_key`",
    ),
    (
        "livemode_mismatch",
        OPERATOR,
        "the key is of the test mode and the account is not, or vice versa",
    ),
    ("testmode_charges_only", OPERATOR, "the Stripe account is not activated yet"),
    ("account_invalid", STOP, "the payee's Stripe account is not known to ours; connect it again"),
    ("resource_missing", STOP, "the payee's Stripe account does not exist; mend it with the payee"),
    ("account_closed", STOP, "the payee's Stripe account is closed; take another"),
    ("transfers_not_allowed", STOP, "transfers to this account are not allowed"),
    (
        "insufficient_capabilities_for_transfer",
        STOP,
        "the payee's Stripe account cannot take transfers yet; the payee has to finish its setup",
    ),
    ("amount_too_small", STOP, "the amount is smaller than Stripe moves"),
    ("amount_too_large", STOP, "the amount is larger than Stripe moves"),
    ("invalid_currency", STOP, "Stripe does not move this currency to this account"),
    ("parameter_invalid_integer", STOP, "Stripe does not take the amount"),
];

/// What a refusal means, and that in a few words.
pub(super) fn meaning(
    status: u16,
    kind: Option<&str>,
    code: Option<&str>,
) -> (SendFault, &'static str) {
    // The same key came with other parameters: one of the two requests may have moved money.
    if kind == Some("idempotency_error") && code != Some("idempotency_key_in_use") {
        return (
            SendFault::Unknown,
            "the same payout was asked for with another amount or account",
        );
    }
    let known = CODES.iter().find(|(word, _, _)| Some(*word) == code);
    if let Some((_, class, about)) = known.filter(|_| status < 500) {
        return (*class, about);
    }
    match status {
        // "Treat the result of a 500 request as indeterminate."
        500..=599 => (SendFault::Unknown, "Stripe failed half way; the money may have been moved"),
        409 | 424 | 425 | 429 => (SOON, "not at this moment"),
        401 => (OPERATOR, "the secret key is refused; set `providers.stripe.secret_key`"),
        403 => (OPERATOR, "the key may not make transfers; give it that permission"),
        300..=399 | 404 | 405 | 407 => {
            (OPERATOR, "this is not Stripe; mend `providers.stripe.base_url`")
        }
        408 => (SOON, "the request did not arrive in time"),
        _ => (STOP, "Stripe refuses this transfer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once() {
        let mut words: Vec<_> = CODES.iter().map(|(word, _, _)| word).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), CODES.len());
    }

    #[test]
    fn a_failure_of_stripes_own_is_never_taken_for_a_refusal() {
        for status in [500, 502, 503, 504] {
            for code in [None, Some("balance_insufficient"), Some("lock_timeout")] {
                assert_eq!(meaning(status, Some("api_error"), code).0, SendFault::Unknown);
            }
        }
        assert_eq!(meaning(400, Some("idempotency_error"), None).0, SendFault::Unknown);
        assert_eq!(meaning(402, Some("card_error"), Some("card_declined")).0, STOP);
    }
}
