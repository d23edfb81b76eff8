//! What the database itself refuses, whoever asks.

use super::support::{Books, at, eur};
use serde_json::json;
use sqlx::AssertSqlSafe;
use switchyard_store::StoreFault;
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner, PostFault};

fn entry(books: &Books, key: &str, amount: i64) -> NewEntry {
    let currency = eur(0).currency;
    let agent = Account::payable(Owner::Agent(books.agents[0]), books.agency, currency);
    NewEntry {
        key: key.to_owned(),
        agency: books.agency,
        kind: EntryKind::Commission,
        agent: Some(books.agents[0]),
        event: None,
        lead: None,
        occurred_at: at(3, 0),
        explanation: json!({ "why": "a test" }),
        postings: vec![(agent, amount), (Account::expense(currency), -amount)],
    }
}

async fn posted(books: &Books, entries: &[NewEntry]) -> Result<Vec<ledger::Posted>, PostFault> {
    let mut tx = books.platform().await;
    let posted = ledger::post(&mut tx, entries).await?;
    tx.commit().await?;
    Ok(posted)
}

/// The constraint that refused a statement of the owner.
async fn refusal(books: &Books, statement: &str) -> String {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    let refused = done.execute(&mut books.test.owner().await).await.unwrap_err();
    let refused = refused.into_database_error().unwrap();
    refused.constraint().unwrap_or(refused.message()).to_owned()
}

#[tokio::test]
async fn nobody_changes_or_removes_what_was_written_not_even_the_owner() {
    let books = Books::new("marginal").await;
    books.book(&[books.deal(0, 150_000, at(3, 0))]).await;
    let mut tx = books.platform().await;
    ledger::sequence(&mut tx, 100).await.unwrap();
    tx.commit().await.unwrap();
    for table in ["accounts", "entries", "postings", "periods", "log", "nodes", "heads"] {
        let column = match table {
            "accounts" => "currency = currency",
            "entries" => "key = key",
            "postings" => "amount = amount",
            "periods" => "figures = figures",
            "log" => "leaf = leaf",
            "nodes" => "hash = hash",
            _ => "root = root",
        };
        for statement in [
            format!("update ledger.{table} set {column}"),
            format!("delete from ledger.{table}"),
            format!("truncate ledger.{table} cascade"),
            format!("set session_replication_role = replica; delete from ledger.{table}"),
        ] {
            assert_eq!(refusal(&books, &statement).await, "ledger_append_only", "{statement}");
        }
    }
    let version = "update switchyard.commission_plan_versions set document = '{}'";
    assert_eq!(refusal(&books, version).await, "ledger_append_only");
    books.assert_sound().await;
}

#[tokio::test]
async fn the_application_has_not_even_the_right_to() {
    let books = Books::new("marginal").await;
    let mut app = books.test.owner().await;
    sqlx::raw_sql("set role switchyard_app").execute(&mut app).await.unwrap();
    for statement in [
        "update ledger.entries set kind = 'x'",
        "delete from ledger.postings",
        "truncate ledger.log",
        "insert into ledger.balances values (gen_random_uuid(), null, 5, 1)",
        "insert into ledger.balance_deltas values (gen_random_uuid(), null, 5, 1)",
        "insert into ledger.unsequenced values (gen_random_uuid())",
        "update switchyard.commission_events set document = '{}'",
        "delete from switchyard.commission_events",
        "alter table ledger.entries disable trigger all",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut app).await.unwrap_err();
        let code = refused.into_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{statement}");
    }
}

