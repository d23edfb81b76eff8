//! The configuration of the providers: every fault at once, and no secret in sight.

use super::providers;
use serde_json::json;
use switchyard_providers::{EmailKind, Providers, ProvidersConfig, TlsMode, WhatsAppKind};
use switchyard_tests::fakes::{FakeMeta, FakeTwilio};

fn read(config: serde_json::Value) -> ProvidersConfig {
    serde_json::from_value(config).expect("a readable configuration")
}

fn keys(config: &ProvidersConfig) -> Vec<String> {
    config.validate().into_iter().map(|fault| fault.key).collect()
}

#[test]
fn nothing_configured_is_the_capture_box() {
    let config = read(json!({}));
    assert_eq!((config.email, config.whatsapp), (EmailKind::Capture, WhatsAppKind::Capture));
    assert_eq!(providers(&config).email.provider(), "capture");
    assert_eq!(providers(&config).whatsapp.provider(), "capture");
}

#[test]
fn every_fault_is_named_at_once_with_its_key() {
    let config = read(json!({ "email": "smtp", "whatsapp": "twilio" }));
    let want = ["smtp.host", "smtp.from", "twilio.account_sid", "twilio.auth_token", "twilio.from"];
    assert_eq!(keys(&config), want);
    let faults = Providers::from_config(&config).err().unwrap();
    assert_eq!(faults.len(), want.len());

    let config = read(json!({ "whatsapp": "meta", "meta": {
        "base_url": "http://graph.facebook.com", "version": "23", "timeout_secs": 0,
        "access_token": "pasted with a line feed\n", "template": { "name": "", "language": "en" },
    }}));
    let want = [
        "meta.base_url",
        "meta.version",
        "meta.phone_number_id",
        "meta.access_token",
        "meta.template",
        "meta.timeout_secs",
    ];
    assert_eq!(keys(&config), want);
}

#[test]
fn a_section_that_is_not_chosen_is_not_looked_at() {
    let config = read(json!({ "smtp": { "timeout_secs": 0 }, "twilio": { "from": "none" } }));
    assert_eq!(keys(&config), Vec::<String>::new());
}

#[test]
fn a_password_goes_over_no_open_wire() {
    let smtp = json!({ "host": "mail.example.com", "tls": "none", "from": "a@example.com",
        "username": "u", "password": "p" });
    let mut config = read(json!({ "email": "smtp", "smtp": smtp }));
    assert_eq!(keys(&config), ["smtp.tls"]);
    config.smtp.tls = TlsMode::Starttls;
    assert_eq!(keys(&config), Vec::<String>::new());
    config.smtp.password = None;
    assert_eq!(keys(&config), ["smtp.password"]);
}

#[test]
fn a_misspelled_key_is_refused() {
    let result = serde_json::from_value::<ProvidersConfig>(json!({ "smtp": { "hots": "x" } }));
    assert!(result.err().unwrap().to_string().contains("hots"));
}

#[tokio::test]
async fn secrets_and_personal_data_are_in_no_debug_text() {
    let (twilio, meta) = (FakeTwilio::start().await, FakeMeta::start().await);
    let mut config = twilio.config();
    config.meta = meta.config().meta;
    config.smtp.password = Some("smtp-secret-1".into());
    let text = format!("{config:?}");
    for secret in ["fake-twilio-token", "fake-meta-token", "smtp-secret-1"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let text = format!("{:?} {:?}", super::email(), super::whatsapp());
    for private in ["anna", "Nowak", "+48600100200", "Jan"] {
        assert!(!text.contains(private), "{private}");
    }
}
