//! Payments: files that a bank takes, and accounts that it does not.

#![allow(clippy::unwrap_used)]

use super::sepa_rules::valid;
use super::*;
use crate::money::{Currency, Money};
use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;

const DE: &str = "DE89370400440532013000";
const PL: &str = "PL61109010140000071219812874";
const IT: &str = "IT60X0542811101000000123456";
const GR: &str = "GR1601101250000000012300695";

fn money(cents: i64) -> Money {
    Money::new(cents, Currency::of("EUR").unwrap())
}

fn transfer(n: usize, cents: i64) -> SepaTransfer {
    SepaTransfer {
        id: format!("payout-{n}"),
        amount: money(cents),
        name: "Łucja Żółć".into(),
        iban: PL.parse().unwrap(),
        bic: None,
        purpose: "Commission 2026-03".into(),
    }
}

fn order(transfers: Vec<SepaTransfer>) -> SepaOrder {
    SepaOrder {
        message_id: "0198c0de000070008000000000000001".into(),
        created_at: DateTime::<Utc>::from_timestamp(1_774_000_000, 0).unwrap(),
        execute_on: NaiveDate::from_ymd_opt(2026, 3, 23).unwrap(),
        debtor: "Switchyard & Söhne".into(),
        debtor_iban: DE.parse().unwrap(),
        debtor_bic: Some("COBADEFFXXX".parse().unwrap()),
        transfers,
    }
}

#[test]
fn accounts_of_four_countries_are_read_as_people_write_them() {
    for (written, plain) in [
        ("DE89 3704 0044 0532 0130 00", DE),
        ("pl61 1090 1014 0000 0712 1981 2874", PL),
        (IT, IT),
        (GR, GR),
    ] {
        let iban: SepaIban = written.parse().unwrap();
        assert_eq!(iban.as_str(), plain);
        assert!(!format!("{iban:?}").contains(&plain[4..10]), "shown masked");
    }
}

#[test]
fn an_account_that_cannot_be_paid_to_is_refused_for_its_reason() {
    let fault = |iban: &str| iban.parse::<SepaIban>().unwrap_err();
    for wrong in
        ["DE88370400440532013000", "DE8937040044053201300", "", "ZZ", "DEéé", &"D".repeat(99)]
    {
        assert_eq!(fault(wrong), AccountFault::Iban, "{wrong}");
    }
    let turkish = "TR330006100519786457841326";
    assert_eq!(fault(turkish), AccountFault::NotSepa("TR".into()));
    for wrong in ["COBADEF", "COBADEFFXX", "COBA12FF", "COBADEFF-XX", ""] {
        assert_eq!(wrong.parse::<Bic>().unwrap_err(), AccountFault::Bic, "{wrong}");
    }
    let german: Bic = "COBADEFF".parse().unwrap();
    assert!(german.fits(&DE.parse().unwrap()).is_ok());
    assert!(matches!(german.fits(&PL.parse().unwrap()), Err(AccountFault::Countries { .. })));
}

#[test]
fn names_are_written_in_letters_that_every_bank_takes() {
    for (name, written) in [
        ("Łucja Żółć", "Lucja Zolc"),
        ("Müller & Söhne GmbH", "Muller + Sohne GmbH"),
        ("Straße", "Strasse"),
        ("Niccolò D’Angelo", "Niccolo D'Angelo"),
        ("Γιώργος Παπαδόπουλος", "Giorgos Papadopoylos"),
        ("Θεοδώρα", "Theodora"),
        ("  a \t b\n", "a b"),
        ("/x//y/", "x/ y"),
        ("日本", ".."),
    ] {
        assert_eq!(sepa_text(name, 70), written, "{name}");
    }
    assert_eq!(sepa_text("abcdef", 3), "abc");
}

