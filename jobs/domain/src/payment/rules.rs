//! By which rules the platform pays.

use super::account::{Bic, SepaIban};

/// The account that SEPA transfers leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debtor {
    /// Its holder.
    pub name: String,
    /// Which one.
    pub iban: SepaIban,
    /// At which bank, if that is said.
    pub bic: Option<Bic>,
}

/// By which rules the platform pays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayoutRules {
    /// A payout of more than this many minor units of its currency is approved by a second person;
    /// by default every one.
    pub approval_limit: i64,
    /// Without it no pain.001 file can be made.
    pub debtor: Option<Debtor>,
}
