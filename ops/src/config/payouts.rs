//! The section of payouts: who pays, and from which amount on a second person has to agree.

use super::reader::Reader;
use super::value::{Given, Setting};
use switchyard_domain::payment::{ApprovalLimit, Bic, Debtor, PayoutRules, SepaIban};

const REMEDY: &str = "copy it from a bank statement, or leave `payouts.debtor` out";

pub(super) fn read(r: &mut Reader) -> PayoutRules {
    let approval_limit = r.get(
        "payouts.approval_limit",
        ApprovalLimit::default(),
        "Beyond this in 24 hours (in minor units: cents) a second person approves an owner's payouts; one \
         number, or `EUR=100000,JPY=15000`",
    );
    let debtor = debtor(r);
    let mail_statements = r.get(
        "payouts.mail_statements",
        false,
        "E-mail the month's statement to everybody who earned in it when a month is closed",
    );
    PayoutRules { approval_limit, debtor, mail_statements }
}

impl Setting for ApprovalLimit {
    const WANTED: &'static str =
        "minor units from 0 to 10^12, or such a number for each currency: EUR=100000,JPY=15000";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Whole(limit) => limit.to_string().parse().ok(),
            Given::Text(text) => text.parse().ok(),
            Given::Pairs(pairs) => {
                Self::by_currency(pairs.iter().map(|(c, n)| (c.as_str(), n.as_str()))).ok()
            }
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

fn debtor(r: &mut Reader) -> Option<Debtor> {
    let name: Option<String> =
        r.optional("payouts.debtor.name", "Holder of the account that SEPA transfers leave");
    let iban: Option<String> = r.optional("payouts.debtor.iban", "Its IBAN");
    let bic: Option<String> = r.optional("payouts.debtor.bic", "The bank's BIC, if it wants one");
    let (Some(name), Some(iban)) = (name.clone(), iban.clone()) else {
        if name.is_some() || iban.is_some() || bic.is_some() {
            let missing = if name.is_none() { "name" } else { "iban" };
            let key = format!("payouts.debtor.{missing}");
            r.fault(&key, "is not set, but something else of the account is", "set name and IBAN");
        }
        return None;
    };
    let iban = iban.parse::<SepaIban>().map_err(|e| e.to_string());
    let bic = bic.map(|b| b.parse::<Bic>()).transpose().map_err(|e| e.to_string());
    match (iban, bic) {
        (Ok(iban), Ok(bic)) => match bic.as_ref().map(|b| b.fits(&iban)) {
            Some(Err(e)) => {
                r.fault("payouts.debtor.bic", e.to_string(), REMEDY);
                None
            }
            _ => Some(Debtor { name, iban, bic }),
        },
        (Err(e), _) => {
            r.fault("payouts.debtor.iban", e, REMEDY);
            None
        }
        (_, Err(e)) => {
            r.fault("payouts.debtor.bic", e, REMEDY);
            None
        }
    }
}
