//! By which rules the platform pays.

use super::account::{Bic, SepaIban};
use crate::money::Currency;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

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
    /// What is asked for beyond this is approved by a second person.
    pub approval_limit: ApprovalLimit,
    /// Without it no pain.001 file can be made.
    pub debtor: Option<Debtor>,
    /// When a month is closed, everybody for whom something was booked in it gets the statement.
    pub mail_statements: bool,
}

/// How much, in minor units, one owner can have paid out within 24 hours before a second person approves:
/// one number for every currency, or one a currency, and 0 for those that are not named. By default 0,
/// which is every payout. Written `100000` or `EUR=100000,JPY=15000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalLimit {
    /// In every currency, so many of its minor units.
    Every(i64),
    /// In these.
    Of(BTreeMap<Currency, i64>),
}

impl ApprovalLimit {
    /// The most that can be set.
    pub const MOST: u64 = 1_000_000_000_000;

    /// The limit of a currency.
    #[must_use]
    pub fn of(&self, currency: Currency) -> i64 {
        match self {
            Self::Every(limit) => *limit,
            Self::Of(limits) => limits.get(&currency).copied().unwrap_or(0),
        }
    }

    /// Limits by the codes of their currencies.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn by_currency<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let pairs = pairs.into_iter();
        let read = pairs.map(|(code, limit)| {
            Ok((code.trim().to_ascii_uppercase().parse::<Currency>()?, amount(limit)?))
        });
        read.collect::<Result<_, String>>().map(Self::Of)
    }
}

fn amount(text: &str) -> Result<i64, String> {
    let read = text.trim().replace('_', "").parse::<u64>().ok();
    let limit = read.filter(|n| *n <= ApprovalLimit::MOST).and_then(|n| i64::try_from(n).ok());
    limit.ok_or_else(|| format!("`{}` is no limit; write minor units from 0 to 10^12", text.trim()))
}

impl Default for ApprovalLimit {
    fn default() -> Self {
        Self::Every(0)
    }
}

impl From<i64> for ApprovalLimit {
    fn from(limit: i64) -> Self {
        Self::Every(limit)
    }
}

impl FromStr for ApprovalLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return amount(text).map(Self::Every);
        }
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        Self::by_currency(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))))
    }
}

impl fmt::Display for ApprovalLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(limit) => write!(f, "{limit}"),
            Self::Of(limits) => {
                for (n, (currency, limit)) in limits.iter().enumerate() {
                    write!(f, "{}{}={limit}", if n > 0 { "," } else { "" }, currency.code())?;
                }
                Ok(())
            }
        }
    }
}
