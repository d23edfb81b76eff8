//! Settings are read once a version, and the version of the moment rules.

use super::support::{Line, person, settings};
use serde_json::json;
use std::sync::Arc;
use switchyard_store::{events, portals};

#[tokio::test]
async fn settings_are_read_once_and_a_new_version_rules_the_next_event() {
    let line = Line::new().await;
    let body = |id: &str| {
        let mut body = person(id, None);
        body["mail"] = json!(format!("{id}@other.test"));
        body
    };
    let first = line.send("1", &body("1")).await;
    let second = line.send("2", &body("2")).await;
    let mut tx = line.platform().await;
    let (a, b) =
        (events::load(&mut tx, first).await.unwrap(), events::load(&mut tx, second).await.unwrap());
    assert!(Arc::ptr_eq(&a.settings.unwrap(), &b.settings.unwrap()), "read twice");
    drop(tx);
    line.set_settings(&settings("mail")).await;
    let third = line.send("3", &body("3")).await;
    for (event, email) in
        [(first, "1@example.test"), (second, "2@example.test"), (third, "3@other.test")]
    {
        assert_eq!(line.lead_of(event).await.data.email.as_deref(), Some(email));
    }
    // And back again: an old version's settings under a new number.
    line.set_settings(&settings("email")).await;
    let fourth = line.send("4", &body("4")).await;
    assert_eq!(line.lead_of(fourth).await.data.email.as_deref(), Some("4@example.test"));
}

#[tokio::test]
async fn a_version_that_was_undone_rules_nothing() {
    let line = Line::new().await;
    let event = line.send("1", &person("1", None)).await;
    // Somebody tries settings out and undoes them; then their number is given to others.
    let mut tx = line.platform().await;
    let undone = portals::set_settings(&mut tx, line.portal, &settings("message")).await.unwrap();
    let tried = events::load(&mut tx, event).await.unwrap();
    assert_eq!(tried.portal_version, undone);
    tx.rollback().await.unwrap();
    line.set_settings(&settings("mail")).await;
    let mut body = person("2", None);
    body["mail"] = json!("two@other.test");
    let second = line.send("2", &body).await;
    let stands = events::load(&mut line.platform().await, second).await.unwrap();
    assert_eq!(stands.portal_version, undone);
    assert_eq!(line.lead_of(second).await.data.email.as_deref(), Some("two@other.test"));
}
