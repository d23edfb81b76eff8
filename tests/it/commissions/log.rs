//! The Merkle log: nothing is skipped, everything can be proven, and what is rewritten is found.

use super::support::{Books, at};
use chrono::Utc;
use sqlx::AssertSqlSafe;
use switchyard_domain::ledger::{HeadKey, SignedHead};
use switchyard_domain::secrets::MasterKey;
use switchyard_store::ledger::{self, AuditReport, EntryFilter, EntryId, Finding, HeadSeen};
use uuid::Uuid;

fn key() -> HeadKey {
    HeadKey::of(&MasterKey::new([7; 32]))
}

async fn sequence(books: &Books, most: i64) -> usize {
    let mut tx = books.platform().await;
    let done = ledger::sequence(&mut tx, most).await.unwrap().expect("nobody else is at it");
    tx.commit().await.unwrap();
    done.entries
}

async fn sign(books: &Books) -> Option<SignedHead> {
    let mut tx = books.platform().await;
    let head = ledger::sign(&mut tx, &key(), Utc::now()).await.unwrap();
    tx.commit().await.unwrap();
    head
}

pub async fn audit(books: &Books, seen: &[HeadSeen]) -> AuditReport {
    ledger::audit(&books.db, Some(key().public()), seen, |_| {}).await.unwrap()
}

/// Ten entries with places, under two signed heads.
pub async fn logged() -> (Books, SignedHead, SignedHead) {
    let books = Books::new("marginal").await;
    let deals: Vec<_> = (0..10).map(|n| books.deal(n % 2, 10_000, at(3, n as i64))).collect();
    books.book(&deals[..6]).await;
    assert_eq!(sequence(&books, 4).await, 4);
    assert_eq!(sequence(&books, 4).await, 2);
    let first = sign(&books).await.unwrap();
    books.book(&deals[6..]).await;
    assert_eq!(sequence(&books, 99).await, 4);
    let second = sign(&books).await.unwrap();
    assert_eq!((first.size, second.size), (6, 10));
    (books, first, second)
}

/// What somebody does who owns the server.
pub async fn tamper(books: &Books, statement: &str) {
    let behind = format!(
        "alter table ledger.entries disable trigger all; alter table ledger.postings disable trigger all;
         alter table ledger.log disable trigger all; alter table ledger.heads disable trigger all;
         alter table ledger.nodes disable trigger all; alter table ledger.accounts disable trigger all;
         alter table ledger.periods disable trigger all; {statement}"
    );
    sqlx::raw_sql(AssertSqlSafe(behind)).execute(&mut books.test.owner().await).await.unwrap();
}

