//! Transfers to connected accounts by Stripe Connect:
//! <https://docs.stripe.com/api/transfers/create>. Written against API version 2025-04-30.basil.
//!
//! A transfer carries an `Idempotency-Key` made of the payout's id: within at least 24 hours Stripe
//! answers the same request with the same result (<https://docs.stripe.com/api/idempotent_requests>).
//! Its `transfer_group` is the payout's id too, so that it is found whatever the time
//! (<https://docs.stripe.com/api/transfers/list>).

use super::{Payouts, Transfer, Transferred, stripe_codes};
use crate::config::secs;
use crate::{ConfigFault, SendError, SendFault, http};
use async_trait::async_trait;
use reqwest::{Client, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use switchyard_domain::PayoutId;
use switchyard_domain::money::Money;

/// The version whose shapes are read here; Stripe keeps it for us.
const VERSION: &str = "2025-04-30.basil";
/// Currencies that Stripe counts in hundredths though ISO 4217 has no minor unit for them:
/// <https://docs.stripe.com/currencies#special-cases>.
const IN_HUNDREDTHS: [&str; 2] = ["ISK", "UGX"];

/// A Stripe account.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StripeConfig {
    /// Address of the API.
    pub base_url: String,
    /// Secret or restricted key; it may write transfers.
    pub secret_key: Option<SecretString>,
    /// Longest time of one request, in seconds.
    pub timeout_secs: u64,
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self { base_url: "https://api.stripe.com".to_owned(), secret_key: None, timeout_secs: 30 }
    }
}

/// Moves money by a Stripe account.
#[derive(Debug)]
pub struct Stripe {
    client: Client,
    url: String,
    key: SecretString,
}

#[derive(Deserialize)]
struct TransferBody {
    id: String,
    amount: i64,
    currency: String,
    destination: Option<String>,
    #[serde(default)]
    reversed: bool,
}

#[derive(Deserialize)]
struct ListBody {
    data: Vec<TransferBody>,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: StripeError,
}

/// <https://docs.stripe.com/api/errors>
#[derive(Default, Deserialize)]
struct StripeError {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

impl Stripe {
    /// A client of an account. Opens no connection.
    ///
    /// # Errors
    /// If there is no key, or no TLS can be had on this machine.
    pub fn new(config: &StripeConfig) -> Result<Self, ConfigFault> {
        let missing = || ConfigFault {
            key: "stripe.secret_key".to_owned(),
            message: "is missing: the secret key of the account, sk_... or rk_...".to_owned(),
        };
        let base = config.base_url.trim_end_matches('/');
        Ok(Self {
            client: http::client(secs(config.timeout_secs))?,
            url: format!("{base}/v1/transfers"),
            key: config.secret_key.clone().ok_or_else(missing)?,
        })
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.key.expose_secret()).header("stripe-version", VERSION)
    }
}

/// `transfer_group`, and the idempotency key.
fn name(id: PayoutId) -> String {
    format!("payout-{id}")
}

/// The amount as Stripe counts it.
fn amount(money: Money) -> Result<i64, SendError> {
    let unfit = |message: &str| Err(SendError::permanent("amount", message));
    let code = money.currency.code();
    if money.minor < 1 {
        return unfit("a transfer moves an amount above zero");
    }
    if IN_HUNDREDTHS.contains(&code) && money.currency.exponent() == 0 {
        return match money.minor.checked_mul(100) {
            Some(hundredths) => Ok(hundredths),
            None => unfit("the amount is larger than Stripe takes"),
        };
    }
    if money.currency.exponent() == 3 && money.minor % 10 != 0 {
        return unfit(
            "Stripe moves this currency in tens of its minor unit only; pay it otherwise",
        );
    }
    Ok(money.minor)
}

