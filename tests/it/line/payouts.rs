//! Commissions are paid out once, or it is known why not; what the ledger holds follows.

use super::support::Line;
use chrono::{Duration as Span, NaiveDate, Utc};
use serde_json::json;
use sqlx::Connection;
use std::sync::Arc;
use std::time::Duration;
use switchyard_catalog::lead_work::Actor;
use switchyard_catalog::line::Cause;
use switchyard_catalog::payouts::{self as paying, ExportFault, PayoutFault, Wanted};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::payment::{Debtor, PayoutRules};
use switchyard_domain::{AgencyId, AgentId, PayoutId};
use switchyard_providers::Providers;
use switchyard_providers::payments::Stripe;
use switchyard_store::ledger::{self, Account, AccountKind, EntryKind, NewEntry, Owner};
use switchyard_store::payouts::{self, Payee, Payout, PayoutMethod, PayoutState};
use switchyard_store::{agents, ledger::Posted};
use switchyard_tests::fakes::{FakeStripe, HttpStep};

const IBAN: &str = "PL61109010140000071219812874";

pub(super) struct Desk {
    pub(super) line: Line,
    pub(super) stripe: FakeStripe,
    pub(super) agency: AgencyId,
    pub(super) agent: AgentId,
}

pub(super) fn eur() -> Currency {
    Currency::of("EUR").unwrap()
}

pub(super) fn by(name: &str) -> Actor {
    Actor { agency: None, name: name.to_owned() }
}

pub(super) fn limit(cents: i64) -> PayoutRules {
    PayoutRules { approval_limit: cents.into(), ..PayoutRules::default() }
}

impl Desk {
    /// An agent who is owed so many cents, and an account to pay to.
    pub(super) async fn new(owed: i64, account: &str) -> Self {
        let stripe = FakeStripe::start().await;
        let payouts = Arc::new(Stripe::new(&stripe.config()).unwrap());
        let line = Line::with_providers(Providers { payouts, ..Providers::capture() }).await;
        let agency = line.bare_agency("nowak", false).await;
        let agent = AgentId::new();
        let mut tx = line.platform().await;
        agents::upsert(&mut tx, agent, agency, "Łucja Żółć", None, None).await.unwrap();
        let payee = Payee {
            owner: Owner::Agent(agent),
            agency,
            name: "Łucja Żółć".to_owned(),
            iban: Some(IBAN.to_owned()),
            bic: None,
            stripe_account: Some(account.to_owned()),
        };
        payouts::set_payee(&mut tx, &payee, "admin:1").await.unwrap();
        tx.commit().await.unwrap();
        let desk = Self { line, stripe, agency, agent };
        desk.earn(owed, "commission:1").await;
        desk
    }

    /// Books a commission; negative: takes one back.
    pub(super) async fn earn(&self, cents: i64, key: &str) -> Vec<Posted> {
        let payable = Account::payable(Owner::Agent(self.agent), self.agency, eur());
        let entry = NewEntry {
            key: key.to_owned(),
            agency: self.agency,
            kind: EntryKind::Commission,
            agent: Some(self.agent),
            event: None,
            lead: None,
            occurred_at: Utc::now(),
            explanation: json!({}),
            postings: vec![(payable, cents), (Account::expense(eur()), -cents)],
        };
        let mut tx = self.line.platform().await;
        let posted = ledger::post(&mut tx, &[entry]).await.unwrap();
        tx.commit().await.unwrap();
        posted
    }

    pub(super) async fn ask(
        &self,
        method: PayoutMethod,
        amount: Option<i64>,
        rules: &PayoutRules,
    ) -> Result<Payout, PayoutFault> {
        let (agency, agent) = (self.agency, Some(self.agent));
        let wanted = Wanted { agency, agent, currency: eur(), amount, method };
        let mut tx = self.line.platform().await;
        let asked =
            paying::request(&mut tx, &wanted, &by("admin:1"), rules, &Cause::default()).await?;
        tx.commit().await.unwrap();
        Ok(asked)
    }

