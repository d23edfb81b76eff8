//! Books of one test: agencies, agents, a plan, and events that are booked as workers do.

use chrono::{DateTime, Duration, Utc};
use futures::{StreamExt, stream};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use switchyard_catalog::line::Cause;
use switchyard_catalog::{BookCommission, Platform, Recomputed, conversion, recompute};
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_providers::Providers;
use switchyard_queue::Outcome;
use switchyard_queue::testing::Trial;
use switchyard_store::commissions::{self, NewAssignment, NewPlan, NewVersion, RecordFault};
use switchyard_store::ledger;
use switchyard_store::{Db, Scope, Tx};
use switchyard_tests::TestDb;
use switchyard_tests::program::{Said, open_folder, say};
use uuid::Uuid;

pub struct Books {
    pub test: TestDb,
    pub db: Db,
    pub agency: AgencyId,
    pub agents: Vec<AgentId>,
    trial: Trial<Platform>,
}

pub fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::of("EUR").unwrap())
}

/// A moment of November 2026.
pub fn at(day: u32, minute: i64) -> DateTime<Utc> {
    let day: DateTime<Utc> = format!("2026-11-{day:02}T00:00:00Z").parse().unwrap();
    day + Duration::minutes(minute)
}

/// 3 % to 1,000, 5 % to 2,000, 7 % above; the platform keeps a tenth of it, the agency a fifth.
pub fn plan(mode: &str) -> Value {
    json!({
        "format": 1, "name": "test", "version": 1, "currencies": ["EUR"], "measure": "volume",
        "mode": mode, "window": "month", "clawback_days": 30,
        "tiers": [
            {"name": "bronze", "from": 0, "rate": "3"},
            {"name": "silver", "from": {"EUR": "1000"}, "rate": "5"},
            {"name": "gold", "from": {"EUR": "2000"}, "rate": "7"}
        ],
        "split": [
            {"to": "agent", "percent": "70"}, {"to": "agency", "percent": "20"},
            {"to": "platform", "percent": "10"}
        ]
    })
}

impl Books {
    pub async fn new(mode: &str) -> Self {
        Self::under(Some(plan(mode)), 2).await
    }

    pub async fn under(document: Option<Value>, agents: usize) -> Self {
        let test = TestDb::new().await;
        let db = test.db.clone();
        let mut owner = test.owner().await;
        let agency = new_agency(&mut owner, "acme").await;
        let mut all = Vec::new();
        for n in 0..agents {
            all.push(new_agent(&mut owner, agency, &format!("agent {n}")).await);
        }
        if let Some(document) = document {
            let mut tx = db.begin(Scope::Platform).await.unwrap();
            let new = NewPlan { agency: None, code: "test".into(), name: "Test".into() };
            let plan = commissions::create(&mut tx, &new).await.unwrap();
            let valid_from = DateTime::UNIX_EPOCH;
            let rules = serde_json::from_value(document).unwrap();
            let version = NewVersion { plan, rules, valid_from, by: "test".into() };
            commissions::add_version(&mut tx, &version).await.unwrap();
            commissions::assign(&mut tx, plan, &NewAssignment::default()).await.unwrap();
            tx.commit().await.unwrap();
        }
        let platform =
            Platform::new(db.clone(), Providers::capture(), "https://app.example.test/leads/{id}");
        Self { test, db, agency, agents: all, trial: Trial::new(platform) }
    }

