//! Money on its way out: bank accounts, and the files by which a bank is told to pay.

mod account;
mod latin;
mod payouts_csv;
mod rules;
mod sepa;
#[cfg(test)]
mod sepa_rules;
#[cfg(test)]
mod tests;

pub use account::{AccountFault, Bic, SepaIban};
pub use latin::sepa_text;
pub use payouts_csv::{PayoutLine, cell, payouts_csv};
pub use rules::{ApprovalLimit, Debtor, PayoutRules};
pub use sepa::{
    LARGEST_CENTS, MOST_TRANSFERS, SepaFault, SepaOrder, SepaTransfer, pain_001, sepa_name,
};
