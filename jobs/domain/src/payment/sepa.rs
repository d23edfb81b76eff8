//! The order to a bank to pay many people: `CustomerCreditTransferInitiationV09`, that is
//! pain.001.001.09 of ISO 20022, with what the SEPA credit transfer rulebook (EPC125-05, EPC132-08)
//! says beyond the schema.

use super::account::{AccountFault, Bic, SepaIban};
use super::latin::sepa_text;
use crate::money::Money;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use std::collections::HashSet;
use std::io;

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09";
/// `Max35Text`.
const LONGEST_ID: usize = 35;
/// A name: 70 in the rulebook, though `Max140Text` in the schema.
const LONGEST_NAME: usize = 70;
/// `Max140Text`, once.
const LONGEST_PURPOSE: usize = 140;
/// 999,999,999.99 euros, the most that one transfer moves (EPC132-08, AT-04).
pub const LARGEST_CENTS: i64 = 99_999_999_999;
/// Transfers in one file; banks take that many and people can still look one up.
pub const MOST_TRANSFERS: usize = 10_000;

/// One payment.
#[derive(Clone, Debug)]
pub struct SepaTransfer {
    /// Ours, and the payee sees it: 1 to 35 characters, unique in the file.
    pub id: String,
    /// Euros, at least a cent.
    pub amount: Money,
    /// Who gets it.
    pub name: String,
    /// Where.
    pub iban: SepaIban,
    /// The payee's bank, if it is known; SEPA finds it by the IBAN.
    pub bic: Option<Bic>,
    /// What for; the payee sees it.
    pub purpose: String,
}

/// The whole order.
#[derive(Clone, Debug)]
pub struct SepaOrder {
    /// Unique for good: banks refuse a message that they have seen. 1 to 35 characters.
    pub message_id: String,
    /// When the file was made.
    pub created_at: DateTime<Utc>,
    /// On which day the bank is to pay.
    pub execute_on: NaiveDate,
    /// Who pays.
    pub debtor: String,
    /// From which account.
    pub debtor_iban: SepaIban,
    /// The payer's bank, if it is known.
    pub debtor_bic: Option<Bic>,
    /// To whom.
    pub transfers: Vec<SepaTransfer>,
}

/// Why no file was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SepaFault {
    /// Nobody is paid, or too many are.
    #[error("a file holds 1 to {MOST_TRANSFERS} transfers, this one {0}; pay in several files")]
    Count(usize),
    /// An id is too long, empty, not unique, or in letters that banks do not take.
    #[error(
        "`{0}` cannot be an id: 1 to 35 plain letters, digits and - : . , + ( ), unique in the file"
    )]
    Id(String),
    /// Only euros travel by SEPA.
    #[error("transfer {id} is in {currency}; SEPA transfers are in EUR")]
    Currency {
        /// Which transfer.
        id: String,
        /// Its currency.
        currency: String,
    },
    /// Nothing, less than nothing, or more than a transfer can hold.
    #[error("transfer {0} moves an amount outside 0.01 to 999,999,999.99 EUR")]
    Amount(String),
    /// Nothing is left of a name in the letters that banks take.
    #[error(
        "{0} has no name in Latin letters; banks refuse a transfer without one: write the name as the \
         bank has it"
    )]
    Name(String),
    /// The account or its bank.
    #[error("transfer {id}: {fault}")]
    Account {
        /// Which transfer.
        id: String,
        /// What is wrong.
        fault: AccountFault,
    },
    /// The day is past.
    #[error("the bank cannot pay on {0}, before the day on which the file is made")]
    Day(NaiveDate),
    /// Writing into memory failed, which it does not.
    #[error("the file could not be written: {0}")]
    Write(String),
}

impl From<io::Error> for SepaFault {
    fn from(e: io::Error) -> Self {
        Self::Write(e.to_string())
    }
}

/// Writes the order as pain.001.001.09. The same order gives the same bytes.
///
/// # Errors
/// [`SepaFault`]: what a bank would refuse is refused here, with the transfer's id.
pub fn pain_001(order: &SepaOrder) -> Result<String, SepaFault> {
    check(order)?;
    let mut out = Out(Writer::new_with_indent(Vec::new(), b' ', 1));
    out.0.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = BytesStart::new("Document").with_attributes([("xmlns", NAMESPACE)]);
    out.0.write_event(Event::Start(root))?;
    out.within("CstmrCdtTrfInitn", |out| {
        out.within("GrpHdr", |out| {
            out.text("MsgId", &order.message_id)?;
            out.text("CreDtTm", &order.created_at.to_rfc3339_opts(SecondsFormat::Secs, true))?;
            out.totals(order)?;
            out.within("InitgPty", |out| out.text("Nm", &sepa_text(&order.debtor, LONGEST_NAME)))
        })?;
        out.within("PmtInf", |out| payment(out, order))
    })?;
    out.0.write_event(Event::End(BytesEnd::new("Document")))?;
    String::from_utf8(out.0.into_inner()).map_err(|e| SepaFault::Write(e.to_string()))
}

fn payment(out: &mut Out, order: &SepaOrder) -> Result<(), SepaFault> {
    out.text("PmtInfId", &order.message_id)?;
    out.text("PmtMtd", "TRF")?;
    // One debit for all of it, so that the bank statement shows what the file shows.
    out.text("BtchBookg", "true")?;
    out.totals(order)?;
    out.within("PmtTpInf", |out| out.within("SvcLvl", |out| out.text("Cd", "SEPA")))?;
    let day = order.execute_on.format("%Y-%m-%d").to_string();
    out.within("ReqdExctnDt", |out| out.text("Dt", &day))?;
    out.within("Dbtr", |out| out.text("Nm", &sepa_text(&order.debtor, LONGEST_NAME)))?;
    out.account("DbtrAcct", &order.debtor_iban)?;
    out.within("DbtrAgt", |out| {
        out.within("FinInstnId", |out| match &order.debtor_bic {
            Some(bic) => out.text("BICFI", bic.as_str()),
            // The element has to be there; this says that the IBAN is enough.
            None => out.within("Othr", |out| out.text("Id", "NOTPROVIDED")),
        })
    })?;
    // Each side pays its own bank, the only way in SEPA.
    out.text("ChrgBr", "SLEV")?;
    for transfer in &order.transfers {
        out.within("CdtTrfTxInf", |out| one(out, transfer))?;
    }
    Ok(())
}

