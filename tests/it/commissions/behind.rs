//! What somebody does behind the triggers who owns the server: which edit is found by the audit, and which
//! by computing the commissions again.

use super::log::{audit, found_after, logged, tamper};
use super::support::{Books, at};
use sqlx::AssertSqlSafe;
use switchyard_store::ledger::{self, Finding};
use uuid::Uuid;

#[tokio::test]
async fn postings_that_no_entry_has_are_found_though_the_balances_fit_them() {
    let (books, ..) = logged().await;
    let entry = Uuid::now_v7();
    let edit = format!(
        "create temporary table moved as
           select id, agency_id, row_number() over (order by id) as n from ledger.accounts
           where kind = 'payable' and owner_kind = 'agent';
         insert into ledger.postings (entry_id, n, account_id, agency_id, currency, amount)
           select '{entry}', n, id, agency_id, 'EUR', case n when 1 then 500 else -500 end from moved;
         insert into ledger.balance_deltas (account_id, agency_id, amount, postings)
           select id, agency_id, case n when 1 then 500 else -500 end, 1 from moved"
    );
    assert_eq!(found_after(&books, &edit).await, [Finding::Loose { entry }]);
}

#[tokio::test]
async fn a_closed_month_that_is_opened_again_is_found_by_what_came_late() {
    let (books, ..) = logged().await;
    let month = at(1, 0).date_naive();
    let mut tx = books.platform().await;
    ledger::close(&mut tx, books.agency, month).await.unwrap();
    tx.commit().await.unwrap();
    books.book(&[books.deal(0, 10_000, at(4, 0))]).await;
    let found = found_after(&books, "delete from ledger.periods").await;
    assert_eq!(found, [Finding::WrongMonth { agency: books.agency.0, month }]);
}

#[tokio::test]
async fn a_file_for_the_bank_that_says_another_sum_than_its_payouts_is_found() {
    let (books, ..) = logged().await;
    let file = Uuid::now_v7();
    let paid = format!(
        "insert into switchyard.payout_files (id, method, currency, payouts, amount, document, made_by)
           values ('{file}', 'csv', 'EUR', 1, 300, 'x', 'admin:1');
         insert into switchyard.payouts (id, agency_id, owner_kind, owner_id, currency, amount, method, name,
           iban, state, above_limit, requested_by, approved_by, file_id)
           values ('{}', '{}', 'agent', '{}', 'EUR', 300, 'csv', 'Ann', 'DE89370400440532013000', 'failed',
             false, 'agency:1', 'limit', '{file}')",
        Uuid::now_v7(),
        books.agency,
        books.agents[0],
    );
    let mut owner = books.test.owner().await;
    sqlx::raw_sql(AssertSqlSafe(paid)).execute(&mut owner).await.unwrap();
    assert_eq!(audit(&books, &[]).await.findings, []);
    for edit in [
        "update switchyard.payout_files set amount = 301",
        "update switchyard.payout_files set amount = 300, payouts = 2",
        "update switchyard.payout_files set payouts = 1, method = 'sepa'",
        "update switchyard.payout_files set method = 'csv'; update switchyard.payouts set amount = 200",
        "delete from switchyard.payouts",
    ] {
        tamper(&books, edit).await;
        assert_eq!(audit(&books, &[]).await.findings, [Finding::WrongFile { id: file }], "{edit}");
    }
}

/// Events and plans are no part of the log: what they say now is held against what was booked.
#[tokio::test]
async fn an_event_or_a_plan_that_was_rewritten_is_found_by_computing_again() {
    let edits = [
        "update switchyard.commission_events set document = jsonb_set(document, '{amount,minor}', '20100')",
        "update switchyard.commission_events set document = jsonb_set(document, '{amount,currency}', '\"PLN\"')",
        "update switchyard.commission_events set state = 'pending', group_id = null",
        "delete from switchyard.commission_events",
        "alter table switchyard.commission_plan_versions disable trigger append_only;
         update switchyard.commission_plan_versions set document = jsonb_set(document, '{tiers,0,rate}', '\"4\"')",
        "alter table switchyard.commission_plan_versions disable trigger append_only;
         update switchyard.commission_plan_versions set document = jsonb_set(document, '{split,0,to}', '\"agency\"')",
    ];
    for edit in edits {
        let books = Books::new("marginal").await;
        books.book(&[books.deal(0, 10_000, at(3, 0))]).await;
        assert_eq!(books.recomputed(false).await.differing, 0);
        tamper(&books, edit).await;
        assert_eq!(audit(&books, &[]).await.findings, [], "the entries are as they were: {edit}");
        let found = books.recomputed(false).await;
        assert!(found.differing > 0, "{edit}: {found:?}");
    }
}
