//! Leads of which the sender sends an id only: fetched, completed, given out; or shown as not fetched.

use super::support::{Line, at_a_gate, settings};
use serde_json::{Value, json};
use switchyard_catalog::line::{self, Cause};
use switchyard_catalog::{DistributeLead, EnrichLead, RescanUnassigned, replay};
use switchyard_domain::secrets::{MasterKey, PORTAL_ENRICH};
use switchyard_domain::{EventId, LeadState, StandardLead};
use switchyard_providers::{FetchConfig, Fetcher, Providers};
use switchyard_queue::{NewJob, Outcome};
use switchyard_store::leads::{self, Lead, StoreAs};
use switchyard_store::{StoreFault, events, portals};
use switchyard_tests::fakes::{FakeGraph, GraphStep};

const TOKEN: &str = "a-portal-token";

struct Stage {
    line: Line,
    graph: FakeGraph,
}

impl Stage {
    async fn new() -> Self {
        let key = MasterKey::new([7; 32]);
        let config = FetchConfig {
            timeout_secs: 2,
            allow_http: true,
            allow_private: vec!["127.0.0.0/8".parse().unwrap()],
        };
        let fetch = Fetcher::new(&config).opening_with(Some(key.clone()));
        let line = Line::with_providers(Providers { fetch, ..Providers::capture() }).await;
        line.agency("acme", &["00-950"]).await;
        line.run().await;
        line.set_settings(&fetching()).await;
        let sealed = key.seal(PORTAL_ENRICH, TOKEN.as_bytes());
        let mut tx = line.platform().await;
        portals::set_enrich_token(&mut tx, line.portal, &sealed).await.unwrap();
        tx.commit().await.unwrap();
        Self { line, graph: FakeGraph::start(TOKEN).await }
    }