#[test]
fn an_order_is_a_pain_001_as_the_schema_has_it() {
    let mut second = transfer(2, 1);
    second.bic = Some("BREXPLPWXXX".parse().unwrap());
    let xml = pain_001(&order(vec![transfer(1, 123_450), second])).unwrap();
    let document = valid(&xml).unwrap();
    assert_eq!(document.texts("NbOfTxs"), ["2", "2"], "of the group and of the payment");
    assert_eq!(document.texts("CtrlSum"), ["1234.51", "1234.51"]);
    assert_eq!(document.texts("InstdAmt"), ["1234.50", "0.01"]);
    assert_eq!(document.texts("EndToEndId"), ["payout-1", "payout-2"]);
    assert_eq!(document.texts("BICFI"), ["COBADEFFXXX", "BREXPLPWXXX"]);
    assert_eq!(document.texts("Nm")[0], "Switchyard + Sohne");
    assert_eq!(document.texts("Cd"), ["SEPA"]);
    assert_eq!(document.texts("Dt"), ["2026-03-23"]);
    assert!(document.all("InstdAmt").iter().all(|e| e.attributes[0].1 == "EUR"));
    let without = SepaOrder { debtor_bic: None, ..order(vec![transfer(1, 1)]) };
    assert!(pain_001(&without).unwrap().contains("<Id>NOTPROVIDED</Id>"));
    assert_eq!(pain_001(&without), pain_001(&without), "the same order, the same bytes");
}

#[test]
fn the_rules_find_a_file_that_is_wrong() {
    let xml = pain_001(&order(vec![transfer(1, 100)])).unwrap();
    for (right, wrong) in [
        ("<PmtMtd>TRF</PmtMtd>", ""),
        ("<PmtMtd>TRF</PmtMtd>", "<PmtMtd>SEPA</PmtMtd>"),
        ("<ChrgBr>SLEV</ChrgBr>", "<ChrgBr>NONE</ChrgBr>"),
        ("<Dt>2026-03-23</Dt>", "<Dt>23.03.2026</Dt>"),
        (">1.00<", ">1,00<"),
        ("pain.001.001.09", "pain.001.001.03"),
        ("<NbOfTxs>", "<Extra>1</Extra><NbOfTxs>"),
    ] {
        let broken = xml.replace(right, wrong);
        assert_ne!(broken, xml, "{right} is in the file");
        assert!(valid(&broken).is_err(), "{wrong} was not found");
    }
}

#[test]
fn what_a_bank_would_refuse_is_refused_before() {
    let refused = |change: &dyn Fn(&mut SepaOrder)| {
        let mut order = order(vec![transfer(1, 100), transfer(2, 100)]);
        change(&mut order);
        pain_001(&order).unwrap_err()
    };
    assert_eq!(refused(&|o| o.transfers.clear()), SepaFault::Count(0));
    assert_eq!(
        refused(&|o| o.transfers[1].id = "payout-1".into()),
        SepaFault::Id("payout-1".into())
    );
    for id in ["", "é", "a/", "a//b", &"x".repeat(36)] {
        assert!(matches!(refused(&|o| o.message_id = id.into()), SepaFault::Id(_)), "{id}");
    }
    let zloty = Money::new(1, Currency::of("PLN").unwrap());
    assert!(matches!(refused(&|o| o.transfers[0].amount = zloty), SepaFault::Currency { .. }));
    for cents in [0, -1, LARGEST_CENTS + 1] {
        let fault = refused(&|o| o.transfers[0].amount = money(cents));
        assert_eq!(fault, SepaFault::Amount("payout-1".into()));
    }
    assert!(matches!(refused(&|o| o.transfers[0].name = "日本".into()), SepaFault::Name(_)));
    assert!(matches!(refused(&|o| o.debtor = " ".into()), SepaFault::Name(_)));
    let german: Bic = "COBADEFF".parse().unwrap();
    let fault = refused(&|o| o.transfers[0].bic = Some(german.clone()));
    assert!(matches!(fault, SepaFault::Account { .. }));
    let past = NaiveDate::from_ymd_opt(2020, 1, 1).unwrap();
    assert_eq!(refused(&|o| o.execute_on = past), SepaFault::Day(past));
}

