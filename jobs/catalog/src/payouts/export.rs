//! One file for the bank with everything that is approved.

use super::{PayoutFault, leave};
use crate::lead_work::Actor;
use chrono::{DateTime, NaiveDate, Utc};
use switchyard_domain::PayoutId;
use switchyard_domain::money::Currency;
use switchyard_domain::payment::{
    AccountFault, Debtor, MOST_TRANSFERS, PayoutLine, SepaFault, SepaOrder, SepaTransfer, pain_001,
    payouts_csv,
};
use switchyard_store::payouts::{self, Change, Payout, PayoutFile, PayoutMethod, PayoutState};
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

/// A payout that did not come into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which one.
    pub payout: PayoutId,
    /// Why, and what to do.
    pub why: String,
}

/// What became of the payouts that waited for a file.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The file; `None`: nothing was left to put into it.
    pub file: Option<PayoutFile>,
    /// These have failed, and their money is owed as before.
    pub left_out: Vec<LeftOut>,
}

/// Makes a file of what is approved, at most 10,000 payouts, and marks them as sent. What is no longer
/// covered, or a bank would refuse, is left out and has failed, so that one payee keeps nobody else's
/// money back. Platform scope.
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
) -> Result<Exported, ExportFault> {
    let debtor = match method {
        PayoutMethod::Stripe => return Err(ExportFault::NoFile),
        PayoutMethod::Sepa => Some(debtor.ok_or(ExportFault::NoDebtor)?),
        PayoutMethod::Csv => None,
    };
    let most = i64::try_from(MOST_TRANSFERS).unwrap_or(i64::MAX);
    let waiting = payouts::lock_approved(tx, method, currency, most).await?;
    if waiting.is_empty() {
        return Err(ExportFault::Nothing);
    }
    let id = Uuid::now_v7();
    let (chosen, left_out) = choose(tx, waiting, now).await?;
    if chosen.is_empty() {
        return Ok(Exported { file: None, left_out });
    }
    let document = match debtor {
        Some(debtor) => sepa(id, debtor, execute_on, &chosen, now)?,
        None => {
            let lines: Vec<PayoutLine> = chosen.iter().map(line).collect();
            payouts_csv(&lines).map_err(|e| ExportFault::Csv(e.into()))?
        }
    };
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
        let sent = PayoutState::Sent;
        let change = Change { file: Some(id), ..Change::default() };
        payouts::set_state(tx, payout.id, sent, &change).await?;
    }
    Ok(Exported { file: Some(file), left_out })
}

/// Takes the money of each out of what is owed; those that a bank would refuse, or that are not covered,
/// have failed.
async fn choose(
    tx: &mut Tx,
    waiting: Vec<Payout>,
    now: DateTime<Utc>,
) -> Result<(Vec<Payout>, Vec<LeftOut>), ExportFault> {
    let (mut chosen, mut left_out) = (Vec::with_capacity(waiting.len()), Vec::new());
    for payout in waiting {
        let fit = match payout.method {
            PayoutMethod::Sepa => transfer(&payout).map(drop),
            PayoutMethod::Csv | PayoutMethod::Stripe => Ok(()),
        };
        if let Err(fault) = fit {
            let why = PayoutFault::from(fault).to_string();
            let change = Change { error: Some(&why), ..Change::default() };
            payouts::set_state(tx, payout.id, PayoutState::Failed, &change).await?;
            left_out.push(LeftOut { payout: payout.id, why });
        } else if leave(tx, &payout, &Change::default(), now).await? {
            chosen.push(payout);
        } else {
            let why = payouts::get(tx, payout.id).await?.error.unwrap_or_default();
            left_out.push(LeftOut { payout: payout.id, why });
        }
    }
    Ok((chosen, left_out))
}

fn purpose(payout: &Payout) -> String {
    format!("Commission {}", payout.requested_at.format("%Y-%m-%d"))
}

/// The transfer of a payout, which no bank refuses.
pub(super) fn transfer(p: &Payout) -> Result<SepaTransfer, SepaFault> {
    let account = |fault: AccountFault| SepaFault::Account { id: p.id.to_string(), fault };
    let transfer = SepaTransfer {
        id: p.id.0.simple().to_string(),
        amount: p.amount,
        name: p.payee.name.clone(),
        iban: p.payee.iban.as_deref().unwrap_or_default().parse().map_err(account)?,
        bic: p.payee.bic.as_deref().map(str::parse).transpose().map_err(account)?,
        purpose: purpose(p),
    };
    transfer.check()?;
    Ok(transfer)
}

fn sepa(
    id: Uuid,
    debtor: &Debtor,
    execute_on: NaiveDate,
    payouts: &[Payout],
    now: DateTime<Utc>,
) -> Result<Vec<u8>, ExportFault> {
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
