//! The pages with data in them.

use super::support::{Ops, agency, person, within};
use serde_json::json;
use std::time::Duration;
use switchyard_queue::Options;
use switchyard_store::overview::{self, EventFilter};
use switchyard_store::{Scope, jobs};

#[tokio::test]
async fn an_empty_platform_tells_what_to_do() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let page = session.page("/ops").await;
    let curl = format!("curl &#39;{}/api/webhooks/demo&#39;", ops.base);
    assert!(page.contains(&curl), "{page}");
    assert!(page.contains("X-API-Key: YOUR_KEY"));
    assert!(page.contains("No worker is running"));
    assert!(session.page("/ops/leads").await.contains("No lead has come in yet"));
    assert!(session.page("/ops/messages").await.contains("No message yet"));
    assert!(session.page("/ops/schedules").await.contains("switchyard schedule"));
    assert!(session.page("/ops/workers").await.contains("switchyard work"));
    assert!(session.page("/ops/jobs?state=discarded").await.contains("No job matches"));
    assert!(
        session.page("/ops/deliveries?state=rejected").await.contains("No delivery was rejected")
    );
}

#[tokio::test]
async fn a_lead_is_seen_from_the_webhook_to_the_messages() {
    let ops = Ops::new().await;
    ops.work();
    let event = ops.deliver(&person("l-1", "Anna", "Nowak")).await;
    let line = ops.arrived(event).await;
    let lead = line.lead.as_ref().unwrap().id;
    let mut session = ops.sign_in().await;

    let overview = session.page("/ops").await;
    for text in ["Anna Nowak", "Nordhaus Immobilien", "jan@nordhaus.test", "+48501000000"] {
        assert!(overview.contains(text), "the overview lacks {text}");
    }
    assert_eq!(overview.matches(r#"class="stop done""#).count(), 5, "five stations reached");

    let page = session.page(&format!("/ops/leads/{lead}")).await;
    for text in ["webhook.process", "lead.distribute", "notify.email", "notify.whatsapp"] {
        assert!(page.contains(text), "the lead's page lacks the job {text}");
    }
    let explanation = &line.assignments[0].explanation;
    assert!(page.contains(&explanation.replace('\'', "&#39;")), "{explanation}");
    assert!(page.contains("Please call after six."));

    let delivery = session.page(&format!("/ops/deliveries/{event}")).await;
    assert!(delivery.contains("&#34;first_name&#34;: &#34;Anna&#34;"), "{delivery}");
    assert!(delivery.contains(&format!("/ops/leads/{lead}")));
    let raw = session.page(&format!("/ops/deliveries/{event}/raw")).await;
    assert_eq!(raw, person("l-1", "Anna", "Nowak").to_string());

    let messages = &line.assignments[0].messages;
    for message in messages {
        let page = session.page(&format!("/ops/messages/{}", message.id)).await;
        assert!(page.contains("Anna"), "{}", message.channel);
        assert_eq!(page.contains("<iframe"), message.channel == "email");
        assert_eq!(page.contains("bubble"), message.channel == "whatsapp");
    }
    assert_eq!(messages.len(), 2);
    assert!(session.page("/ops/messages?show=email").await.contains("jan@nordhaus.test"));
    assert!(!session.page("/ops/messages?show=email").await.contains("+48501000000"));
    for path in ["/ops/leads?state=assigned", "/ops/deliveries"] {
        assert!(session.page(path).await.contains(&lead.to_string()), "{path}");
    }
    assert!(!session.page("/ops/leads?state=unassigned").await.contains(&lead.to_string()));
}

#[tokio::test]
async fn the_html_of_an_email_is_shut_in() {
    let ops = Ops::new().await;
    ops.work();
    let line = ops.arrived(ops.deliver(&person("m-1", "Anna", "Nowak")).await).await;
    let mail = line.assignments[0].messages.iter().find(|m| m.channel == "email").unwrap();
    let session = ops.sign_in().await;
    let request = session.request(reqwest::Method::GET, &format!("/ops/messages/{}/html", mail.id));
    let answer = request.send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("sandbox") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("script-src") && !policy.contains("allow-scripts"), "{policy}");
    assert_eq!(answer.headers()["x-frame-options"], "SAMEORIGIN");
    assert!(answer.text().await.unwrap().contains("Anna"));
}

#[tokio::test]
async fn hostile_data_stays_text_on_every_screen() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let ops = Ops::new().await;
    ops.work();
    let mut lead = person("evil", EVIL, EVIL);
    for field in ["product", "message"] {
        lead[field] = json!(EVIL);
    }
    let line = ops.arrived(ops.deliver(&lead).await).await;
    let id = line.lead.as_ref().unwrap().id;
    let mut bad = person("bad", "Eve", EVIL);
    bad["email"] = json!(format!("{EVIL}@x"));
    bad["postal_code"] = json!(["not", EVIL]);
    let bad = ops.deliver(&bad).await;
    let unknown = ops.job("nobody.<b>knows</b>", Options::new().unique_by(EVIL)).await;
    ops.test.fail_for_good("nobody.<b>knows</b>", 1).await;
    let mut session = ops.sign_in().await;
    let mut paths = vec![
        "/ops".to_owned(),
        "/ops/errors".into(),
        "/ops/leads".into(),
        format!("/ops/leads/{id}"),
        "/ops/deliveries".into(),
        format!("/ops/deliveries/{}", line.event),
        format!("/ops/deliveries/{bad}"),
        "/ops/jobs".into(),
        format!("/ops/jobs/{unknown}"),
        "/ops/messages".into(),
        "/ops/jobs?error=%3Cscript%3E&arg=a%3D%3Cimg%20src=x%3E".into(),
        "/ops/bulk/new?do=cancel&kind=%3Cscript%3E&error=%3Cimg%20src=x%3E".into(),
        "/ops/bulk".into(),
        "/ops/jobs?kind=%3Cscript%3Ealert(1)%3C/script%3E&queue=%22%3E%3Cimg%20src=x%3E".into(),
    ];
    for m in &line.assignments[0].messages {
        paths.push(format!("/ops/messages/{}", m.id));
        if m.channel == "email" {
            paths.push(format!("/ops/messages/{}/html", m.id));
        }
    }
    for path in paths {
        let page = session.page(&path).await;
        for mark in ["<script>", "<img src=x", "<b>knows"] {
            assert!(!page.contains(mark), "{path} lets {mark} through");
        }
    }
    let page = session.page(&format!("/ops/leads/{id}")).await;
    assert!(page.contains("&#60;script&#62;alert(1)"), "and it is shown, as text");
}

