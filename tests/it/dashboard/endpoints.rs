//! Endpoints of outbound webhooks on screen.

use super::support::{Ops, agency};
use reqwest::Method;
use switchyard_catalog::line::Cause;
use switchyard_catalog::outbound::{self as manage, GuardPolicy, Settings};
use switchyard_domain::{AgencyId, EndpointId};
use switchyard_store::Scope;
use uuid::Uuid;

const EVIL: &str = "<script>alert(1)</script>\"'>";

async fn endpoint(ops: &Ops, of: Option<AgencyId>, description: &str) -> EndpointId {
    let settings = Settings {
        url: "https://crm.nowak.example/hooks".to_owned(),
        description: description.to_owned(),
        events: vec!["lead.*".to_owned()],
        rate: Some(5),
    };
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let policy = GuardPolicy::default();
    let made = manage::create(&mut tx, &ops.api.keys, &policy, of, true, settings).await;
    tx.commit().await.unwrap();
    made.unwrap().endpoint.id
}

#[tokio::test]
async fn an_endpoint_is_seen_with_its_deliveries_and_steered() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops/endpoints").await.contains("switchyard endpoints add"));
    let owner = agency(&ops.db, "Nowak", "nowak", &[]).await;
    let id = endpoint(&ops, Some(owner), EVIL).await;
    let list = session.page("/ops/endpoints").await;
    assert!(
        list.contains("Nowak") && list.contains("&#60;script") && !list.contains(EVIL),
        "{list}"
    );

    let one = format!("/ops/endpoints/{id}");
    let (to, page) = session.press(&format!("{one}/test")).await;
    assert_eq!(to, one);
    assert!(page.contains("The test is on its way."), "{page}");
    assert!(page.contains("It waits for a worker.") && page.contains("webhook.test"), "{page}");
    assert!(!page.contains("Send all failed again"));

    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let second = manage::test(&mut tx, id, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    let detail = session.page(&format!("{one}/deliveries/{second}")).await;
    assert!(detail.contains("wants its messages in order"), "{detail}");
    assert!(detail.contains("&#34;endpoint_id&#34;"), "the payload: {detail}");
    let (_, page) = session.press(&format!("{one}/deliveries/{second}/resend")).await;
    assert!(page.contains("It is sent again, with the same id."), "{page}");

    let (_, page) = session.press(&format!("{one}/pause")).await;
    assert!(page.contains("Let it go on") && page.contains("The endpoint is paused."), "{page}");
    let (_, page) = session.press(&format!("{one}/test")).await;
    assert!(page.contains("Not done: the endpoint is paused"), "{page}");
    let (_, page) = session.press(&format!("{one}/resume")).await;
    assert!(page.contains("The endpoint goes on."), "{page}");
    assert!(session.page(&format!("{one}?show=failed")).await.contains("Nothing here"));

    let none = Uuid::nil();
    for path in [format!("/ops/endpoints/{none}"), format!("{one}/deliveries/{none}")] {
        assert_eq!(session.get(&path).await.0, 404, "{path}");
    }
    for path in [
        format!("/ops/endpoints/{none}/pause"),
        format!("{one}/explode"),
        format!("{one}/deliveries/{none}/resend"),
    ] {
        let answer = session.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}