    pub(super) async fn payout(&self, id: PayoutId) -> Payout {
        payouts::get(&mut self.line.platform().await, id).await.unwrap()
    }

    /// Payable, sent and paid, in cents.
    pub(super) async fn holds(&self) -> [i64; 3] {
        let mut tx = self.line.platform().await;
        let mut held = [0; 3];
        let kinds = [AccountKind::Payable, AccountKind::Sent, AccountKind::Paid];
        for (kind, held) in kinds.into_iter().zip(&mut held) {
            let account = Account::of(kind, Owner::Agent(self.agent), self.agency, eur());
            *held = ledger::balance(&mut tx, &account).await.unwrap().minor;
        }
        let (off, wrong) = ledger::out_of_balance(&mut tx).await.unwrap();
        assert!(off.is_empty() && wrong.is_empty(), "{off:?} {wrong:?}");
        held
    }
}

#[tokio::test]
async fn a_payout_up_to_the_limit_is_paid_at_once_and_booked() {
    let desk = Desk::new(100_000, "acct_1").await;
    let asked = desk.ask(PayoutMethod::Stripe, Some(60_000), &limit(60_000)).await.unwrap();
    assert_eq!(asked.state, PayoutState::Approved);
    assert_eq!(asked.approved_by.as_deref(), Some("limit"));
    assert_eq!(desk.holds().await, [100_000, 0, 0], "nothing moves before it is sent");
    desk.line.run().await;
    let paid = desk.payout(asked.id).await;
    assert_eq!(paid.state, PayoutState::Confirmed);
    assert!(paid.provider_id.is_some_and(|id| id.starts_with("tr_")));
    assert_eq!(desk.holds().await, [40_000, 0, 60_000]);
    let [transfer] = &desk.stripe.transfers()[..] else { panic!("one transfer") };
    assert_eq!((&transfer["amount"], &transfer["destination"]), (&json!(60_000), &json!("acct_1")));
}

#[tokio::test]
async fn above_the_limit_another_person_has_to_approve() {
    let desk = Desk::new(100_000, "acct_1").await;
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(99_999)).await.unwrap();
    assert_eq!((asked.state, asked.amount.minor), (PayoutState::Requested, 100_000));
    desk.line.run().await;
    assert!(desk.stripe.transfers().is_empty());
    let mut tx = desk.line.platform().await;
    let same = paying::approve(&mut tx, asked.id, &by("admin:1"), &Cause::default()).await;
    assert!(matches!(same, Err(PayoutFault::SamePerson)), "{same:?}");
    // Nor past the rule in the program: the database has it too.
    let forced = payouts::approve(&mut tx, asked.id, "admin:1").await.unwrap_err();
    assert_eq!(forced.constraint(), Some("payouts_second_person"));
    drop(tx);
    let mut tx = desk.line.platform().await;
    paying::approve(&mut tx, asked.id, &by("admin:2"), &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = desk.line.platform().await;
    let again = paying::approve(&mut tx, asked.id, &by("admin:2"), &Cause::default()).await;
    assert!(matches!(again, Err(PayoutFault::WrongState(PayoutState::Approved))));
    drop(tx);
    desk.line.run().await;
    assert_eq!(desk.holds().await, [0, 0, 100_000]);
}

#[tokio::test]
async fn more_than_is_owed_and_two_at_once_are_refused() {
    let desk = Desk::new(10_000, "acct_1").await;
    for amount in [10_001, 0, -1] {
        let refused = desk.ask(PayoutMethod::Stripe, Some(amount), &limit(0)).await;
        assert!(matches!(refused, Err(PayoutFault::NotOwed { .. })), "{amount}");
    }
    desk.ask(PayoutMethod::Stripe, Some(1_000), &limit(0)).await.unwrap();
    let second = desk.ask(PayoutMethod::Sepa, Some(1_000), &limit(0)).await;
    assert!(matches!(second, Err(PayoutFault::OneIsOpen)), "{second:?}");
}