#[tokio::test]
async fn a_rejected_delivery_tells_why_and_runs_again_when_mended() {
    let ops = Ops::new().await;
    ops.work();
    let mut body = person("r-1", "Rita", "Rejected");
    body["email"] = json!("not an address");
    body["phone"] = json!(null);
    let event = ops.deliver(&body).await;
    within(Duration::from_secs(10), "the delivery is rejected", async || {
        let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
        let page = overview::events(&mut tx, EventFilter::Rejected, None, 10).await.unwrap();
        page.rows.into_iter().find(|e| e.id == event)
    })
    .await;
    let mut session = ops.sign_in().await;
    let page = session.page(&format!("/ops/deliveries/{event}")).await;
    assert!(page.contains("Why it was rejected") && page.contains("<code>email</code>"), "{page}");
    assert!(session.page("/ops").await.contains("1 rejected delivery"));
    assert!(session.page("/ops/deliveries?state=rejected").await.contains(&event.to_string()));

    // Mended: the address is no longer read.
    let mut settings = switchyard_tests::seed::portal_settings("demo");
    settings["mapping"]["fields"].as_object_mut().unwrap().remove("email");
    settings["mapping"]["fields"]["phone"] = json!({ "const": "+48601000000" });
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    switchyard_store::portals::set_settings(&mut tx, ops.portal, &settings).await.unwrap();
    tx.commit().await.unwrap();
    let (to, page) = session.press(&format!("/ops/deliveries/{event}/rerun")).await;
    assert_eq!(to, format!("/ops/deliveries/{event}"));
    assert!(page.contains("judged again"), "{page}");
    ops.arrived(event).await;
    let (_, page) = session.press(&format!("/ops/deliveries/{event}/rerun")).await;
    assert!(page.contains("Not done"), "an accepted delivery is not run again: {page}");
}

