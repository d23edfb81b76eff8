//! WhatsApp by Twilio and by Meta: what arrives, and what every failure means.

use super::{OPERATOR, SOON, after, failed, providers, whatsapp};
use std::time::Instant;
use switchyard_providers::{MetaTemplate, SendFault, WhatsApp};
use switchyard_tests::fakes::{FakeMeta, FakeTwilio, HttpStep, Record};

#[tokio::test]
async fn twilio_gets_a_form_and_gives_its_id() {
    let twilio = FakeTwilio::start().await;
    let message = whatsapp();
    let receipt = providers(&twilio.config()).whatsapp.send(&message).await.unwrap();
    assert_eq!(receipt.provider, "twilio");
    assert!(receipt.provider_id.unwrap().starts_with("SM"));
    let [got] = &twilio.record().all()[..] else { panic!("one request") };
    assert_eq!(got.marker, message.id.to_string());
    assert_eq!(got.body["To"], "whatsapp:+48600100200");
    assert_eq!(got.body["From"], "whatsapp:+14155238886");
    assert_eq!(got.body["Body"], message.body);
}

#[tokio::test]
async fn twilio_gets_a_template_where_one_is_configured() {
    let twilio = FakeTwilio::start().await;
    let mut config = twilio.config();
    config.twilio.content_sid = Some(format!("HX{}", "b".repeat(32)));
    providers(&config).whatsapp.send(&whatsapp()).await.unwrap();
    let body = &twilio.record().all()[0].body;
    assert_eq!(body["ContentVariables"], r#"{"1":"New lead: · Jan, Łódź"}"#);
    assert!(body.get("Body").is_none());
}

#[tokio::test]
async fn meta_gets_json_and_gives_its_id() {
    let meta = FakeMeta::start().await;
    let message = whatsapp();
    let receipt = providers(&meta.config()).whatsapp.send(&message).await.unwrap();
    assert_eq!(receipt.provider, "meta");
    assert!(receipt.provider_id.unwrap().starts_with("wamid."));
    let [got] = &meta.record().all()[..] else { panic!("one request") };
    assert_eq!(got.marker, message.id.to_string());
    assert_eq!(got.recipient, "+48600100200");
    assert_eq!(got.body["text"]["body"], message.body);
}

#[tokio::test]
async fn meta_gets_a_template_where_one_is_configured() {
    let meta = FakeMeta::start().await;
    let mut config = meta.config();
    let template = MetaTemplate { name: "new_lead".to_owned(), language: "pl".to_owned() };
    config.meta.template = Some(template);
    providers(&config).whatsapp.send(&whatsapp()).await.unwrap();
    let template = &meta.record().all()[0].body["template"];
    assert_eq!(template["name"], "new_lead");
    assert_eq!(template["language"]["code"], "pl");
    assert_eq!(template["components"][0]["parameters"][0]["text"], "New lead: · Jan, Łódź");
}

#[tokio::test]
async fn twilios_codes_mean_what_its_dictionary_says() {
    let cases = [
        (429, 20429, SOON),
        (429, 63038, after(3600)),
        (400, 63018, after(3600)),
        (429, 14107, after(60)),
        (500, 20500, SOON),
        (401, 20003, OPERATOR),
        (400, 63007, OPERATOR),
        (400, 21211, SendFault::Permanent),
        (400, 21610, SendFault::Permanent),
        (400, 63016, SendFault::Permanent),
        // Unknown codes: the status decides.
        (400, 99901, SendFault::Permanent),
        (403, 99901, OPERATOR),
        (429, 99901, SOON),
        (503, 99901, SOON),
        (504, 99901, SendFault::Unknown),
    ];
    let twilio = FakeTwilio::start().await;
    let sender = providers(&twilio.config()).whatsapp;
    for (status, code, class) in cases {
        twilio.script().push([HttpStep::refuse(status, code, "Words of Twilio's")]);
        let error = sender.send(&whatsapp()).await.expect_err("a refusal");
        assert_eq!((error.class, error.code), (class, code.to_string()), "{status}");
        assert!(error.message.contains("Words of Twilio's"));
    }
}

#[tokio::test]
async fn metas_codes_mean_what_its_table_says_whatever_the_status() {
    let cases = [
        (400, 130429, SOON),
        (400, 131056, after(6)),
        (400, 80007, after(60)),
        (400, 4, after(60)),
        (400, 131048, after(3600)),
        (500, 131000, SOON),
        (503, 2, SOON),
        (401, 190, OPERATOR),
        (403, 10, OPERATOR),
        (403, 230, OPERATOR),
        (403, 368, OPERATOR),
        (404, 132001, OPERATOR),
        (400, 131026, SendFault::Permanent),
        (400, 131047, SendFault::Permanent),
        (400, 100, SendFault::Permanent),
        // Unknown codes: the status decides.
        (400, 999901, SendFault::Permanent),
        (500, 999901, SOON),
    ];
    let meta = FakeMeta::start().await;
    let sender = providers(&meta.config()).whatsapp;
    for (status, code, class) in cases {
        meta.script().push([HttpStep::refuse(status, code, "Words of Meta's")]);
        let error = sender.send(&whatsapp()).await.expect_err("a refusal");
        assert_eq!((error.class, error.code), (class, code.to_string()), "{status}");
        assert!(error.message.contains("Words of Meta's"));
        assert!(error.message.contains(&format!("Details of {code}.")));
        assert!(error.message.contains("fbtrace_id"));
    }
}

#[tokio::test]
async fn retry_after_wins_over_the_table() {
    let twilio = FakeTwilio::start().await;
    let sender = providers(&twilio.config()).whatsapp;
    let soon = chrono::Utc::now() + chrono::Duration::seconds(90);
    let date = soon.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for (value, least, most) in
        [("17", 17, 17), (date.as_str(), 80, 91), ("999999999", 86400, 86400)]
    {
        twilio.script().push([HttpStep::Refuse {
            status: 429,
            code: 63038,
            message: "slow down".to_owned(),
            retry_after: Some(value.to_owned()),
        }]);
        let (class, _) = failed(sender.send(&whatsapp()).await);
        let SendFault::Retry { after: Some(wait) } = class else { panic!("{class:?}") };
        assert!((least..=most).contains(&wait.as_secs()), "{value}: {wait:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_providers_is_judged_by_its_status() {
    let meta = FakeMeta::start().await;
    let sender = providers(&meta.config()).whatsapp;
    let say = |status, text: &str| HttpStep::Say { status, text: text.to_owned() };
    let cases = [
        (say(502, "<html>Bad gateway</html>"), SOON),
        (say(504, "upstream timed out"), SendFault::Unknown),
        (say(404, "no such page"), OPERATOR),
        (say(302, "go elsewhere"), OPERATOR),
        (say(413, ""), SendFault::Permanent),
    ];
    for (step, class) in cases {
        let told = format!("{step:?}");
        meta.script().push([step]);
        assert_eq!(failed(sender.send(&whatsapp()).await).0, class, "{told}");
    }
    // Taken over, though the receipt cannot be read.
    meta.script().push([say(200, "not json")]);
    assert_eq!(sender.send(&whatsapp()).await.unwrap().provider_id, None);
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_leaves_it_unknown() {
    let (twilio, meta) = (FakeTwilio::start().await, FakeMeta::start().await);
    let both: [(_, &Record, _); 2] = [
        (providers(&twilio.config()).whatsapp, twilio.record(), twilio.script()),
        (providers(&meta.config()).whatsapp, meta.record(), meta.script()),
    ];
    for (sender, record, script) in both {
        sender.send(&whatsapp()).await.unwrap();
        // On the connection that is kept from the first message: no silent second try.
        for step in [HttpStep::Cut, HttpStep::AcceptAndCut] {
            script.push([step]);
            let (class, code) = failed(sender.send(&whatsapp()).await);
            assert_eq!((class, code.as_str()), (SendFault::Unknown, "reset"));
        }
        let counts = record.counts();
        assert_eq!((counts.requests, counts.messages, counts.accepted), (3, 3, 2));
    }
}

#[tokio::test]
async fn a_slow_answer_leaves_it_unknown() {
    let twilio = FakeTwilio::start().await;
    let mut config = twilio.config();
    config.twilio.timeout_secs = 1;
    twilio.script().push([HttpStep::AcceptLate { ms: 30_000 }]);
    let began = Instant::now();
    let (class, code) = failed(providers(&config).whatsapp.send(&whatsapp()).await);
    assert_eq!((class, code.as_str()), (SendFault::Unknown, "timeout"));
    assert!(began.elapsed().as_secs_f32() < 5.0);
    assert!(twilio.record().all()[0].accepted);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_tried_again_later() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let twilio = FakeTwilio::start().await;
    let mut config = twilio.config();
    config.twilio.base_url = format!("http://{free}");
    let (class, code) = failed(providers(&config).whatsapp.send(&whatsapp()).await);
    assert_eq!((class, code.as_str()), (SOON, "connect"));
}

#[tokio::test]
async fn wrong_credentials_wait_for_an_operator_and_are_not_told() {
    let (twilio, meta) = (FakeTwilio::start().await, FakeMeta::start().await);
    let (mut by_twilio, mut by_meta) = (twilio.config(), meta.config());
    by_twilio.twilio.auth_token = Some("wrong-secret-7".into());
    by_meta.meta.access_token = Some("wrong-secret-7".into());
    for (config, code) in [(by_twilio, "20003"), (by_meta, "190")] {
        let error = providers(&config).whatsapp.send(&whatsapp()).await.expect_err("a refusal");
        assert_eq!((error.class, error.code.as_str()), (OPERATOR, code));
        assert!(!format!("{error} {error:?}").contains("wrong-secret-7"));
    }
}

#[tokio::test]
async fn long_texts_are_cut_to_what_the_provider_takes() {
    let (twilio, meta) = (FakeTwilio::start().await, FakeMeta::start().await);
    let long = WhatsApp { body: "ł".repeat(5000), ..whatsapp() };
    providers(&twilio.config()).whatsapp.send(&long).await.unwrap();
    providers(&meta.config()).whatsapp.send(&long).await.unwrap();
    let text = twilio.record().all()[0].body["Body"].as_str().unwrap().to_owned();
    assert_eq!((text.chars().count(), text.ends_with("ł…")), (1600, true));
    let text = meta.record().all()[0].body["text"]["body"].as_str().unwrap().to_owned();
    assert_eq!((text.chars().count(), text.ends_with("ł…")), (4096, true));
}

#[tokio::test]
async fn a_number_that_is_none_is_refused_before_anything_is_sent() {
    let (twilio, meta) = (FakeTwilio::start().await, FakeMeta::start().await);
    for to in ["600100200", "+0600100200", "+48 600", "+4860010020012345", ""] {
        let message = WhatsApp { to: to.to_owned(), ..whatsapp() };
        for config in [twilio.config(), meta.config()] {
            let (class, code) = failed(providers(&config).whatsapp.send(&message).await);
            assert_eq!((class, code.as_str()), (SendFault::Permanent, "recipient"), "{to:?}");
        }
    }
    assert_eq!(twilio.record().all().len() + meta.record().all().len(), 0);
}
