//! What backups keep of the ledger's log, and the audit that compares: whoever rewrites the database has
//! not rewritten the archive.

use super::as_jobs::run;
use crate::backup::support::{Yard, seldom};
use chrono::Utc;
use serde_json::json;
use switchyard_backup::Shelf;
use switchyard_backup::model::Kind;
use switchyard_catalog::alarms::Alarms;
use switchyard_catalog::{AuditLedger, SequenceLedger};
use switchyard_domain::AgencyId;
use switchyard_domain::ledger::{HeadKey, SignedHead};
use switchyard_domain::money::Currency;
use switchyard_domain::secrets::MasterKey;
use switchyard_providers::Providers;
use switchyard_queue::JobState;
use switchyard_store::Scope;
use switchyard_store::backups::alarms::{self, Alarm, Severity};
use switchyard_store::backups::runs::{RunKind, RunState};
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};

/// A platform with an archive, whose ledger is signed.
async fn yard() -> Yard {
    let mut yard = Yard::over(seldom(), Providers::capture(), Alarms::default(), |b| b).await;
    let key = HeadKey::of(&MasterKey::new([7; 32]));
    yard.platform.db = yard.platform.db.clone().signing_with(Some(key));
    yard
}

/// Books so many entries and has them sequenced by the job.
async fn grow(yard: &Yard, entries: i64) -> SignedHead {
    let (agency, euros) = (AgencyId::new(), Currency::of("EUR").unwrap());
    let entry = |n: i64| NewEntry {
        key: format!("commission:{agency}:{n}"),
        agency,
        kind: EntryKind::Commission,
        agent: None,
        event: None,
        lead: None,
        occurred_at: Utc::now(),
        explanation: json!({}),
        postings: vec![
            (Account::payable(Owner::Agency(agency), agency, euros), n),
            (Account::expense(euros), -n),
        ],
    };
    let mut tx = yard.platform.db.begin(Scope::Platform).await.unwrap();
    let all: Vec<NewEntry> = (1..=entries).map(entry).collect();
    ledger::post(&mut tx, &all).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(run(&yard.platform.db, &SequenceLedger {}).await.0, JobState::Completed);
    let mut tx = yard.platform.db.begin(Scope::Platform).await.unwrap();
    ledger::root(&mut tx).await.unwrap().expect("the job has signed")
}

async fn open(yard: &Yard) -> Vec<Alarm> {
    let mut tx = yard.platform.db.begin(Scope::Platform).await.unwrap();
    let all = alarms::open(&mut tx).await.unwrap();
    all.into_iter().filter(|a| a.key.starts_with("ledger.")).collect()
}

#[tokio::test]
async fn every_kind_of_backup_keeps_the_ledgers_root_and_the_audit_holds_the_log_against_it() {
    let yard = yard().await;
    let working = yard.work();
    let mut heads = Vec::new();
    for kind in [RunKind::Full, RunKind::Incremental] {
        heads.push(grow(&yard, 3).await);
        assert_eq!(yard.run(kind).await.state, RunState::Succeeded);
    }
    // It is of the moment of the increment, so what came later is none of its business.
    grow(&yard, 1).await;
    assert_eq!(yard.run(RunKind::Differential).await.state, RunState::Succeeded);
    let shelf = Shelf::load(&yard.backups().vault).await.unwrap();
    let note = |wanted: fn(&Kind) -> bool| {
        let manifest = shelf.all().iter().rev().find(|m| wanted(&m.kind)).unwrap();
        SignedHead::from_note(&manifest.notes["ledger.root"]).unwrap()
    };
    assert_eq!(note(|k| matches!(k, Kind::Full { .. })), heads[0]);
    assert_eq!(note(|k| matches!(k, Kind::Incremental { .. })), heads[1]);
    assert_eq!(note(|k| matches!(k, Kind::Differential { .. })), heads[1]);
    let audit = || run(&yard.platform.db, &AuditLedger {});
    assert_eq!(audit().await, (JobState::Completed, String::new()));
    assert!(open(&yard).await.is_empty());

    // The owner of the server takes back all that was booked since the full backup, and every head over it.
    let cut = "alter table ledger.entries disable trigger all; alter table ledger.postings disable trigger all;
      alter table ledger.log disable trigger all; alter table ledger.heads disable trigger all;
      alter table ledger.nodes disable trigger all;
      delete from ledger.postings where entry_id in (select entry_id from ledger.log where position >= 3);
      delete from ledger.entries where id in (select entry_id from ledger.log where position >= 3);
      delete from ledger.log where position >= 3; delete from ledger.heads where size > 3;
      delete from ledger.nodes where (idx + 1) << level > 3;
      delete from ledger.balances; delete from ledger.balance_deltas;
      insert into ledger.balance_deltas select account_id, null, amount, 1 from ledger.postings";
    sqlx::raw_sql(cut).execute(&mut yard.test.owner().await).await.unwrap();
    let blind = ledger::audit(&yard.platform.db, None, &[], |_| {}).await.unwrap();
    assert_eq!((blind.entries, blind.found), (3, 0), "the database alone cannot know: {blind:?}");
    assert_eq!(audit().await.0, JobState::Discarded);
    let alarms = open(&yard).await;
    let [alarm] = &alarms[..] else { panic!("one alarm: {alarms:?}") };
    assert_eq!((alarm.key.as_str(), alarm.severity), ("ledger.changed", Severity::Critical));
    assert!(alarm.text.contains(r#"{"what":"shortened","signed":6,"found":3}"#), "{alarm:?}");
    working.stop().await;
}