#[tokio::test]
async fn jobs_are_filtered_looked_up_and_paged() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let mut ids = Vec::new();
    for _ in 0..45 {
        ids.push(
            ops.job("leads.rescan_unassigned", Options::new().delay(Duration::from_secs(900)))
                .await,
        );
    }
    let other = ops.job("nobody.knows", Options::new()).await;
    let first = session.page("/ops/jobs").await;
    assert!(first.contains(&other.to_string()) && !first.contains(&ids[0].to_string()));
    let next = first.split('"').find(|s| s.contains("after=")).unwrap().replace("&#38;", "&");
    let second = session.page(&next).await;
    assert!(second.contains(&ids[0].to_string()) && !second.contains(&other.to_string()));
    assert!(second.contains("Newest"));
    let scheduled = session.page("/ops/jobs?state=scheduled").await;
    assert!(!scheduled.contains(&other.to_string()));
    let kind = session.page("/ops/jobs?kind=nobody.knows&queue=maintenance").await;
    assert!(kind.contains(&other.to_string()) && !kind.contains(&ids[44].to_string()));
    assert!(kind.contains("no worker for this kind"));
    let answer = session.request(reqwest::Method::GET, &format!("/ops/jobs?id={other}"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.headers()["location"], format!("/ops/jobs/{other}"));
    assert_eq!(session.get("/ops/jobs?id=nonsense").await.0, 404);
    assert_eq!(session.get("/ops/jobs?state=nonsense").await.0, 400);
    assert_eq!(session.get("/ops/leads?after=nonsense").await.0, 400);
    let page = session.page(&format!("/ops/jobs/{other}")).await;
    assert!(page.contains("Not tried yet") && page.contains("no worker for this kind"));
    assert!(page.contains("Jobs of the same request"));
    assert!(page.contains("It will not run until somebody acts"), "{page}");
    assert!(page.contains("No living worker knows its kind `nobody.knows`"), "{page}");
}

/// One delivery taken and two refused, one of them with a hostile message; and a pause.
async fn refused_twice(ops: &Ops) {
    use switchyard_store::refusals::{self, NewCount, NewRefusal};
    let refusal = NewRefusal {
        portal: ops.portal,
        address: "203.0.113.7".into(),
        method: "POST".into(),
        status: 401,
        code: "signature_mismatch".into(),
        message: "<script>".into(),
        request_id: None,
        headers: serde_json::json!({}),
        body: None,
        body_bytes: None,
    };
    let count = |outcome: &str, n| NewCount { portal: ops.portal, outcome: outcome.into(), n };
    let counts = [count("accepted", 1), count("signature_mismatch", 2)];
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    refusals::record(&mut tx, &[refusal], &counts).await.unwrap();
    switchyard_store::portals::pause(&mut tx, ops.portal).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn workers_portals_and_unserved_kinds_are_listed() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops/workers").await.contains("Kinds without a worker"));
    ops.work();
    within(Duration::from_secs(10), "a worker registers", async || {
        let workers = jobs::workers(&ops.db).await.unwrap();
        workers.iter().any(|w| w.is_live()).then_some(())
    })
    .await;
    let page = session.page("/ops/workers").await;
    assert!(page.contains("alive") && page.contains("notify.email"), "{page}");
    assert!(!page.contains("Kinds without a worker"));
    let page = session.page("/ops/portals/demo").await;
    assert!(page.contains("X-API-Key: YOUR_KEY") && page.contains("&#34;mapping&#34;"), "{page}");
    assert!(page.contains("Nothing was refused") && page.contains("0 taken, 0 refused."), "{page}");
    refused_twice(&ops).await;
    let page = session.page("/ops/portals/demo").await;
    assert!(page.contains("1 taken, 2 refused (66.7 %)"), "{page}");
    assert!(page.contains("paused") && page.contains("&#60;script&#62;"), "{page}");
    let list = session.page("/ops/portals").await;
    assert!(list.contains("POST /api/webhooks/demo") && list.contains("66.7 %"), "{list}");
    assert_eq!(session.get("/ops/portals/none").await.0, 404);
}

#[tokio::test]
async fn a_lead_nobody_covers_is_named_on_the_first_screen() {
    let ops = Ops::new().await;
    ops.work();
    let mut body = person("u-1", "Ula", "Uncovered");
    body["postal_code"] = json!("99-999");
    ops.deliver(&body).await;
    let mut session = ops.sign_in().await;
    let lead = within(Duration::from_secs(10), "the lead is unassigned", async || {
        let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
        let lines = overview::lines(&mut tx, 5).await.unwrap();
        let lead = lines.first()?.lead.clone()?;
        (lead.state == switchyard_domain::LeadState::Unassigned).then_some(lead)
    })
    .await;
    let page = session.page("/ops").await;
    assert!(page.contains("1 lead nobody covers") && page.contains("Nobody covers it"), "{page}");
    let page = session.page("/ops/leads?state=unassigned").await;
    assert!(page.contains(&lead.id.to_string()));
    agency(&ops.db, "Late GmbH", "late", &["99-999"]).await;
    within(Duration::from_secs(10), "it is given out", async || {
        let page = overview::lines(&mut ops.db.begin(Scope::Platform).await.unwrap(), 5).await;
        (!page.unwrap().first()?.assignments.is_empty()).then_some(())
    })
    .await;
}
