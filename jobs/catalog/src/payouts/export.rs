//! One file for the bank with everything that is approved.

use super::{PayoutFault, leave};
use crate::lead_work::Actor;
use chrono::{DateTime, NaiveDate, Utc};
use switchyard_domain::money::Currency;
use switchyard_domain::payment::{
    AccountFault, Bic, Debtor, LARGEST_CENTS, MOST_TRANSFERS, PayoutLine, SepaFault, SepaIban,
    SepaOrder, SepaTransfer, pain_001, payouts_csv,
};
use switchyard_store::payouts::{self, Change, Payout, PayoutFile, PayoutMethod};
use switchyard_store::{StoreFault, Tx};
use uuid::Uuid;

/// Why no file was made. Nothing of it may be committed.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// Nothing waits.
    #[error("no approved payout waits for such a file")]
    Nothing,
    /// Nobody said from which account.
    #[error("set `payouts.debtor.name` and `payouts.debtor.iban` first: the account that pays")]
    NoDebtor,
    /// Stripe needs no file.
    #[error("payouts by Stripe go out by themselves; export `sepa` or `csv`")]
    NoFile,
    /// A bank would refuse it.
    #[error(transparent)]
    Sepa(#[from] SepaFault),
    /// The CSV writer refused it.
    #[error("the CSV was not written")]
    Csv(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A payout does not go on.
    #[error(transparent)]
    Payout(#[from] PayoutFault),
}

impl From<StoreFault> for ExportFault {
    fn from(fault: StoreFault) -> Self {
        Self::Payout(fault.into())
    }
}

/// Makes a file of what is approved, at most 10,000 payouts, and marks them as sent. What is no longer
/// covered is left out and has failed. Platform scope.
///
/// # Errors
/// [`ExportFault`].
pub async fn export(
    tx: &mut Tx,
    method: PayoutMethod,
    currency: Currency,
    execute_on: NaiveDate,
    debtor: Option<&Debtor>,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<PayoutFile, ExportFault> {
    let most = i64::try_from(MOST_TRANSFERS).unwrap_or(i64::MAX);
    let waiting = payouts::lock_approved(tx, method, currency, most).await?;
    let id = Uuid::now_v7();
    let (document, chosen) = match method {
        PayoutMethod::Stripe => return Err(ExportFault::NoFile),
        PayoutMethod::Sepa => {
            let debtor = debtor.ok_or(ExportFault::NoDebtor)?;
            let chosen = covered(tx, waiting, now).await?;
            (sepa(id, debtor, execute_on, &chosen, now)?, chosen)
        }
        PayoutMethod::Csv => {
            let chosen = covered(tx, waiting, now).await?;
            let lines: Vec<PayoutLine> = chosen.iter().map(line).collect();
            let document = payouts_csv(&lines).map_err(|e| ExportFault::Csv(e.into()))?;
            (document, chosen)
        }
    };
    if chosen.is_empty() {
        return Err(ExportFault::Nothing);
    }
    let sum: i128 = chosen.iter().map(|p| i128::from(p.amount.minor)).sum();
    let file = PayoutFile {
        id,
        method,
        currency: currency.code().to_owned(),
        payouts: i32::try_from(chosen.len()).unwrap_or(i32::MAX),
        amount: i64::try_from(sum).unwrap_or(i64::MAX),
        made_by: by.name.clone(),
        made_at: now,
    };
    payouts::save_file(tx, &file, &document).await?;
    for payout in &chosen {
        let sent = payouts::PayoutState::Sent;
        let change = Change { file: Some(id), ..Change::default() };
        payouts::set_state(tx, payout.id, sent, &change).await?;
    }
    Ok(file)
}

/// Takes the money of each out of what is owed; those that are not covered have failed.
async fn covered(
    tx: &mut Tx,
    waiting: Vec<Payout>,
    now: DateTime<Utc>,
) -> Result<Vec<Payout>, ExportFault> {
    let mut chosen = Vec::with_capacity(waiting.len());
    for payout in waiting {
        if leave(tx, &payout, &Change::default(), now).await? {
            chosen.push(payout);
        }
    }
    Ok(chosen)
}

fn purpose(payout: &Payout) -> String {
    format!("Commission {}", payout.requested_at.format("%Y-%m-%d"))
}

fn sepa(
    id: Uuid,
    debtor: &Debtor,
    execute_on: NaiveDate,
    payouts: &[Payout],
    now: DateTime<Utc>,
) -> Result<Vec<u8>, ExportFault> {
    if payouts.is_empty() {
        return Err(ExportFault::Nothing);
    }
    let transfer = |p: &Payout| {
        let account = |fault: AccountFault| SepaFault::Account { id: p.id.to_string(), fault };
        let iban: SepaIban =
            p.payee.iban.as_deref().unwrap_or_default().parse().map_err(account)?;
        let bic: Option<Bic> =
            p.payee.bic.as_deref().map(str::parse).transpose().map_err(account)?;
        if p.amount.minor > LARGEST_CENTS {
            return Err(SepaFault::Amount(p.id.to_string()));
        }
        Ok(SepaTransfer {
            id: p.id.0.simple().to_string(),
            amount: p.amount,
            name: p.payee.name.clone(),
            iban,
            bic,
            purpose: purpose(p),
        })
    };
    let order = SepaOrder {
        message_id: id.simple().to_string(),
        created_at: now,
        execute_on,
        debtor: debtor.name.clone(),
        debtor_iban: debtor.iban.clone(),
        debtor_bic: debtor.bic.clone(),
        transfers: payouts.iter().map(transfer).collect::<Result<_, SepaFault>>()?,
    };
    Ok(pain_001(&order)?.into_bytes())
}

fn line(payout: &Payout) -> PayoutLine {
    PayoutLine {
        id: payout.id.to_string(),
        requested_at: payout.requested_at,
        name: payout.payee.name.clone(),
        iban: payout.payee.iban.clone(),
        bic: payout.payee.bic.clone(),
        amount: payout.amount,
        purpose: purpose(payout),
    }
}
