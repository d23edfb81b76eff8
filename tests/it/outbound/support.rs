//! A platform with a receiver of webhooks, and what a test wants of both.

use crate::line::support::{Line, person};
use serde_json::Value;
use standardwebhooks::Webhook;
use switchyard_catalog::line::{self, Cause};
use switchyard_catalog::outbound::{self as manage, GuardPolicy, Settings};
use switchyard_domain::secrets::MasterKey;
use switchyard_domain::{AgencyId, EndpointId, LeadId, OutboundMessageId};
use switchyard_providers::{Providers, Webhooks};
use switchyard_store::distribution::Answer;
use switchyard_store::outbound::{
    self, Delivery, DeliveryFilter, DeliveryState, Endpoint, EndpointState,
};
use switchyard_store::{Scope, Tx};
use switchyard_tests::fakes::{FakeReceiver, HttpStep, Received, headers_of, text_of};

pub fn key() -> MasterKey {
    MasterKey::new([7; 32])
}

/// This machine may be called, and nothing else that is not public.
pub fn policy() -> GuardPolicy {
    let here = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap());
    GuardPolicy { allow_private: here.into(), ..GuardPolicy::default() }
}

pub struct Hooks {
    pub line: Line,
    pub receiver: FakeReceiver,
}

impl Hooks {
    pub async fn new() -> Self {
        Self::over(Providers::capture(), policy()).await
    }

    pub async fn over(providers: Providers, policy: GuardPolicy) -> Self {
        let providers = providers.sending_webhooks(Webhooks::new(policy, key()).unwrap());
        let line = Line::with_providers(providers).await;
        Self { line, receiver: FakeReceiver::start().await }
    }

    /// An endpoint on the receiver; gives its id and secret.
    pub async fn endpoint(
        &self,
        agency: Option<AgencyId>,
        events: &[&str],
        ordered: bool,
    ) -> (EndpointId, String) {
        self.endpoint_at(&self.receiver.url(), agency, events, ordered).await
    }

    pub async fn endpoint_at(
        &self,
        url: &str,
        agency: Option<AgencyId>,
        events: &[&str],
        ordered: bool,
    ) -> (EndpointId, String) {
        let settings = Settings {
            url: url.to_owned(),
            description: String::new(),
            events: events.iter().map(|e| (*e).to_owned()).collect(),
            rate: None,
        };
        let mut tx = self.tx(agency).await;
        let made = manage::create(&mut tx, &key(), &policy(), agency, ordered, settings).await;
        let made = made.unwrap();
        tx.commit().await.unwrap();
        manage::keep_limit(&self.line.db, made.endpoint.id, ordered, None).await;
        (made.endpoint.id, made.secret.expose().to_string())
    }

    pub async fn tx(&self, agency: Option<AgencyId>) -> Tx {
        self.line.db.begin(agency.map_or(Scope::Platform, Scope::Tenant)).await.unwrap()
    }

    /// One lead that comes in at this place; gives it.
    pub async fn lead(&self, id: &str, code: &str) -> LeadId {
        self.line.lead_of(self.line.send(id, &person(id, Some(code))).await).await.id
    }

    /// Several test events, written at once and not sent yet.
    pub async fn tests(&self, endpoint: EndpointId, n: usize) -> Vec<OutboundMessageId> {
        let mut all = Vec::new();
        for _ in 0..n {
            let mut tx = self.tx(None).await;
            all.push(manage::test(&mut tx, endpoint, &Cause::default()).await.unwrap());
            tx.commit().await.unwrap();
        }
        all
    }

    pub async fn answer(&self, agency: AgencyId, lead: LeadId, answer: &Answer) {
        let mut tx = self.tx(Some(agency)).await;
        line::respond(&mut tx, lead, answer, &Cause::default()).await.unwrap();
        tx.commit().await.unwrap();
        self.line.run().await;
    }

    pub async fn pause(&self, endpoint: EndpointId) {
        let mut tx = self.tx(None).await;
        manage::pause(&mut tx, endpoint).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn resume(&self, endpoint: EndpointId) {
        let mut tx = self.tx(None).await;
        manage::resume(&mut tx, endpoint, &Cause::default()).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn find(&self, endpoint: EndpointId) -> Endpoint {
        outbound::get(&mut self.tx(None).await, endpoint).await.unwrap()
    }

    pub async fn state(&self, endpoint: EndpointId) -> EndpointState {
        self.find(endpoint).await.state
    }

    /// The deliveries of an endpoint, the oldest first.
    pub async fn deliveries(&self, endpoint: EndpointId) -> Vec<Delivery> {
        let filter = DeliveryFilter { endpoint, state: None, before: None, limit: 1_000 };
        let mut all = outbound::deliveries(&mut self.tx(None).await, &filter).await.unwrap();
        all.reverse();
        all
    }

    pub async fn states(&self, endpoint: EndpointId) -> Vec<DeliveryState> {
        self.deliveries(endpoint).await.iter().map(|d| d.state).collect()
    }

    /// The types of event that came, in order.
    pub fn came(&self) -> Vec<String> {
        self.receiver.record().all().iter().map(|r| payload(r)["type"].to_string()).collect()
    }

    /// Rows of all tables of outbound messages.
    pub async fn rows(&self) -> i64 {
        sqlx::query_scalar(
            "select (select count(*) from switchyard.outbound_messages)
               + (select count(*) from switchyard.outbound_deliveries)
               + (select count(*) from engine.jobs where kind like 'webhook.%' and kind <> 'webhook.process')",
        )
        .fetch_one(&mut self.line.test.owner().await)
        .await
        .unwrap()
    }
}

pub fn payload(received: &Received) -> Value {
    serde_json::from_str(&text_of(received)).unwrap()
}

/// Whether another implementation of the standard finds the signature right.
pub fn verified(received: &Received, secret: &str) -> bool {
    let oracle = Webhook::new(secret).unwrap();
    oracle.verify(text_of(received).as_bytes(), &headers_of(received)).is_ok()
}

pub fn refuse(status: u16) -> HttpStep {
    HttpStep::refuse(status, 0, "not now")
}