fn one(out: &mut Out, transfer: &SepaTransfer) -> Result<(), SepaFault> {
    out.within("PmtId", |out| out.text("EndToEndId", &transfer.id))?;
    out.within("Amt", |out| {
        let start = BytesStart::new("InstdAmt").with_attributes([("Ccy", "EUR")]);
        out.0.write_event(Event::Start(start))?;
        out.0.write_event(Event::Text(BytesText::new(&euros(transfer.amount.minor.into()))))?;
        Ok(out.0.write_event(Event::End(BytesEnd::new("InstdAmt")))?)
    })?;
    if let Some(bic) = &transfer.bic {
        out.within("CdtrAgt", |out| {
            out.within("FinInstnId", |out| out.text("BICFI", bic.as_str()))
        })?;
    }
    out.within("Cdtr", |out| out.text("Nm", &sepa_text(&transfer.name, LONGEST_NAME)))?;
    out.account("CdtrAcct", &transfer.iban)?;
    let purpose = sepa_text(&transfer.purpose, LONGEST_PURPOSE);
    if purpose.is_empty() {
        return Ok(());
    }
    out.within("RmtInf", |out| out.text("Ustrd", &purpose))
}

fn check(order: &SepaOrder) -> Result<(), SepaFault> {
    if !(1..=MOST_TRANSFERS).contains(&order.transfers.len()) {
        return Err(SepaFault::Count(order.transfers.len()));
    }
    check_id(&order.message_id)?;
    if order.execute_on < order.created_at.date_naive() {
        return Err(SepaFault::Day(order.execute_on));
    }
    if sepa_text(&order.debtor, LONGEST_NAME).is_empty() {
        return Err(SepaFault::Name("the payer".to_owned()));
    }
    account("of the payer", order.debtor_bic.as_ref(), &order.debtor_iban)?;
    let mut ids = HashSet::with_capacity(order.transfers.len());
    for transfer in &order.transfers {
        if !ids.insert(transfer.id.as_str()) {
            return Err(SepaFault::Id(transfer.id.clone()));
        }
        transfer.check()?;
    }
    Ok(())
}

impl SepaTransfer {
    /// What a bank would refuse it for.
    ///
    /// # Errors
    /// [`SepaFault`].
    pub fn check(&self) -> Result<(), SepaFault> {
        let id = || self.id.clone();
        check_id(&self.id)?;
        let currency = self.amount.currency.code();
        if currency != "EUR" {
            return Err(SepaFault::Currency { id: id(), currency: currency.to_owned() });
        }
        if !(1..=LARGEST_CENTS).contains(&self.amount.minor) {
            return Err(SepaFault::Amount(id()));
        }
        if sepa_name(&self.name).is_none() {
            return Err(SepaFault::Name(format!("the payee of transfer {}", self.id)));
        }
        account(&self.id, self.bic.as_ref(), &self.iban)
    }
}

fn account(id: &str, bic: Option<&Bic>, iban: &SepaIban) -> Result<(), SepaFault> {
    match bic.map(|b| b.fits(iban)) {
        Some(Err(fault)) => Err(SepaFault::Account { id: id.to_owned(), fault }),
        _ => Ok(()),
    }
}

/// An account holder's name as banks take it; `None` if no letter or digit of it is left.
#[must_use]
pub fn sepa_name(name: &str) -> Option<String> {
    // A name of dots only is none.
    Some(sepa_text(name, LONGEST_NAME)).filter(|n| n.bytes().any(|b| b.is_ascii_alphanumeric()))
}

/// EPC217-08 1.4: identifications have the plain characters, no `/` at the ends and no `//`.
fn check_id(id: &str) -> Result<(), SepaFault> {
    if (1..=LONGEST_ID).contains(&id.len()) && sepa_text(id, LONGEST_ID) == id {
        return Ok(());
    }
    Err(SepaFault::Id(id.chars().take(LONGEST_ID + 1).collect()))
}

/// `1234.50` of 123450 cents.
fn euros(cents: i128) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

struct Out(Writer<Vec<u8>>);

impl Out {
    fn within(
        &mut self,
        name: &str,
        what: impl FnOnce(&mut Self) -> Result<(), SepaFault>,
    ) -> Result<(), SepaFault> {
        self.0.write_event(Event::Start(BytesStart::new(name)))?;
        what(self)?;
        Ok(self.0.write_event(Event::End(BytesEnd::new(name)))?)
    }

    fn text(&mut self, name: &str, text: &str) -> Result<(), SepaFault> {
        self.within(name, |out| Ok(out.0.write_event(Event::Text(BytesText::new(text)))?))
    }

    fn totals(&mut self, order: &SepaOrder) -> Result<(), SepaFault> {
        let sum: i128 = order.transfers.iter().map(|t| i128::from(t.amount.minor)).sum();
        self.text("NbOfTxs", &order.transfers.len().to_string())?;
        self.text("CtrlSum", &euros(sum))
    }

    fn account(&mut self, name: &str, iban: &SepaIban) -> Result<(), SepaFault> {
        self.within(name, |out| out.within("Id", |out| out.text("IBAN", iban.as_str())))
    }
}
