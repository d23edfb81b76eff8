//! Transfers by Stripe Connect: what arrives, what every failure means, and that money moves once.

use super::{OPERATOR, SOON, after};
use switchyard_domain::PayoutId;
use switchyard_domain::money::{Currency, Money};
use switchyard_providers::payments::{NoPayouts, Payouts, Stripe, Transfer};
use switchyard_providers::{SendError, SendFault};
use switchyard_tests::fakes::{FakeStripe, HttpStep};

fn transfer(account: &str) -> Transfer {
    Transfer {
        id: PayoutId::new(),
        amount: Money::new(12_345, Currency::of("EUR").unwrap()),
        account: account.to_owned(),
        purpose: "Commission 2026-03".to_owned(),
    }
}

fn class<T: std::fmt::Debug>(result: Result<T, SendError>) -> (SendFault, String) {
    let error = result.expect_err("a failure");
    (error.class, error.code)
}

#[tokio::test]
async fn a_transfer_arrives_with_its_key_and_its_version_and_is_found_again() {
    let stripe = FakeStripe::start().await;
    let client = Stripe::new(&stripe.config()).unwrap();
    let wanted = transfer("acct_1");
    assert_eq!(client.find(wanted.id).await.unwrap(), None);
    let made = client.transfer(&wanted).await.unwrap();
    assert_eq!(made.provider, "stripe");
    assert_eq!(client.find(wanted.id).await.unwrap(), Some(made.clone()));
    let again = client.transfer(&wanted).await.unwrap();
    assert_eq!(again, made, "asked again it is the same transfer");
    let [booked] = &stripe.transfers()[..] else { panic!("one transfer") };
    assert_eq!((&booked["amount"], &booked["currency"]), (&12_345.into(), &"eur".into()));
    assert_eq!(booked["destination"], "acct_1");
    assert_eq!(booked["metadata"]["payout"], wanted.id.to_string());
    let asked = &stripe.record().all()[1];
    assert_eq!(asked.marker, format!("payout-{}", wanted.id));
    assert_eq!(asked.authorization.as_deref(), Some("Bearer sk_test_fake"));
}

#[tokio::test]
async fn refusals_say_whether_to_try_again_to_wait_or_to_stop() {
    let stripe = FakeStripe::start().await;
    let client = Stripe::new(&stripe.config()).unwrap();
    let missing = class(client.transfer(&transfer("acct_missing")).await);
    assert_eq!(missing, (SendFault::Permanent, "resource_missing".to_owned()));
    let poor = class(client.transfer(&transfer("acct_poor")).await);
    assert_eq!(poor, (OPERATOR, "balance_insufficient".to_owned()));
    for (status, word, expected) in [
        (400, "account_invalid", SendFault::Permanent),
        (400, "insufficient_capabilities_for_transfer", SendFault::Permanent),
        (400, "lock_timeout", SOON),
        (402, "card_declined", SendFault::Permanent),
        (403, "permission", OPERATOR),
        (409, "busy", SOON),
        (429, "slow down", SOON),
        (500, "oops", SendFault::Unknown),
        (503, "oops", SendFault::Unknown),
    ] {
        stripe.script().push([HttpStep::refuse(status, 0, word)]);
        let (got, code) = class(client.transfer(&transfer("acct_1")).await);
        assert_eq!(got, expected, "{status} {word}: {code}");
    }
    let wait = Some("7".to_owned());
    let message = "slow down".to_owned();
    let slow = HttpStep::Refuse { status: 429, code: 0, message, retry_after: wait };
    stripe.script().push([slow]);
    assert_eq!(class(client.transfer(&transfer("acct_1")).await).0, after(7));
    assert!(stripe.transfers().is_empty());
    let mut config = stripe.config();
    config.secret_key = Some("sk_test_wrong".into());
    let stranger = Stripe::new(&config).unwrap();
    assert_eq!(class(stranger.transfer(&transfer("acct_1")).await).0, OPERATOR);
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_one_transfer_however_often_it_is_asked_for() {
    let stripe = FakeStripe::start().await;
    let client = Stripe::new(&stripe.config()).unwrap();
    let wanted = transfer("acct_1");
    stripe.script().push([HttpStep::AcceptAndCut]);
    let lost = class(client.transfer(&wanted).await);
    assert_eq!(lost.0, SendFault::Unknown, "{lost:?}");
    let found = client.find(wanted.id).await.unwrap().expect("it was made");
    assert_eq!(client.transfer(&wanted).await.unwrap(), found);
    assert_eq!(stripe.transfers().len(), 1);
    stripe.script().push([HttpStep::Cut]);
    assert_eq!(class(client.find(wanted.id).await).0, SOON, "asking moves nothing");
}

#[tokio::test]
async fn the_same_payout_for_another_amount_is_in_doubt_and_not_made() {
    let stripe = FakeStripe::start().await;
    let client = Stripe::new(&stripe.config()).unwrap();
    let wanted = transfer("acct_1");
    client.transfer(&wanted).await.unwrap();
    let more = Transfer { amount: Money::new(99, wanted.amount.currency), ..wanted.clone() };
    assert_eq!(class(client.transfer(&more).await).0, SendFault::Unknown);
    let text = r#"{"id":"tr_other","amount":1,"currency":"eur","destination":"acct_2"}"#;
    stripe.script().push([HttpStep::Say { status: 200, text: text.to_owned() }]);
    let other = class(client.transfer(&transfer("acct_1")).await);
    assert_eq!(other, (SendFault::Unknown, "other_transfer".to_owned()));
    assert_eq!(stripe.transfers().len(), 1);
}

#[tokio::test]
async fn without_an_account_nothing_is_paid_and_somebody_is_told_what_to_set() {
    let fault = NoPayouts.transfer(&transfer("acct_1")).await.unwrap_err();
    assert_eq!(fault.class, OPERATOR);
    assert!(fault.to_string().contains("providers.stripe.secret_key"), "{fault}");
    assert_eq!(class(NoPayouts.find(PayoutId::new()).await).0, OPERATOR);
}