    /// Adds a version to the plan `test`.
    pub async fn version(&self, document: &Value, valid_from: DateTime<Utc>) {
        let mut tx = self.platform().await;
        let plan = commissions::find(&mut tx, "test").await.unwrap().unwrap();
        let rules = serde_json::from_value(document.clone()).unwrap();
        let plan = commissions::PlanId(plan.id);
        let version = NewVersion { plan, rules, valid_from, by: "test".into() };
        commissions::add_version(&mut tx, &version).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn platform(&self) -> Tx {
        self.db.begin(Scope::Platform).await.unwrap()
    }

    /// A deal of this value, that much in minor units.
    pub fn deal(&self, agent: usize, minor: i64, when: DateTime<Utc>) -> CommissionEvent {
        CommissionEvent {
            id: CommissionEventId::new(),
            kind: EventKind::Converted,
            lead: Some(LeadId::new()),
            agency: self.agency,
            agent: self.agents[agent],
            manager: None,
            portal: None,
            product: None,
            occurred_at: when,
            received_at: when,
            amount: Some(eur(minor)),
            fee: None,
            of: None,
        }
    }

    /// Something that happened to a deal.
    pub fn about(
        &self,
        deal: &CommissionEvent,
        kind: EventKind,
        minor: Option<i64>,
        when: DateTime<Utc>,
    ) -> CommissionEvent {
        CommissionEvent {
            id: CommissionEventId::new(),
            kind,
            amount: minor.map(eur),
            of: Some(deal.id),
            occurred_at: when,
            ..deal.clone()
        }
    }

    /// A decision about an agent.
    pub fn decide(&self, agent: usize, kind: EventKind, when: DateTime<Utc>) -> CommissionEvent {
        let deal = self.deal(agent, 0, when);
        CommissionEvent { kind, lead: None, amount: None, ..deal }
    }

    pub async fn record(&self, events: &[CommissionEvent]) -> Result<usize, RecordFault> {
        let mut tx = self.platform().await;
        let new = conversion::record(&mut tx, events, &Cause::default()).await?;
        tx.commit().await.unwrap();
        Ok(new.len())
    }

    /// Runs the jobs of these events, eight at once.
    pub async fn run(&self, events: &[CommissionEvent]) {
        let jobs = events.iter().map(|e| BookCommission { event: e.id, agency: e.agency });
        let ended = stream::iter(jobs.collect::<Vec<_>>())
            .map(|job| async move { self.trial.run(&job).await })
            .buffer_unordered(8)
            .collect::<Vec<_>>()
            .await;
        assert!(ended.iter().all(|e| matches!(e, Ok(Outcome::Done))), "{ended:?}");
    }

    pub async fn book(&self, events: &[CommissionEvent]) {
        self.record(events).await.unwrap();
        self.run(events).await;
        self.assert_sound().await;
    }

    /// Balances by account, without those at zero.
    pub async fn balances(&self) -> BTreeMap<Uuid, i64> {
        let all = ledger::balances(&mut self.platform().await, None, None, 10_000).await.unwrap();
        all.into_iter().filter(|b| b.amount.minor != 0).map(|b| (b.id.0, b.amount.minor)).collect()
    }

    /// What an agent is owed.
    pub async fn owed(&self, agent: usize) -> i64 {
        use switchyard_store::ledger::{Account, Owner};
        let owner = Owner::Agent(self.agents[agent]);
        let account = Account::payable(owner, self.agency, eur(0).currency);
        ledger::balance(&mut self.platform().await, &account).await.unwrap().minor
    }

    pub async fn recomputed(&self, post: bool) -> Recomputed {
        recompute(&self.db, None, post, Utc::now(), |_| {}).await.unwrap()
    }

    /// The sum of all accounts is zero, and each is the sum of its postings.
    pub async fn assert_sound(&self) {
        let off = ledger::out_of_balance(&mut self.platform().await).await.unwrap();
        assert_eq!(off, (Vec::new(), Vec::new()));
    }

    pub async fn state(&self, event: &CommissionEvent) -> (String, Option<String>) {
        sqlx::query_as("select state, reason from switchyard.commission_events where id = $1")
            .bind(event.id.0)
            .fetch_one(&mut self.test.owner().await)
            .await
            .unwrap()
    }

    /// The program's answer on this database; it finds `files` in its folder.
    pub async fn say(&self, files: &[(&str, &Value)], args: &[&str]) -> Said {
        self.say_with(&[], files, args).await
    }

    /// The same with more settings.
    pub async fn say_with(
        &self,
        settings: &[(&str, &str)],
        files: &[(&str, &Value)],
        args: &[&str],
    ) -> Said {
        let folder = open_folder();
        for (name, document) in files {
            std::fs::write(folder.path().join(name), document.to_string()).unwrap();
        }
        let url = self.test.url.expose_secret();
        let environment = [&[("DATABASE_URL", url)], settings].concat();
        say(folder.path(), &environment, args).await
    }

    pub async fn count(&self, what: &'static str) -> i64 {
        sqlx::query_scalar(what).fetch_one(&mut self.test.owner().await).await.unwrap()
    }
}

pub async fn new_agency(owner: &mut PgConnection, name: &str) -> AgencyId {
    let id = AgencyId::new();
    sqlx::query(
        "insert into switchyard.agencies (id, name, email, password_hash) values ($1, $2, $3, 'x')",
    )
    .bind(id.0)
    .bind(name)
    .bind(format!("{id}@example.test"))
    .execute(owner)
    .await
    .unwrap();
    id
}

pub async fn new_agent(owner: &mut PgConnection, agency: AgencyId, name: &str) -> AgentId {
    let id = AgentId::new();
    sqlx::query("insert into switchyard.agents (id, agency_id, name) values ($1, $2, $3)")
        .bind(id.0)
        .bind(agency.0)
        .bind(name)
        .execute(owner)
        .await
        .unwrap();
    id
}
