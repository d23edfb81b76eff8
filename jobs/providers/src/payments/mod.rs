//! Money that leaves by an API: a trait, and Stripe Connect behind it. Files for banks are made by
//! `switchyard_domain::payment`; they need no provider.

mod stripe;
mod stripe_codes;

pub use stripe::{Stripe, StripeConfig};

use crate::SendError;
use async_trait::async_trait;
use switchyard_domain::PayoutId;
use switchyard_domain::money::Money;

/// Money to be moved to somebody's account at the provider.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// What makes it the same transfer, however often it is asked for.
    pub id: PayoutId,
    /// How much; above zero.
    pub amount: Money,
    /// The account at the provider: `acct_...`.
    pub account: String,
    /// What for; the receiver may see it.
    pub purpose: String,
}

/// Money that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Which provider.
    pub provider: &'static str,
    /// The provider's own id of it.
    pub provider_id: String,
}

/// Moves money. A transfer is made once, however often it is asked for within a day; after that
/// [`Payouts::find`] has to be asked first.
#[async_trait]
pub trait Payouts: Send + Sync {
    /// Moves money to an account.
    ///
    /// # Errors
    /// [`SendError`]: its class says whether to try again, to stop, or that nobody knows.
    async fn transfer(&self, transfer: &Transfer) -> Result<Transferred, SendError>;

    /// Looks whether the money was moved.
    ///
    /// # Errors
    /// [`SendError`]; never [`crate::SendFault::Unknown`], since asking moves nothing.
    async fn find(&self, id: PayoutId) -> Result<Option<Transferred>, SendError>;
}

/// Stands in until an account is configured: it moves nothing and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPayouts;

fn not_configured() -> SendError {
    SendError::wait(
        "not_configured",
        "no account is configured to pay from; set `providers.stripe.secret_key`, or export a file",
    )
}

#[async_trait]
impl Payouts for NoPayouts {
    async fn transfer(&self, _: &Transfer) -> Result<Transferred, SendError> {
        Err(not_configured())
    }

    async fn find(&self, _: PayoutId) -> Result<Option<Transferred>, SendError> {
        Err(not_configured())
    }
}