#[tokio::test]
async fn what_the_provider_refuses_is_owed_again() {
    let desk = Desk::new(10_000, "acct_missing").await;
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(10_000)).await.unwrap();
    desk.line.run().await;
    let failed = desk.payout(asked.id).await;
    assert_eq!(failed.state, PayoutState::Failed);
    assert!(failed.error.is_some_and(|e| e.contains("resource_missing")));
    assert_eq!(desk.holds().await, [10_000, 0, 0]);
    // It can be asked for again.
    desk.ask(PayoutMethod::Stripe, None, &limit(0)).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_busy_is_asked_again_and_pays_once() {
    let desk = Desk::new(10_000, "acct_1").await;
    let busy = || HttpStep::refuse(429, 0, "slow down");
    desk.stripe.script().push([busy(), busy()]);
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(10_000)).await.unwrap();
    desk.line.run().await;
    assert_eq!(desk.holds().await, [0, 10_000, 0], "it is on its way until somebody knows");
    desk.line.run_retries().await;
    desk.line.run_retries().await;
    assert_eq!(desk.payout(asked.id).await.state, PayoutState::Confirmed);
    assert_eq!(desk.stripe.transfers().len(), 1);
    assert_eq!(desk.holds().await, [0, 0, 10_000]);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_up_and_not_paid_again() {
    let desk = Desk::new(10_000, "acct_1").await;
    desk.stripe.script().push([HttpStep::AcceptAndCut]);
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(10_000)).await.unwrap();
    desk.line.run().await;
    assert_eq!(desk.payout(asked.id).await.state, PayoutState::Sent);
    desk.line.run_retries().await;
    assert_eq!(desk.payout(asked.id).await.state, PayoutState::Confirmed);
    assert_eq!(desk.stripe.transfers().len(), 1);
    let requests = desk.stripe.record().all();
    let asked_for = requests.iter().filter(|r| !r.marker.is_empty()).count();
    assert_eq!(asked_for, 1, "the transfer was found and not asked for again: {requests:?}");
}