async fn at_place(books: &Books, place: i64) -> Uuid {
    sqlx::query_scalar("select entry_id from ledger.log where position = $1")
        .bind(place)
        .fetch_one(&mut books.test.owner().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_entry_gets_one_place_and_can_be_proven_to_have_it() {
    let (books, first, second) = logged().await;
    assert!(first.is_signed() && second.is_signed());
    let mut tx = books.platform().await;
    assert_eq!(ledger::root(&mut tx).await.unwrap().as_ref(), Some(&second));
    let all = EntryFilter { limit: 99, ..EntryFilter::default() };
    let entries = ledger::entries(&mut tx, &all).await.unwrap();
    assert_eq!(entries.len(), 10);
    let leaf = "select leaf from ledger.log where entry_id = $1";
    for entry in &entries {
        let leaf: Vec<u8> = sqlx::query_scalar(leaf)
            .bind(entry.id.0)
            .fetch_one(&mut books.test.owner().await)
            .await
            .unwrap();
        let leaf = leaf.try_into().unwrap();
        let proof = ledger::inclusion(&mut tx, entry.id, Some(second.size)).await.unwrap();
        assert_eq!(proof.verify(&leaf, &second.root), Ok(()));
        assert!(proof.verify(&leaf, &first.root).is_err());
    }
    let grew = ledger::consistency(&mut tx, first.size, second.size).await.unwrap();
    assert_eq!(grew.verify(&first.root, &second.root), Ok(()));
    assert!(ledger::inclusion(&mut tx, EntryId(Uuid::now_v7()), None).await.is_err());
    assert!(ledger::consistency(&mut tx, 6, 11).await.is_err());
    drop(tx);
    let (size, root): (i64, String) = sqlx::query_as("select size, root from ledger.root()")
        .fetch_one(&mut books.test.owner().await)
        .await
        .unwrap();
    assert_eq!((size, root), (10, hex::encode(second.root)));
    let report = audit(&books, &[HeadSeen { size: first.size, root: first.root }]).await;
    assert_eq!((report.entries, report.heads, report.found), (10, 2, 0), "{report:?}");
    assert_eq!(sign(&books).await, None, "nothing is new");
}

#[tokio::test]
async fn what_commits_late_is_not_passed_over() {
    let books = Books::new("marginal").await;
    let mut late = books.platform().await;
    let currency = super::support::eur(0).currency;
    let entry = |key: &str| ledger::NewEntry {
        key: key.into(),
        agency: books.agency,
        kind: ledger::EntryKind::Commission,
        agent: None,
        event: None,
        lead: None,
        occurred_at: at(3, 0),
        explanation: serde_json::json!({}),
        postings: vec![
            (
                ledger::Account::payable(
                    ledger::Owner::Agency(books.agency),
                    books.agency,
                    currency,
                ),
                1,
            ),
            (ledger::Account::payable(ledger::Owner::Platform, books.agency, currency), -1),
        ],
    };
    // The accounts are there, so that nobody waits for their rows.
    let mut tx = books.platform().await;
    ledger::post(&mut tx, &[entry("opens")]).await.unwrap();
    tx.commit().await.unwrap();
    let first = ledger::post(&mut late, &[entry("first to be written")]).await.unwrap();
    books.book(&[books.deal(0, 10_000, at(3, 0))]).await;
    assert_eq!(sequence(&books, 99).await, 2, "the one under way is not there yet");
    late.commit().await.unwrap();
    assert_eq!(sequence(&books, 99).await, 1);
    let place = ledger::head_of(&mut books.platform().await, first[0].id).await.unwrap();
    assert_eq!(place, Some(2), "younger entries stand before it, and it has its place");
    assert_eq!(audit(&books, &[]).await.found, 0);
}

#[tokio::test]
async fn one_process_sequences_at_a_time() {
    let books = Books::new("marginal").await;
    let (mut one, mut other) = (books.platform().await, books.platform().await);
    assert!(ledger::sequence(&mut one, 9).await.unwrap().is_some());
    assert!(ledger::sequence(&mut other, 9).await.unwrap().is_none());
}

#[tokio::test]
async fn the_audit_names_the_row_that_was_edited() {
    let edits = [
        "update ledger.postings set amount = amount * 2 where entry_id = $",
        "update ledger.postings set account_id = (select id from ledger.accounts where kind = 'expense')
           where entry_id = $ and n = 0",
        "delete from ledger.postings where entry_id = $",
        "update ledger.entries set explanation = '{\"why\": \"nothing\"}' where id = $",
        "update ledger.entries set agent_id = null where id = $",
        "update ledger.entries set booked_at = booked_at - interval '1 second' where id = $",
        "update ledger.entries set period = '2026-10-01' where id = $",
    ];
    for edit in edits {
        let (books, ..) = logged().await;
        let entry = at_place(&books, 3).await;
        tamper(&books, &edit.replace('$', &format!("'{entry}'"))).await;
        let report = audit(&books, &[]).await;
        assert!(
            report.findings.contains(&Finding::Altered { position: 3, entry }),
            "{edit}: {report:?}"
        );
        let others =
            |f: &&Finding| matches!(f, Finding::Altered { position, .. } if *position != 3);
        assert_eq!(report.findings.iter().filter(others).count(), 0, "{edit}");
    }
}

#[tokio::test]
async fn the_audit_names_the_row_that_was_deleted_or_slipped_in() {
    let (books, ..) = logged().await;
    let entry = at_place(&books, 5).await;
    tamper(&books, &format!("delete from ledger.entries where id = '{entry}'")).await;
    let report = audit(&books, &[]).await;
    assert!(report.findings.contains(&Finding::Deleted { position: 5, entry }), "{report:?}");

    let (books, ..) = logged().await;
    let entry = Uuid::now_v7();
    tamper(
        &books,
        &format!(
            "insert into ledger.entries select '{entry}', 'slipped in', content_hash, agency_id, period, kind,
               agent_id, event_id, lead_id, occurred_at, booked_at, explanation from ledger.entries limit 1"
        ),
    )
    .await;
    let report = audit(&books, &[]).await;
    assert_eq!(report.findings, [Finding::Inserted { entry }]);
}

#[tokio::test]
async fn a_log_that_is_rewritten_with_its_entries_does_not_fit_what_was_signed() {
    // The edit, with a leaf that fits it: what was signed does not.
    let (books, first, second) = logged().await;
    let entry = at_place(&books, 3).await;
    tamper(
        &books,
        &format!("update ledger.log set leaf = sha256('other') where entry_id = '{entry}'"),
    )
    .await;
    let report = audit(&books, &[]).await;
    for size in [first.size, second.size] {
        assert!(report.findings.contains(&Finding::OtherRoot { size }), "{report:?}");
    }

    // The youngest entries are cut off, with the heads over them: a backup's manifest knows better.
    let (books, first, second) = logged().await;
    let cut = "delete from ledger.entries where id in (select entry_id from ledger.log where position >= 6);
      delete from ledger.postings p where not exists (select from ledger.entries e where e.id = p.entry_id);
      delete from ledger.log where position >= 6; delete from ledger.heads where size > 6;
      delete from ledger.nodes where (idx + 1) << level > 6;
      delete from ledger.balances; delete from ledger.balance_deltas;
      insert into ledger.balance_deltas select account_id, null, amount, 1 from ledger.postings";
    tamper(&books, cut).await;
    assert_eq!(audit(&books, &[]).await.found, 0, "the database alone cannot know");
    let manifest = HeadSeen { size: second.size, root: second.root };
    let report = audit(&books, &[manifest]).await;
    assert_eq!(report.findings, [Finding::Shortened { signed: 10, found: 6 }]);

    // A head signed by somebody who has no master key of ours.
    let theirs = HeadKey::of(&MasterKey::new([8; 32])).sign(first.size, first.root, first.at);
    let forged = format!(
        "update ledger.heads set public_key = '\\x{}', signature = '\\x{}' where size = 6",
        hex::encode(theirs.public_key),
        hex::encode(theirs.signature)
    );
    tamper(&books, &forged).await;
    assert_eq!(audit(&books, &[]).await.findings, [Finding::BadSignature { size: 6 }]);
}

#[tokio::test]
async fn a_balance_that_was_edited_is_found() {
    let (books, ..) = logged().await;
    let edit = "update ledger.balance_deltas set amount = amount + 1
      where ctid = (select ctid from ledger.balance_deltas limit 1)";
    sqlx::raw_sql(edit).execute(&mut books.test.owner().await).await.unwrap();
    let report = audit(&books, &[]).await;
    assert!(
        report.findings.iter().any(|f| matches!(f, Finding::WrongBalance { .. })),
        "{report:?}"
    );
    assert!(report.findings.iter().any(|f| matches!(f, Finding::NotZero { .. })), "{report:?}");
}

/// Applies an edit to books and gives what the audit finds that it did not find before.
pub async fn found_after(books: &Books, edit: &str) -> Vec<Finding> {
    assert_eq!(audit(books, &[]).await.findings, [], "before {edit}");
    tamper(books, edit).await;
    audit(books, &[]).await.findings
}

#[tokio::test]
async fn an_account_that_is_turned_over_to_another_owner_is_found() {
    for edit in [
        "update ledger.accounts set agency_id = gen_random_uuid() where id = $",
        "update ledger.accounts set exponent = 0 where id = $",
        "update ledger.accounts set owner_id = gen_random_uuid() where id = $",
    ] {
        let (books, ..) = logged().await;
        let account: Uuid = sqlx::query_scalar(
            "select id from ledger.accounts where kind = 'payable' and owner_kind = 'agency'",
        )
        .fetch_one(&mut books.test.owner().await)
        .await
        .unwrap();
        let found = found_after(&books, &edit.replace('$', &format!("'{account}'"))).await;
        assert_eq!(found, [Finding::WrongAccount { account }], "{edit}");
    }
}

#[tokio::test]
async fn a_node_that_was_rewritten_removed_or_added_is_found() {
    let edits = [
        ("update ledger.nodes set hash = sha256('other') where (level, idx) = (2, 1)", (2, 1)),
        ("delete from ledger.nodes where (level, idx) = (3, 0)", (3, 0)),
        ("insert into ledger.nodes values (1, 7, sha256('other'))", (1, 7)),
    ];
    for (edit, (level, index)) in edits {
        let (books, ..) = logged().await;
        let found = found_after(&books, edit).await;
        assert_eq!(found, [Finding::WrongNode { level, index }], "{edit}");
    }
}

#[tokio::test]
async fn a_closed_month_whose_statement_was_rewritten_is_found() {
    let (books, ..) = logged().await;
    let month = at(1, 0).date_naive();
    let mut tx = books.platform().await;
    ledger::close(&mut tx, books.agency, month).await.unwrap();
    tx.commit().await.unwrap();
    let edit = "update ledger.periods
      set figures = jsonb_set(figures, '{0,closing}', to_jsonb((figures->0->>'closing')::bigint + 1))";
    let found = found_after(&books, edit).await;
    assert_eq!(found, [Finding::WrongMonth { agency: books.agency.0, month }]);
}

#[tokio::test]
async fn a_payout_that_says_something_else_than_its_bookings_is_found() {
    let (books, ..) = logged().await;
    let (agent, id) = (books.agents[0], Uuid::now_v7());
    let currency = super::support::eur(0).currency;
    let account =
        |kind| ledger::Account::of(kind, ledger::Owner::Agent(agent), books.agency, currency);
    let (payable, sent) =
        (account(ledger::AccountKind::Payable), account(ledger::AccountKind::Sent));
    sqlx::query(
        "insert into switchyard.payouts (id, agency_id, owner_kind, owner_id, currency, amount, method,
           name, iban, state, above_limit, requested_by, approved_by)
         values ($1, $2, 'agent', $3, 'EUR', 300, 'csv', 'Ann', 'DE89370400440532013000', 'sent', false,
           'agency:1', 'limit')",
    )
    .bind(id)
    .bind(books.agency.0)
    .bind(agent.0)
    .execute(&mut books.test.owner().await)
    .await
    .unwrap();
    assert_eq!(
        audit(&books, &[]).await.findings,
        [Finding::WrongPayout { id }],
        "nothing is booked"
    );
    let entry = ledger::NewEntry {
        key: format!("payout:{id}:payout_sent"),
        agency: books.agency,
        kind: ledger::EntryKind::PayoutSent,
        agent: Some(agent),
        event: None,
        lead: None,
        occurred_at: at(4, 0),
        explanation: serde_json::json!({}),
        postings: vec![(payable, -300), (sent, 300)],
    };
    let mut tx = books.platform().await;
    let entry = ledger::post(&mut tx, &[entry]).await.unwrap()[0].id.0;
    tx.commit().await.unwrap();
    let edits = [
        ("update switchyard.payouts set state = 'confirmed' where state = 'sent'", id),
        ("update switchyard.payouts set state = 'declined'", id),
        ("update switchyard.payouts set state = 'sent', amount = 299", id),
        ("update switchyard.payouts set amount = 300, owner_id = gen_random_uuid()", id),
        ("delete from switchyard.payouts", entry),
    ];
    assert_eq!(audit(&books, &[]).await.findings, []);
    for (edit, id) in edits {
        tamper(&books, edit).await;
        assert_eq!(audit(&books, &[]).await.findings, [Finding::WrongPayout { id }], "{edit}");
    }
}
