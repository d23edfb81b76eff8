//! Addresses that are not to be reached are not reached, however they are written.

use super::support::{Hooks, key, policy};
use std::time::Duration;
use switchyard_catalog::outbound::{self as manage, GuardPolicy, Settings};
use switchyard_providers::{GuardFault, GuardedClient, Providers, UrlRefused};
use switchyard_store::outbound::DeliveryState::Pending;
use switchyard_tests::fakes::{FakeReceiver, HttpStep};

fn client(policy: GuardPolicy) -> GuardedClient {
    GuardedClient::new(policy).unwrap()
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_called() {
    let receiver = FakeReceiver::start().await;
    let port = receiver.port();
    let strict = client(GuardPolicy { ports: vec![port], allow_http: true, ..Default::default() });
    // `localhost` is a name: only the look-up tells where it leads.
    for url in [format!("http://localhost:{port}/"), format!("http://LOCALHOST:{port}/x")] {
        let refused = strict.get(&url, &[]).await.unwrap_err();
        assert!(matches!(refused, GuardFault::Refused(UrlRefused::Name(_))), "{url}: {refused:?}");
    }
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"] {
        let refused = strict.get(&format!("http://{host}:{port}/"), &[]).await.unwrap_err();
        let address = matches!(refused, GuardFault::Refused(UrlRefused::Address(_)));
        assert!(address, "{host}: {refused:?}");
    }
    assert_eq!(receiver.record().all().len(), 0);

    // The same name where it is allowed.
    let inside = client(policy());
    let answer = inside.get(&format!("http://localhost:{port}/x"), &[]).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(receiver.record().all()[0].recipient, "/x");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_leads_nowhere() {
    let (from, to) = (FakeReceiver::start().await, FakeReceiver::start().await);
    from.script().push([HttpStep::Say { status: 302, text: to.url() }]);
    let answer = client(policy()).post(&from.url(), &[], b"{}".to_vec()).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(to.record().all().is_empty());
}

#[tokio::test]
async fn an_answer_is_read_in_part_and_within_its_time() {
    let receiver = FakeReceiver::start().await;
    let few = client(GuardPolicy { body_limit: 10, timeout: Duration::from_secs(2), ..policy() });
    receiver.script().push([HttpStep::Say { status: 200, text: "x".repeat(100_000) }]);
    let answer = few.get(&receiver.url(), &[]).await.unwrap();
    assert_eq!((answer.body.len(), answer.truncated), (10, true));
    receiver.script().push([HttpStep::AcceptLate { ms: 600_000 }, HttpStep::Cut]);
    let late = few.get(&receiver.url(), &[]).await.unwrap_err();
    assert!(matches!(late, GuardFault::TimedOut(_)), "{late:?}");
    let cut = few.get(&receiver.url(), &[]).await.unwrap_err();
    assert!(matches!(cut, GuardFault::Broken(_)), "{cut:?}");
    let bad = few.get(&receiver.url(), &[("x-a", "line\nfeed".to_owned())]).await.unwrap_err();
    assert!(matches!(bad, GuardFault::Request), "{bad:?}");
}

#[tokio::test]
async fn an_endpoint_on_this_machine_is_refused_when_made_and_again_when_called() {
    let receiver = FakeReceiver::start().await;
    // The policy when it was made allowed it; the workers' does not.
    let hooks = Hooks::over(Providers::capture(), GuardPolicy::default()).await;
    for url in [receiver.url(), format!("https://localhost:{}/", receiver.port())] {
        let (endpoint, _) = hooks.endpoint_at(&url, None, &["*"], false).await;
        hooks.tests(endpoint, 1).await;
        hooks.line.run().await;
        assert_eq!(hooks.states(endpoint).await, [Pending]);
        let why = hooks.deliveries(endpoint).await[0].why();
        assert!(why.contains("not called") || why.contains("not a public address"), "{url}: {why}");
    }
    assert!(receiver.record().all().is_empty());

    let mut tx = hooks.tx(None).await;
    for url in ["https://127.0.0.1/", "https://169.254.169.254/", "http://example.com/", "nonsense"]
    {
        let settings = Settings {
            url: url.to_owned(),
            description: String::new(),
            events: vec!["*".to_owned()],
            rate: None,
        };
        let strict = GuardPolicy::default();
        let made = manage::create(&mut tx, &key(), &strict, None, false, settings).await;
        assert!(matches!(made.err(), Some(manage::EndpointFault::Url(_))), "{url}");
    }
}