#[tokio::test]
async fn a_worker_that_dies_between_the_payment_and_its_record_leaves_one_payment() {
    let desk = Desk::new(10_000, "acct_1").await;
    desk.stripe.script().push([HttpStep::AcceptLate { ms: 500 }]);
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(10_000)).await.unwrap();
    let presence = desk.line.register().await;
    let job = desk.line.claim(presence.id, &[]).await.pop().expect("the payout's job");
    let mut owner = desk.line.test.owner().await;
    let mut hold = owner.begin().await.unwrap();
    let killed = async {
        desk.stripe.record().wait_for(1).await;
        // Its record will wait for this row; the payment will not.
        sqlx::query("select from switchyard.payouts for update").execute(&mut *hold).await.unwrap();
        while desk.stripe.transfers().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = desk.line.run_claimed(job) => panic!("the worker was to die first: {ended:?}"),
        () = killed => {}
    }
    hold.rollback().await.unwrap();
    assert_eq!(desk.payout(asked.id).await.state, PayoutState::Sent, "paid, and not recorded");
    let heir = desk.line.register().await;
    // The dead one's transaction is rolled back behind its back; until then the job is not free.
    let again = loop {
        if let Some(job) = desk.line.claim(heir.id, &[presence.id]).await.pop() {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    desk.line.run_claimed(again).await.unwrap();
    assert_eq!(desk.payout(asked.id).await.state, PayoutState::Confirmed);
    assert_eq!(desk.stripe.transfers().len(), 1, "paid once");
    assert_eq!(desk.holds().await, [0, 0, 10_000]);
}

#[tokio::test]
async fn what_was_taken_back_in_between_is_not_paid() {
    let desk = Desk::new(10_000, "acct_1").await;
    let asked = desk.ask(PayoutMethod::Stripe, None, &limit(10_000)).await.unwrap();
    desk.earn(-1, "commission:2").await;
    desk.line.run().await;
    let failed = desk.payout(asked.id).await;
    assert_eq!(failed.state, PayoutState::Failed);
    assert!(failed.error.is_some_and(|e| e.contains("99.99 EUR is owed")));
    assert!(desk.stripe.transfers().is_empty());
    assert_eq!(desk.holds().await, [9_999, 0, 0]);
}

#[tokio::test]
async fn a_file_for_the_bank_holds_what_is_approved_and_is_made_once() {
    let desk = Desk::new(123_456, "acct_1").await;
    let asked = desk.ask(PayoutMethod::Sepa, None, &limit(1_000_000)).await.unwrap();
    let debtor = Debtor {
        name: "Switchyard".to_owned(),
        iban: "DE89370400440532013000".parse().unwrap(),
        bic: None,
    };
    let (now, ops) = (Utc::now(), by("admin:1"));
    let day: NaiveDate = (now + Span::days(1)).date_naive();
    let mut tx = desk.line.platform().await;
    let nobody = paying::export(&mut tx, PayoutMethod::Sepa, eur(), day, None, &ops, now).await;
    assert!(matches!(nobody, Err(ExportFault::NoDebtor)));
    let payer = Some(&debtor);
    let made =
        paying::export(&mut tx, PayoutMethod::Sepa, eur(), day, payer, &ops, now).await.unwrap();
    tx.commit().await.unwrap();
    let file = made.file.unwrap();
    assert_eq!((file.payouts, file.amount), (1, 123_456));
    let mut tx = desk.line.platform().await;
    let (_, document) = payouts::file(&mut tx, file.id).await.unwrap();
    let xml = String::from_utf8(document).unwrap();
    for part in ["<CtrlSum>1234.56</CtrlSum>", IBAN, "Lucja Zolc", "pain.001.001.09"] {
        assert!(xml.contains(part), "{part} is not in {xml}");
    }
    let again = paying::export(&mut tx, PayoutMethod::Sepa, eur(), day, payer, &ops, now).await;
    assert!(matches!(again, Err(ExportFault::Nothing)));
    drop(tx);
    assert_eq!(desk.holds().await, [0, 123_456, 0]);
    let mut tx = desk.line.platform().await;
    let back = paying::settle(&mut tx, asked.id, &ops, Some("account closed"), now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((back.state, back.settled_by.as_deref()), (PayoutState::Failed, Some("admin:1")));
    assert_eq!(desk.holds().await, [123_456, 0, 0]);
    let asked = desk.ask(PayoutMethod::Csv, Some(1_000), &limit(1_000_000)).await.unwrap();
    let mut tx = desk.line.platform().await;
    let made =
        paying::export(&mut tx, PayoutMethod::Csv, eur(), day, None, &ops, now).await.unwrap();
    let (_, document) = payouts::file(&mut tx, made.file.unwrap().id).await.unwrap();
    assert!(String::from_utf8(document).unwrap().contains(",10.00,EUR,"));
    paying::settle(&mut tx, asked.id, &ops, None, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(desk.holds().await, [122_456, 0, 1_000]);
}

#[tokio::test]
async fn an_agency_sees_its_own_payouts_and_standings_only() {
    let desk = Desk::new(5_000, "acct_1").await;
    let asked = desk.ask(PayoutMethod::Sepa, None, &limit(0)).await.unwrap();
    let other = desk.line.bare_agency("other", false).await;
    let mut tx = desk.line.tenant(other).await;
    assert!(payouts::get(&mut tx, asked.id).await.is_err());
    let filter = payouts::StandingFilter { currency: eur(), agency: None, agent: None, limit: 10 };
    assert!(payouts::standings(&mut tx, &filter).await.unwrap().is_empty());
    let mut tx = desk.line.tenant(desk.agency).await;
    let [mine] = &payouts::standings(&mut tx, &filter).await.unwrap()[..] else { panic!("one") };
    assert_eq!((mine.place, mine.agent), (1, desk.agent));
    assert_eq!((mine.earned, mine.pending), (Money::new(5_000, eur()), Money::new(5_000, eur())));
}

#[tokio::test]
async fn five_thousand_agents_are_ranked_by_their_balances_alone() {
    let line = Line::new().await;
    let agency = line.bare_agency("many", false).await;
    let mut owner = line.test.owner().await;
    // Earned: n cents each, a third of it paid, the rest owed or on its way; no posting anywhere.
    for fill in [
        "insert into switchyard.agents (id, agency_id, name)
         select gen_random_uuid(), id, 'agent ' || n from switchyard.agencies, generate_series(1, 5000) n",
        "insert into ledger.accounts (id, kind, owner_kind, owner_id, agency_id, currency, exponent)
         select gen_random_uuid(), k, 'agent', g.id, g.agency_id, 'EUR', 2
         from switchyard.agents g, unnest(array['payable', 'sent', 'paid']) k",
        "insert into ledger.balance_deltas (account_id, agency_id, amount, postings)
         select a.id, a.agency_id, substr(g.name, 7)::int8, 1
         from ledger.accounts a join switchyard.agents g on g.id = a.owner_id",
        "select ledger.fold_balances()",
        // Since then: everybody but the first and the last thousand.
        "insert into ledger.balance_deltas (account_id, agency_id, amount, postings)
         select a.id, a.agency_id, 1, 1 from ledger.accounts a join switchyard.agents g on g.id = a.owner_id
         where a.kind = 'payable' and substr(g.name, 7)::int8 between 1001 and 4000",
        // One overtakes all, one falls behind all, one is new.
        "insert into ledger.balance_deltas (account_id, agency_id, amount, postings)
         select a.id, a.agency_id, case g.name when 'agent 7' then 100000 else -100000 end, 1
         from ledger.accounts a join switchyard.agents g on g.id = a.owner_id
         where a.kind = 'sent' and g.name in ('agent 7', 'agent 4999')",
        "analyze ledger.accounts, ledger.standings, switchyard.agents",
    ] {
        sqlx::query(fill).execute(&mut owner).await.unwrap();
    }
    let filter = payouts::StandingFilter { currency: eur(), agency: None, agent: None, limit: 50 };
    let mut tx = line.platform().await;
    payouts::standings(&mut tx, &filter).await.unwrap();
    let begun = std::time::Instant::now();
    let board = payouts::standings(&mut tx, &filter).await.unwrap();
    eprintln!("the leaderboard of 5,000 agents took {:?}", begun.elapsed());
    let shown: Vec<_> = board.iter().map(|s| (s.place, s.name.as_str(), s.earned.minor)).collect();
    assert_eq!(
        shown[..3],
        [(1, "agent 7", 100_021), (2, "agent 5000", 15_000), (3, "agent 4998", 14_994)]
    );
    assert_eq!((board.len(), board[49].place, board[49].name.as_str()), (50, 50, "agent 4951"));
    let last = payouts::StandingFilter { agency: Some(agency), limit: 5_000, ..filter };
    let all = payouts::standings(&mut tx, &last).await.unwrap();
    assert_eq!((all.len(), all[4_998].name.as_str()), (5_000, "agent 1"));
    assert_eq!((all[4_999].name.as_str(), all[4_999].sent.minor), ("agent 4999", -95_001));
    // One agent's is the same as in the whole list, moved since the fold or not.
    for one in [&all[0], &all[1], &all[2_500], &all[4_500], &all[4_999]] {
        let own = payouts::StandingFilter { agent: Some(one.agent), ..filter };
        let found = payouts::standings(&mut tx, &own).await.unwrap();
        assert_eq!(found, std::slice::from_ref(one));
    }
    // And the same once it is folded.
    switchyard_store::ledger::fold(&mut tx).await.unwrap();
    assert_eq!(payouts::standings(&mut tx, &last).await.unwrap(), all);
    tx.commit().await.unwrap();
}