    /// A pending lead, as a mapping with `enrich` leaves it, and the job that fetches it.
    async fn pending(&self, id: &str) -> Lead {
        let event = self.event(id).await;
        let mut tx = self.line.platform().await;
        let of = events::load(&mut tx, event).await.unwrap();
        let data = StandardLead {
            external_id: Some(id.to_owned()),
            source: Some("meta_lead_ads".to_owned()),
            ..StandardLead::default()
        };
        let url = self.graph.lead_url(id);
        let how = StoreAs { fetch_url: Some(&url), ..StoreAs::default() };
        let stored = leads::store_as(&mut tx, &of, 0, &data, &how).await.unwrap();
        tx.enqueue(NewJob::of(&EnrichLead { lead: stored.lead }).unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        self.line.lead(stored.lead).await
    }

    /// An event that is not judged: its lead comes from the test.
    async fn event(&self, id: &str) -> EventId {
        let event = self.line.delivery(&format!("e{id}"), &json!({"leadgen_id": id}));
        let answers = events::ingest(&self.line.db, vec![event]).await.unwrap();
        let mut owner = self.line.test.owner().await;
        sqlx::query("delete from engine.jobs where kind = 'webhook.process'")
            .execute(&mut owner)
            .await
            .unwrap();
        answers[0].event
    }
}

/// The demo's settings; what is fetched is mapped as an event is.
fn fetching() -> Value {
    let mut all = settings("email");
    let mapping = all["mapping"].clone();
    all["enrich"] = json!({"url": "https://graph.example/{leadgen_id}", "mapping": mapping});
    all
}

fn whole(email: &str) -> Value {
    json!({"id": "x", "first_name": "Ada", "email": email, "postal_code": "00-950", "country": "PL"})
}

#[tokio::test]
async fn a_lead_is_fetched_completed_and_given_out() {
    let stage = Stage::new().await;
    stage.graph.put("11", whole("ada@example.test"));
    let lead = stage.pending("11").await;
    assert_eq!(lead.state, LeadState::Pending);
    stage.line.run().await;
    let lead = stage.line.lead(lead.id).await;
    assert_eq!(lead.state, LeadState::Assigned);
    assert_eq!(lead.data.email.as_deref(), Some("ada@example.test"));
    assert_eq!(lead.data.external_id.as_deref(), Some("11"), "the event's own id stays");
    assert_eq!(lead.data.source.as_deref(), Some("meta_lead_ads"));
    assert_eq!((lead.fetch_error, lead.fetched), (None, Some(whole("ada@example.test"))));
    assert_eq!(stage.graph.asked(), ["11"]);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_shown() {
    let stage = Stage::new().await;
    stage.graph.put("11", whole("ada@example.test"));
    for step in
        [GraphStep::Error(400, 4, None), GraphStep::Busy(503, 30), GraphStep::Error(500, 2, None)]
    {
        stage.graph.then(step);
    }
    let lead = stage.pending("11").await;
    assert_eq!(stage.line.run().await, [("webhook.enrich".to_owned(), "retry")]);
    let waiting = stage.line.lead(lead.id).await;
    assert_eq!(waiting.state, LeadState::Pending);
    assert!(waiting.fetch_error.unwrap().contains("come again later"));
    for _ in 0..2 {
        assert_eq!(stage.line.run_retries().await, [("webhook.enrich".to_owned(), "retry")]);
    }
    stage.line.run_retries().await;
    assert_eq!(stage.line.lead(lead.id).await.state, LeadState::Assigned);

    for (id, step, words) in [
        ("21", None, "does not have this lead"),
        ("22", Some(GraphStep::Error(401, 190, Some(463))), "token has ended"),
        ("23", Some(GraphStep::Garbage), "no JSON"),
        ("24", Some(GraphStep::Redirect("http://127.0.0.1:9/".to_owned())), "redirects"),
        ("25", Some(GraphStep::Long(1 << 20)), "more than 1 MiB"),
    ] {
        step.into_iter().for_each(|s| stage.graph.then(s));
        let lead = stage.pending(id).await;
        assert_eq!(stage.line.run().await, [("webhook.enrich".to_owned(), "permanent")], "{id}");
        let lead = stage.line.lead(lead.id).await;
        assert_eq!(lead.state, LeadState::Pending, "{id}");
        let error = lead.fetch_error.unwrap();
        assert!(error.contains(words), "{id}: {error}");
        assert!(!error.contains(TOKEN), "{error}");
    }
}

#[tokio::test]
async fn a_provider_that_wants_its_version_in_a_header_is_told_it() {
    let stage = Stage::new().await;
    stage.graph.put("11", whole("ada@example.test"));
    stage.graph.demand("linkedin-version", "202606");
    stage.graph.demand("x-restli-protocol-version", "2.0.0");
    let lead = stage.pending("11").await;
    assert_eq!(stage.line.run().await, [("webhook.enrich".to_owned(), "permanent")]);
    assert_eq!(stage.line.lead(lead.id).await.state, LeadState::Pending);

    let mut settings = fetching();
    settings["enrich"]["headers"] =
        json!({"LinkedIn-Version": "202606", "X-Restli-Protocol-Version": "2.0.0"});
    stage.line.set_settings(&settings).await;
    stage.graph.put("12", whole("eve@example.test"));
    let lead = stage.pending("12").await;
    stage.line.run().await;
    let lead = stage.line.lead(lead.id).await;
    assert_eq!((lead.state, lead.fetch_error), (LeadState::Assigned, None));
}

#[tokio::test]
async fn only_https_is_fetched_and_no_token_goes_without_its_key() {
    let token = switchyard_providers::FetchToken::in_query(vec![1, 2, 3], "t".to_owned());
    let fetch = Fetcher::new(&FetchConfig::default());
    for url in ["http://127.0.0.1/", "ftp://h/", "file:///etc/passwd", "https://u:p@h/", "nonsense"]
    {
        let fault = fetch.get(url, None, &[]).await.unwrap_err();
        assert_eq!(fault.code, "address", "{url}");
    }
    let fault = fetch.get("https://h.invalid/", Some(&token), &[]).await.unwrap_err();
    assert_eq!(fault.code, "token");
}

#[tokio::test]
async fn what_is_fetched_meets_the_persons_who_asked_before() {
    let stage = Stage::new().await;
    let mut rule = fetching();
    rule["duplicates"] = json!({"policy": "link"});
    stage.line.set_settings(&rule).await;
    stage.graph.put("11", whole("ada@example.test"));
    stage.graph.put("12", whole("ada@example.test"));
    stage.graph.put("13", whole("ada@example.test"));
    let (first, second) = (stage.pending("11").await, stage.pending("12").await);
    stage.line.run().await;
    let (a, b) = (stage.line.lead(first.id).await, stage.line.lead(second.id).await);
    let linked = [a.duplicate_of, b.duplicate_of];
    assert!(linked == [None, Some(a.id)] || linked == [Some(b.id), None], "{linked:?}");
    rule["duplicates"] = json!({"policy": "reject"});
    stage.line.set_settings(&rule).await;
    let third = stage.pending("13").await;
    stage.line.run().await;
    let third = stage.line.lead(third.id).await;
    assert_eq!((third.state, third.duplicate_of.is_some()), (LeadState::Duplicate, true));
    assert_eq!(third.fetch_error, None, "it was fetched");
    let (event, ..) = events::get(&mut stage.line.platform().await, third.event).await.unwrap();
    assert!(event.reasons[0].message.contains("asked before"), "{:?}", event.reasons);
}

#[tokio::test]
async fn what_is_fetched_and_replayed_at_one_instant_waits_for_nobody_in_a_circle() {
    let stage = Stage::new().await;
    let mut rule = fetching();
    rule["duplicates"] = json!({"policy": "reject"});
    stage.line.set_settings(&rule).await;
    stage.graph.put("11", whole("ada@example.test"));
    stage.graph.put("12", whole("ada@example.test"));
    stage.pending("11").await;
    stage.line.run().await;
    let second = stage.pending("12").await;
    let worker = stage.line.register().await;
    let fetch = stage.line.claim(worker.id, &[]).await.remove(0);
    let replayed = async {
        let mut tx = stage.line.platform().await;
        let told = line::replay(&mut tx, second.event, &Cause::default()).await?;
        tx.commit().await?;
        Ok::<_, StoreFault>(told)
    };
    let persons = "select from switchyard.person_keys order by key for update";
    let fetched = stage.line.run_claimed(fetch);
    let (fetched, told) = at_a_gate(&stage.line, persons, fetched, replayed).await;
    assert!(matches!(fetched, Ok(Outcome::Settled(_))), "{fetched:?}");
    assert!(told.is_ok(), "{told:?}");
    assert_eq!(stage.line.lead(second.id).await.state, LeadState::Duplicate);
}

#[tokio::test]
async fn what_is_fetched_and_completes_another_lead_waits_for_nothing_and_goes_to_nobody() {
    let stage = Stage::new().await;
    let mut rule = fetching();
    rule["duplicates"] = json!({"policy": "merge"});
    stage.line.set_settings(&rule).await;
    stage.graph.put("11", whole("ada@example.test"));
    let mut more = whole("ada@example.test");
    more["phone"] = json!("+48501000001");
    stage.graph.put("12", more);
    let first = stage.pending("11").await;
    stage.line.run().await;
    let second = stage.pending("12").await;
    stage.line.run().await;
    let (first, second) = (stage.line.lead(first.id).await, stage.line.lead(second.id).await);
    assert_eq!(
        (first.state, first.data.phone.as_deref()),
        (LeadState::Assigned, Some("+48501000001"))
    );
    assert_eq!((second.state, second.duplicate_of), (LeadState::Duplicate, Some(first.id)));
    // Nor later: neither by a job of its own nor by the search for leads that wait.
    let mut tx = stage.line.platform().await;
    let jobs = [
        NewJob::of(&DistributeLead { lead: second.id }).unwrap(),
        NewJob::of(&RescanUnassigned { place: None }).unwrap(),
    ];
    tx.enqueue_all(jobs.to_vec()).await.unwrap();
    tx.commit().await.unwrap();
    stage.line.run().await;
    let second = stage.line.lead(second.id).await;
    assert_eq!((second.state, second.agency), (LeadState::Duplicate, None));
}

#[tokio::test]
async fn a_replay_reads_what_was_fetched_anew_and_fetches_nothing() {
    let stage = Stage::new().await;
    let mut answer = whole("ada@example.test");
    answer["town"] = json!("Warszawa");
    stage.graph.put("11", answer);
    let lead = stage.pending("11").await;
    stage.line.run().await;
    let asked = stage.graph.asked().len();
    let mut with_town = fetching();
    with_town["mapping"]["fields"]["external_id"] = json!("leadgen_id");
    with_town["enrich"]["mapping"]["fields"]["city"] = json!("town");
    stage.line.set_settings(&with_town).await;
    let told = replay::preview(&stage.line.db, lead.event).await.unwrap();
    let city = told.leads[0].fields.iter().find(|f| f.field == "city").unwrap();
    assert_eq!(city.after, json!("Warszawa"));
    assert!(!told.leads[0].fields.iter().any(|f| f.field == "email"), "{told:?}");
    assert_eq!(stage.graph.asked().len(), asked);
}