#[async_trait]
impl Payouts for Stripe {
    async fn transfer(&self, transfer: &Transfer) -> Result<Transferred, SendError> {
        let amount = amount(transfer.amount)?;
        let (name, id) = (name(transfer.id), transfer.id.to_string());
        let currency = transfer.amount.currency.code().to_ascii_lowercase();
        let amount_text = amount.to_string();
        let form = [
            ("amount", amount_text.as_str()),
            ("currency", &currency),
            ("destination", &transfer.account),
            ("transfer_group", &name),
            ("description", &transfer.purpose),
            ("metadata[payout]", &id),
        ];
        let request = self.client.post(&self.url).header("idempotency-key", &name).form(&form);
        let answer = http::call(self.signed(request)).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        // What was answered may be the answer to another request only if our keys are not unique.
        match serde_json::from_slice::<TransferBody>(&answer.body) {
            Ok(made) if made.fits(amount, &currency, &transfer.account) => Ok(made.into()),
            _ => {
                let message = "Stripe answered with a transfer that is not ours; look it up there";
                Err(SendError::unknown("other_transfer", message))
            }
        }
    }

    async fn find(&self, id: PayoutId) -> Result<Option<Transferred>, SendError> {
        let group = name(id);
        let query = [("transfer_group", group.as_str()), ("limit", "10")];
        let url = Url::parse_with_params(&self.url, query).map_err(|e| {
            SendError::wait("url", "this is no address; mend `providers.stripe.base_url`")
                .because(e)
        })?;
        let request = self.client.get(url);
        let answer = http::call(self.signed(request)).await.map_err(harmless)?;
        if !answer.status.is_success() {
            return Err(harmless(refusal(&answer)));
        }
        let list: ListBody = serde_json::from_slice(&answer.body).map_err(|e| {
            SendError::retry("unreadable", "Stripe's list of transfers cannot be read").because(e)
        })?;
        // A transfer that somebody took back moved nothing in the end.
        Ok(list.data.into_iter().find(|t| !t.reversed).map(Transferred::from))
    }
}

impl TransferBody {
    fn fits(&self, amount: i64, currency: &str, account: &str) -> bool {
        self.amount == amount
            && self.currency == currency
            && self.destination.as_deref() == Some(account)
    }
}

impl From<TransferBody> for Transferred {
    fn from(made: TransferBody) -> Self {
        Self { provider: "stripe", provider_id: made.id }
    }
}

/// A question moves nothing: whatever became of it, it can be asked again.
fn harmless(fault: SendError) -> SendError {
    match fault.class {
        SendFault::Unknown => fault.classed(SendFault::Retry { after: None }),
        _ => fault,
    }
}

fn refusal(answer: &http::Answer) -> SendError {
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    let StripeError { kind, code, message } = body.error;
    let word = code.or_else(|| kind.clone());
    let status = answer.status.as_u16();
    let (class, about) = stripe_codes::meaning(status, kind.as_deref(), word.as_deref());
    let said = message.unwrap_or_else(|| format!("Stripe answered {}", answer.status));
    let word = word.unwrap_or_else(|| format!("http_{status}"));
    SendError::new(http::with_wait(class, answer), word, format!("{about}; Stripe said: {said}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use switchyard_domain::money::Currency;

    #[test]
    fn amounts_are_counted_as_stripe_counts_them() {
        let counted = |minor, code| amount(Money::new(minor, Currency::of(code).unwrap()));
        assert_eq!(counted(1_050, "EUR").unwrap(), 1_050);
        assert_eq!(counted(1_050, "JPY").unwrap(), 1_050);
        assert_eq!(counted(1_050, "ISK").unwrap(), 105_000);
        assert_eq!(counted(1_050, "KWD").unwrap(), 1_050);
        for (minor, code) in [(1_055, "KWD"), (0, "EUR"), (-1, "EUR"), (i64::MAX, "ISK")] {
            assert_eq!(counted(minor, code).unwrap_err().class, SendFault::Permanent, "{code}");
        }
    }

    #[test]
    fn a_client_without_a_key_is_not_made() {
        assert_eq!(Stripe::new(&StripeConfig::default()).unwrap_err().key, "stripe.secret_key");
    }
}
