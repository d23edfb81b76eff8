//! One payee keeps nobody else's money back, and small parts do not get past the limit.

use super::payouts::{Desk, by, eur, limit};
use chrono::Utc;
use switchyard_catalog::payouts::{self as paying, ExportFault, PayoutFault};
use switchyard_domain::AgentId;
use switchyard_domain::payment::{ApprovalLimit, Debtor, PayoutRules};
use switchyard_store::agents;
use switchyard_store::ledger::Owner;
use switchyard_store::payouts::{self, Payee, Payout, PayoutMethod, PayoutState};

const GERMAN: &str = "DE89370400440532013000";

fn debtor() -> Debtor {
    Debtor { name: "Switchyard".to_owned(), iban: GERMAN.parse().unwrap(), bic: None }
}

async fn export(desk: &Desk) -> Result<paying::Exported, ExportFault> {
    let (now, mut tx) = (Utc::now(), desk.line.platform().await);
    let (day, ops, payer) = (now.date_naive(), by("admin:1"), debtor());
    let made =
        paying::export(&mut tx, PayoutMethod::Sepa, eur(), day, Some(&payer), &ops, now).await?;
    tx.commit().await.unwrap();
    Ok(made)
}

/// The desk of another agent of the agency, who is owed so much.
async fn another(desk: Desk, owed: i64) -> Desk {
    let agent = AgentId::new();
    let mut tx = desk.line.platform().await;
    agents::upsert(&mut tx, agent, desk.agency, "Ann", None, None).await.unwrap();
    let payee = Payee {
        owner: Owner::Agent(agent),
        agency: desk.agency,
        name: "Ann".to_owned(),
        iban: Some(GERMAN.to_owned()),
        bic: None,
        stripe_account: None,
    };
    payouts::set_payee(&mut tx, &payee, "admin:1").await.unwrap();
    tx.commit().await.unwrap();
    let desk = Desk { agent, ..desk };
    desk.earn(owed, "commission:another").await;
    desk
}

async fn rename(desk: &Desk, payout: &Payout) {
    sqlx::query("update switchyard.payouts set name = '日本' where id = $1")
        .bind(payout.id.0)
        .execute(&mut desk.line.test.owner().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_payee_whom_a_bank_refuses_is_left_out_and_the_others_are_paid() {
    let desk = Desk::new(10_000, "acct_1").await;
    let bad = desk.ask(PayoutMethod::Sepa, None, &limit(10_000)).await.unwrap();
    // As one that was asked for before names were looked at.
    rename(&desk, &bad).await;
    let first = desk.agent;
    let desk = another(desk, 20_000).await;
    let good = desk.ask(PayoutMethod::Sepa, None, &limit(20_000)).await.unwrap();
    let made = export(&desk).await.unwrap();
    let file = made.file.unwrap();
    assert_eq!((file.payouts, file.amount), (1, 20_000));
    assert_eq!(made.left_out.iter().map(|l| l.payout).collect::<Vec<_>>(), [bad.id]);
    assert_eq!(desk.payout(good.id).await.state, PayoutState::Sent);
    let failed = desk.payout(bad.id).await;
    assert_eq!(failed.state, PayoutState::Failed);
    let why = failed.error.unwrap();
    assert!(why.contains("no name in Latin letters") && why.contains("ask for the payout again"));
    assert_eq!(desk.holds().await, [0, 20_000, 0]);
    let desk = Desk { agent: first, ..desk };
    assert_eq!(desk.holds().await, [10_000, 0, 0], "no money moved");
    // Alone it makes no file, and it does not wait for ever.
    let bad = desk.ask(PayoutMethod::Sepa, None, &limit(10_000)).await.unwrap();
    rename(&desk, &bad).await;
    let made = export(&desk).await.unwrap();
    assert!(made.file.is_none() && made.left_out.len() == 1, "{made:?}");
    assert_eq!(desk.payout(bad.id).await.state, PayoutState::Failed);
    assert!(matches!(export(&desk).await, Err(ExportFault::Nothing)));
}

#[tokio::test]
async fn what_a_bank_would_refuse_cannot_be_asked_for() {
    let desk = Desk::new(10_000, "acct_1").await;
    let rename = "update switchyard.payees set name = '日本'";
    sqlx::query(rename).execute(&mut desk.line.test.owner().await).await.unwrap();
    let refused = desk.ask(PayoutMethod::Sepa, None, &limit(0)).await;
    assert!(matches!(refused, Err(PayoutFault::Sepa(_))), "{refused:?}");
    desk.ask(PayoutMethod::Stripe, None, &limit(0)).await.unwrap();
}

#[tokio::test]
async fn an_approved_payout_that_waits_for_a_file_can_be_turned_down() {
    let desk = Desk::new(10_000, "acct_1").await;
    let asked = desk.ask(PayoutMethod::Sepa, None, &limit(10_000)).await.unwrap();
    assert_eq!(asked.state, PayoutState::Approved);
    let mut tx = desk.line.platform().await;
    let declined = paying::decline(&mut tx, asked.id, &by("admin:2"), "left us").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(declined.state, PayoutState::Declined);
    assert_eq!(declined.settled_by.as_deref(), Some("admin:2"));
    assert_eq!(desk.holds().await, [10_000, 0, 0]);
    // A transfer by the provider's API is made by a job: it is too late.
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(10_000)).await.unwrap();
    let mut tx = desk.line.platform().await;
    let late = paying::decline(&mut tx, asked.id, &by("admin:2"), "left us").await;
    assert!(matches!(late, Err(PayoutFault::WrongState(PayoutState::Approved))), "{late:?}");
}

#[tokio::test]
async fn the_limit_counts_what_was_asked_for_within_a_day_in_its_own_currency() {
    let desk = Desk::new(100_000, "acct_1").await;
    let approval_limit: ApprovalLimit = "EUR=10000,JPY=500".parse().unwrap();
    let rules = PayoutRules { approval_limit, ..PayoutRules::default() };
    let first = desk.ask(PayoutMethod::Sepa, Some(6_000), &rules).await.unwrap();
    assert_eq!(first.state, PayoutState::Approved);
    export(&desk).await.unwrap();
    let mut tx = desk.line.platform().await;
    paying::settle(&mut tx, first.id, &by("admin:1"), None, Utc::now()).await.unwrap();
    tx.commit().await.unwrap();
    let second = desk.ask(PayoutMethod::Sepa, Some(6_000), &rules).await.unwrap();
    assert_eq!((second.state, second.above_limit), (PayoutState::Requested, true));
    // What was turned down does not count, and what was asked for the day before neither.
    let mut tx = desk.line.platform().await;
    paying::decline(&mut tx, second.id, &by("admin:2"), "too much").await.unwrap();
    tx.commit().await.unwrap();
    let small = desk.ask(PayoutMethod::Sepa, Some(4_000), &rules).await.unwrap();
    assert_eq!(small.state, PayoutState::Approved);
    let mut tx = desk.line.platform().await;
    paying::decline(&mut tx, small.id, &by("admin:2"), "never mind").await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query("update switchyard.payouts set requested_at = requested_at - interval '25 hours'")
        .execute(&mut desk.line.test.owner().await)
        .await
        .unwrap();
    let again = desk.ask(PayoutMethod::Sepa, Some(10_000), &rules).await.unwrap();
    assert_eq!(again.state, PayoutState::Approved);
}
