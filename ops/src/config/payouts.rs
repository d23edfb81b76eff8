//! The section of payouts: who pays, and from which amount on a second person has to agree.

use super::reader::Reader;
use switchyard_domain::payment::{Bic, Debtor, PayoutRules, SepaIban};

const REMEDY: &str = "copy it from a bank statement, or leave `payouts.debtor` out";

pub(super) fn read(r: &mut Reader) -> PayoutRules {
    let limit: u64 = r.number(
        "payouts.approval_limit",
        0,
        0..=1_000_000_000_000,
        "A payout of more than this (in minor units: cents) is approved by a second person",
    );
    PayoutRules { approval_limit: i64::try_from(limit).unwrap_or_default(), debtor: debtor(r) }
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
