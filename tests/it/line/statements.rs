//! A month with more lines than one document holds: the amounts are right all the same, and every line is
//! in some part.

use super::support::Line;
use chrono::{Datelike, NaiveDate, Utc};
use serde_json::json;
use sqlx::Connection;
use switchyard_catalog::statements::{self, Of};
use switchyard_domain::AgentId;
use switchyard_domain::money::Currency;
use switchyard_domain::statement::statement_csv;
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};
use switchyard_store::payouts::account_month;
use switchyard_store::{StoreFault, agents};

#[tokio::test]
async fn a_month_with_very_many_lines_adds_up_and_comes_in_parts() {
    let line = Line::new().await;
    let agency = line.bare_agency("many", false).await;
    let (agent, euros, now) = (AgentId::new(), Currency::of("EUR").unwrap(), Utc::now());
    let month: NaiveDate = now.date_naive().with_day(1).unwrap();
    let account = Account::payable(Owner::Agent(agent), agency, euros);
    let entry = NewEntry {
        key: "commission:first".to_owned(),
        agency,
        kind: EntryKind::Commission,
        agent: Some(agent),
        event: None,
        lead: None,
        occurred_at: now,
        explanation: json!({}),
        postings: vec![(account, 5), (Account::expense(euros), -5)],
    };
    let mut tx = line.platform().await;
    agents::upsert(&mut tx, agent, agency, "Ann", None, None).await.unwrap();
    ledger::post(&mut tx, &[entry]).await.unwrap();
    tx.commit().await.unwrap();
    let mut owner = line.test.owner().await;
    let mut many = owner.begin().await.unwrap();
    for fill in [
        "insert into ledger.entries (id, key, content_hash, agency_id, period, kind, agent_id,
           occurred_at, explanation)
         select md5('entry ' || n)::uuid, 'many ' || n, sha256('x'), e.agency_id, e.period,
           case when n = 1 then 'payout_sent' else 'commission' end, e.agent_id,
           e.occurred_at - interval '1 millisecond' * n, '{}'
         from ledger.entries e, generate_series(1, 20001) n where e.key = 'commission:first'",
        "insert into ledger.postings (entry_id, n, account_id, agency_id, currency, amount)
         select md5('entry ' || k)::uuid, p.n, p.account_id, p.agency_id, p.currency,
           case when k = 1 then -1 else 1 end * p.amount
         from ledger.postings p join ledger.entries e on e.id = p.entry_id and e.key = 'commission:first',
           generate_series(1, 20001) k",
    ] {
        sqlx::query(fill).execute(&mut *many).await.unwrap();
    }
    many.commit().await.unwrap();

    let mut tx = line.tenant(agency).await;
    let of = Of { agency, agent: Some(agent), month, currency: euros };
    let owed = ledger::balance(&mut tx, &account).await.unwrap();
    let (first, _) = statements::draw(&mut tx, &of, now).await.unwrap();
    assert_eq!((first.closing, first.lines.len()), (owed, 20_000));
    assert!(first.adds_up());
    let part = first.part.unwrap();
    assert_eq!((part.number, part.of, part.lines), (1, 2, 20_002));
    let (second, _) = statements::draw_part(&mut tx, &of, 2, now).await.unwrap();
    assert_eq!((second.closing, second.lines.len()), (owed, 2));
    assert!(second.adds_up());
    let csv = String::from_utf8(statement_csv(&second).unwrap()).unwrap();
    assert!(csv.contains("lines 20001 to 20002 of 20002"), "{csv}");
    for wrong in [0, 3] {
        let none = statements::draw_part(&mut tx, &of, wrong, now).await;
        assert!(matches!(none, Err(StoreFault::NotFound)), "part {wrong}");
    }
    let sums = account_month(&mut tx, account.id(), month).await.unwrap();
    assert_eq!((sums.booked, sums.earned), (owed.minor, owed.minor + 5), "payouts left aside");
}