#[test]
fn a_csv_holds_exact_amounts_and_no_formulas() {
    let line = |name: &str, amount: Money| PayoutLine {
        id: "p-1".into(),
        requested_at: DateTime::<Utc>::from_timestamp(1_774_000_000, 0).unwrap(),
        name: name.into(),
        iban: Some(PL.into()),
        bic: None,
        amount,
        purpose: "Commission; \"March\"".into(),
    };
    let yen = Money::new(1_250, Currency::of("JPY").unwrap());
    let dinar = Money::new(1_250, Currency::of("KWD").unwrap());
    let lines = [line("=1+1", money(-5)), line("Żółć, Jan", yen), line("@x", dinar)];
    let text = String::from_utf8(payouts_csv(&lines).unwrap()).unwrap();
    let rows: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(rows[0], "payout,requested_at,name,iban,bic,amount,currency,purpose");
    assert!(rows[1].contains(",'=1+1,") && rows[1].contains(",-0.05,EUR,"), "{}", rows[1]);
    assert!(rows[2].contains(",\"Żółć, Jan\",") && rows[2].contains(",1250,JPY,"), "{}", rows[2]);
    assert!(rows[3].contains(",'@x,") && rows[3].contains(",1.250,KWD,"), "{}", rows[3]);
}

proptest! {
    #[test]
    fn every_order_that_is_written_is_valid_and_its_sum_is_right(
        cents in prop::collection::vec(1_i64..=LARGEST_CENTS, 1..20),
        name in "[A-Za-zĄąßø&<>'\" ]{0,80}[a-z]",
        purpose in "\\PC{0,200}",
    ) {
        let transfers = cents.iter().enumerate().map(|(n, cents)| SepaTransfer {
            name: name.clone(), purpose: purpose.clone(), ..transfer(n, *cents)
        });
        let xml = pain_001(&order(transfers.collect()));
        // 70 characters may be all blanks and marks before the last letter.
        prop_assume!(!matches!(xml, Err(SepaFault::Name(_))));
        let document = valid(&xml.unwrap()).map_err(TestCaseError::fail)?;
        let sum: i128 = cents.iter().map(|c| i128::from(*c)).sum();
        let told = format!("{}.{:02}", sum / 100, sum % 100);
        prop_assert_eq!(document.texts("CtrlSum"), vec![told.as_str(), told.as_str()]);
        prop_assert_eq!(document.texts("InstdAmt").len(), cents.len());
    }

    #[test]
    fn one_wrong_digit_of_an_iban_is_always_found(at in 2_usize..22, add in 1_u8..10) {
        let mut wrong = DE.as_bytes().to_vec();
        wrong[at] = b'0' + (wrong[at] - b'0' + add) % 10;
        let wrong = String::from_utf8(wrong).unwrap();
        prop_assert!(wrong.parse::<SepaIban>().is_err(), "{wrong}");
    }

    #[test]
    fn nothing_that_is_read_panics(text in "\\PC{0,60}") {
        let _ = text.parse::<SepaIban>();
        let _ = text.parse::<Bic>();
        let _ = sepa_text(&text, 35);
    }
}

#[test]
fn a_limit_is_one_number_or_one_for_each_currency() {
    let of = |limit: &ApprovalLimit, code: &str| limit.of(Currency::of(code).unwrap());
    let one: ApprovalLimit = "100_000".parse().unwrap();
    assert_eq!((of(&one, "EUR"), of(&one, "JPY")), (100_000, 100_000));
    let two: ApprovalLimit = " EUR=100000, jpy = 15000 ".parse().unwrap();
    assert_eq!((of(&two, "EUR"), of(&two, "JPY"), of(&two, "PLN")), (100_000, 15_000, 0));
    assert_eq!(two.to_string(), "EUR=100000,JPY=15000");
    assert_eq!(two.to_string().parse(), Ok(two));
    for bad in ["", "-1", "1.5", "EUR", "EUR=", "EUR=x", "XXX=1", "=1", "EUR=1,2", "1000000000001"]
    {
        assert!(bad.parse::<ApprovalLimit>().is_err(), "{bad}");
    }
}