#[tokio::test]
async fn money_is_neither_made_nor_lost() {
    let books = Books::new("marginal").await;
    let mut lopsided = entry(&books, "lopsided", 5);
    lopsided.postings[1].1 = -4;
    let alone = NewEntry { postings: vec![lopsided.postings[0]], ..entry(&books, "alone", 5) };
    let nothing = NewEntry { postings: Vec::new(), ..entry(&books, "nothing", 5) };
    for bad in [lopsided, alone, nothing, entry(&books, "zero", 0)] {
        let refused = posted(&books, &[entry(&books, "good", 5), bad]).await.unwrap_err();
        assert!(matches!(refused, PostFault::Unbalanced(_)), "{refused}");
    }
    assert_eq!(books.count("select count(*) from ledger.entries").await, 0);

    // The same behind the program's back.
    posted(&books, &[entry(&books, "good", 5)]).await.unwrap();
    let head = "insert into ledger.entries (id, key, content_hash, agency_id, period, kind, occurred_at, explanation)
      select '00000000-0000-7000-8000-000000000001', 'bad', content_hash, agency_id, period, kind, occurred_at,
        explanation from ledger.entries where key = 'good';";
    let copy = |amount: &str, who: &str| {
        format!(
            "insert into ledger.postings (entry_id, n, account_id, agency_id, currency, amount)
             select {who}, p.n + 10, p.account_id, p.agency_id, p.currency, {amount} from ledger.postings p
             join ledger.entries e on e.id = p.entry_id and e.key = 'good';"
        )
    };
    let new = "'00000000-0000-7000-8000-000000000001'::uuid";
    let all_at_once = |parts: &[&str]| format!("begin; {} commit;", parts.concat());
    assert_eq!(refusal(&books, &all_at_once(&[head])).await, "entries_zero_sum", "no postings");
    let off = copy("abs(amount)", new);
    assert_eq!(refusal(&books, &all_at_once(&[head, &off])).await, "postings_zero_sum");
    let onto_good = copy("amount", "entry_id");
    assert_eq!(refusal(&books, &onto_good).await, "postings_at_once", "an entry is not added to");
    let nowhere = copy("amount", "gen_random_uuid()");
    assert!(refusal(&books, &nowhere).await.starts_with("postings_"));
    let orphan = copy("amount", new);
    assert_eq!(refusal(&books, &orphan).await, "postings_fit", "an entry that is not there");
    books.assert_sound().await;
    assert_eq!(books.count("select count(*) from ledger.entries").await, 1);
}

#[tokio::test]
async fn a_key_counts_once_and_stands_for_one_content() {
    let books = Books::new("marginal").await;
    let first = posted(&books, &[entry(&books, "k", 5), entry(&books, "l", 6)]).await.unwrap();
    assert!(first.iter().all(|p| !p.replayed));
    let again = posted(&books, &[entry(&books, "m", 7), entry(&books, "k", 5)]).await.unwrap();
    assert_eq!((again[0].replayed, again[1].replayed), (false, true));
    assert_eq!(again[1].id, first[0].id);
    assert_eq!(books.owed(0).await, 5 + 6 + 7);
    let changes: [fn(&mut NewEntry); 5] = [
        |e| e.postings.iter_mut().for_each(|p| p.1 *= 2),
        |e| e.explanation = json!({}),
        |e| e.kind = EntryKind::Correction,
        |e| e.agent = None,
        |e| e.occurred_at += chrono::Duration::seconds(1),
    ];
    for change in changes {
        let mut other = entry(&books, "k", 5);
        change(&mut other);
        let refused = posted(&books, &[entry(&books, "n", 8), other]).await.unwrap_err();
        assert!(matches!(&refused, PostFault::OtherContent(key) if key == "k"), "{refused}");
    }
    let twice = posted(&books, &[entry(&books, "o", 9), entry(&books, "o", 9)]).await;
    assert!(matches!(twice, Err(PostFault::OtherContent(_))));
    assert_eq!(books.owed(0).await, 18);
    books.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_everybody_posts_to_is_no_lock() {
    let books = Books::new("marginal").await;
    posted(&books, &[entry(&books, "opens the accounts", 1)]).await.unwrap();
    let mut open = Vec::new();
    for n in 0..5 {
        let mut tx = books.platform().await;
        // All of them are under way at once; the second would wait for the first for ever.
        ledger::post(&mut tx, &[entry(&books, &format!("k{n}"), 10)]).await.unwrap();
        open.push(tx);
    }
    for tx in open {
        tx.commit().await.unwrap();
    }
    assert_eq!(books.owed(0).await, 51);
    let mut tx = books.platform().await;
    assert!(ledger::fold(&mut tx).await.unwrap() > 0);
    tx.commit().await.unwrap();
    assert_eq!(books.owed(0).await, 51);
    assert_eq!(books.count("select count(*) from ledger.balance_deltas").await, 0);
    books.assert_sound().await;
}

#[tokio::test]
async fn the_engine_reaches_nothing_of_the_ledger() {
    let books = Books::new("marginal").await;
    let mut engine = books.test.owner().await;
    sqlx::raw_sql("set role switchyard_engine").execute(&mut engine).await.unwrap();
    let refused = sqlx::raw_sql("select 1 from ledger.entries").execute(&mut engine).await;
    let fault = StoreFault::from(refused.unwrap_err());
    assert_eq!(fault.sqlstate().as_deref(), Some("42501"));
}
