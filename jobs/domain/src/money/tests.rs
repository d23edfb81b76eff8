//! Money is read and written exactly, in currencies with 0, 2 and 3 decimal places.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::normalise;
use proptest::prelude::*;

fn of(code: &str) -> Currency {
    Currency::of(code).unwrap()
}

#[test]
fn the_table_holds_every_currency_that_a_lead_may_name() {
    assert_eq!(Currency::all().count(), 156);
    for currency in Currency::all() {
        assert_eq!(normalise::currency(currency.code()), Some(currency.code()));
        assert_eq!(currency.code().parse(), Ok(currency));
    }
    assert_eq!(Currency::of("eur"), Some(of("EUR")));
    assert!(Currency::of("XXX").is_none() && Currency::of("").is_none());
}

#[test]
fn amounts_are_written_with_the_places_of_their_currency() {
    let written = |minor, code| Money::new(minor, of(code)).to_string();
    assert_eq!(written(60_000_000, "USD"), "600,000.00 USD");
    assert_eq!(written(-5, "EUR"), "-0.05 EUR");
    assert_eq!(written(1_234_567, "JPY"), "1,234,567 JPY");
    assert_eq!(written(1_234_567, "KWD"), "1,234.567 KWD");
    assert_eq!(written(i64::MIN, "JPY"), "-9,223,372,036,854,775,808 JPY");
    assert_eq!(Money::new(-125_050, of("EUR")).units(), "-1250.50");
}

#[test]
fn what_is_no_exact_amount_is_refused() {
    let read = |text, code| Money::parse(text, of(code)).map(|m| m.minor);
    assert_eq!(read("1250.5", "EUR"), Ok(125_050));
    assert_eq!(read("1250.500", "EUR"), Ok(125_050));
    assert_eq!(read("-0.001", "KWD"), Ok(-1));
    assert!(read("0.5", "JPY").unwrap_err().contains("the 0 of JPY"));
    assert!(read("0.001", "EUR").is_err());
    for wrong in ["", ".", "-", "1,000", "1_000", "1e3", " 1", "1-", "99999999999999999999"] {
        assert!(read(wrong, "EUR").is_err(), "{wrong}");
    }
}

#[test]
fn sums_stay_within_a_currency_and_its_range() {
    let euro = |n| Money::new(n, of("EUR"));
    assert_eq!(euro(1).plus(euro(2)), Some(euro(3)));
    assert_eq!(euro(1).plus(Money::new(2, of("USD"))), None);
    assert_eq!(euro(i64::MAX).plus(euro(1)), None);
    assert_eq!(euro(i64::MIN).minus(euro(1)), None);
    assert_eq!(size_of::<Option<Money>>(), 16);
}

proptest! {
    #[test]
    fn every_amount_is_read_back(minor: i64, code in "EUR|JPY|KWD") {
        let money = Money::new(minor, of(&code));
        prop_assert_eq!(Money::parse(&money.units(), money.currency), Ok(money));
        let json = serde_json::to_string(&money).unwrap();
        prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
    }
}
