//! E-mail: what arrives, and what every failure means.

use super::{OPERATOR, SOON, email, failed, providers};
use std::time::Instant;
use switchyard_providers::{Email, Providers, SendFault, TlsMode};
use switchyard_tests::fakes::{
    Answer, Certificates, FakeSmtp, SmtpOptions, SmtpStage as At, SmtpStep,
};

#[tokio::test]
async fn a_mail_arrives_whole_with_both_parts_and_our_id() {
    let smtp = FakeSmtp::start().await;
    let mut config = smtp.config(None);
    config.smtp.reply_to = Some("desk@switchyard.test".to_owned());
    config.smtp.list_unsubscribe = Some("https://switchyard.test/unsubscribe".to_owned());
    let mail = email();
    let receipt = providers(&config).email.send(&mail).await.unwrap();
    assert_eq!(receipt.provider, "smtp");
    assert_eq!(receipt.provider_id.as_deref(), Some("2.0.0 OK: queued as FAKE1"));

    let [got] = &smtp.record().all()[..] else { panic!("one mail") };
    assert!(got.accepted);
    assert_eq!(got.recipient, "anna@agency.test");
    assert_eq!(got.marker, format!("<{}@switchyard.test>", mail.id));
    let body = &got.body;
    assert_eq!(body["from"], "leads@switchyard.test");
    assert_eq!(body["subject"], mail.subject);
    assert_eq!(body["reply-to"], "desk@switchyard.test");
    assert_eq!(body["list-unsubscribe"], "<https://switchyard.test/unsubscribe>");
    assert_eq!(body["list-id"], "<leads.switchyard.test>");
    assert_eq!(body["auto-submitted"], "auto-generated");
    assert!(body["content-type"].as_str().unwrap().starts_with("multipart/alternative"));
    assert!(body["to"].as_str().unwrap().contains("Anna Nowak"));
    let text = body["text"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), mail.text);
    assert_eq!(body["html"].as_str().unwrap().trim_end(), mail.html.unwrap());
}

#[tokio::test]
async fn the_same_message_sent_twice_bears_the_same_id() {
    let smtp = FakeSmtp::start().await;
    let sender = providers(&smtp.config(None)).email;
    let mail = Email { html: None, ..email() };
    sender.send(&mail).await.unwrap();
    sender.send(&mail).await.unwrap();
    let counts = smtp.record().counts();
    assert_eq!((counts.requests, counts.messages), (2, 1));
    assert_eq!(counts.duplicated.values().collect::<Vec<_>>(), [&2]);
    assert!(smtp.record().all()[0].body.get("html").is_none());
    assert_eq!(smtp.sessions(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_reply_means_what_its_code_and_its_place_say() {
    let cases = [
        (SmtpStep::reply(At::Greeting, 421, "4.3.2 Shutting down"), SOON),
        (SmtpStep::reply(At::Greeting, 554, "5.7.1 Your address is blocked"), OPERATOR),
        (SmtpStep::reply(At::Mail, 451, "4.3.0 Try later"), SOON),
        (SmtpStep::reply(At::Mail, 550, "5.7.1 Sender not allowed"), OPERATOR),
        (SmtpStep::reply(At::Mail, 552, "5.3.4 Too big"), SendFault::Permanent),
        (SmtpStep::reply(At::Rcpt, 450, "4.2.1 Greylisted"), SOON),
        (SmtpStep::reply(At::Rcpt, 452, "4.2.2 Mailbox full"), SOON),
        (SmtpStep::reply(At::Rcpt, 550, "5.1.1 No such user"), SendFault::Permanent),
        (SmtpStep::reply(At::Data, 451, "4.3.0 Try later"), SOON),
        (SmtpStep::reply(At::Content, 451, "4.3.0 Scanner is down"), SOON),
        (SmtpStep::reply(At::Content, 554, "5.7.1 Spam"), SendFault::Permanent),
    ];
    let smtp = FakeSmtp::start().await;
    let sender = providers(&smtp.config(None)).email;
    for (step, class) in cases {
        // The greeting is only given to a new connection.
        let fresh = providers(&smtp.config(None)).email;
        let sender = if step.at == At::Greeting { &fresh } else { &sender };
        smtp.script().push([step.clone()]);
        let error = sender.send(&email()).await.expect_err("a refusal");
        let Answer::Reply { code, text } = &step.answer else { panic!("a reply") };
        assert_eq!(error.class, class, "{step:?}");
        assert_eq!(error.code, code.to_string());
        assert!(error.message.contains(&text[6..]), "{} says what the server said", error.message);
        assert_eq!(smtp.script().left(), 0);
    }
    // After all that the connection is still good for a message.
    sender.send(&email()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_content_was_certainly_not_sent() {
    let smtp = FakeSmtp::start().await;
    for at in [At::Greeting, At::Ehlo, At::Mail, At::Rcpt, At::Data] {
        smtp.script().push([SmtpStep::at(at, Answer::Cut)]);
        let (class, _) = failed(providers(&smtp.config(None)).email.send(&email()).await);
        assert_eq!(class, SOON, "{at:?}");
    }
    assert_eq!(smtp.record().all().len(), 0);
}

#[tokio::test]
async fn once_the_content_is_on_its_way_nobody_knows() {
    let smtp = FakeSmtp::start().await;
    for answer in [Answer::Cut, Answer::TakeAndCut] {
        smtp.script().push([SmtpStep::at(At::Content, answer)]);
        let (class, code) = failed(providers(&smtp.config(None)).email.send(&email()).await);
        assert_eq!((class, code.as_str()), (SendFault::Unknown, "reset"));
    }
    let taken: Vec<bool> = smtp.record().wait_for(2).await.iter().map(|r| r.accepted).collect();
    assert_eq!(taken, [false, true]);
}

#[tokio::test]
async fn a_silent_server_is_left_in_time_and_its_stage_decides() {
    let smtp = FakeSmtp::start().await;
    let mut config = smtp.config(None);
    config.smtp.timeout_secs = 1;
    let sender = providers(&config).email;
    for (at, class) in [(At::Rcpt, SOON), (At::Content, SendFault::Unknown)] {
        smtp.script().push([SmtpStep::at(at, Answer::Hang)]);
        let began = Instant::now();
        let (got, code) = failed(sender.send(&email()).await);
        assert_eq!((got, code.as_str()), (class, "timeout"), "{at:?}");
        assert!(began.elapsed().as_secs_f32() < 5.0);
    }
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_replaced() {
    let smtp = FakeSmtp::start().await;
    let sender = providers(&smtp.config(None)).email;
    sender.send(&email()).await.unwrap();
    for gone in [Answer::Cut, Answer::Reply { code: 421, text: "4.4.2 Idle too long".to_owned() }] {
        smtp.script().push([SmtpStep::at(At::Reset, gone)]);
        sender.send(&email()).await.unwrap();
    }
    assert_eq!((smtp.sessions(), smtp.record().counts().accepted), (3, 3));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again_later() {
    let smtp = FakeSmtp::start().await;
    let config = smtp.config(None);
    drop(smtp);
    let refused = async {
        loop {
            // The port may take a moment to close.
            if let Err(e) = providers(&config).email.send(&email()).await {
                return (e.class, e.code);
            }
        }
    };
    assert_eq!(refused.await, (SOON, "connect".to_owned()));
}

async fn protected(mode: TlsMode) -> (FakeSmtp, tempfile::TempDir) {
    let login = ("switchyard".to_owned(), "open-sesame-42".to_owned());
    let tls = Some((mode, Certificates::new()));
    let smtp = FakeSmtp::with(SmtpOptions { login: Some(login), tls }).await;
    (smtp, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn both_ways_of_encrypting_work_and_sign_in() {
    for mode in [TlsMode::Starttls, TlsMode::Tls] {
        let (smtp, dir) = protected(mode).await;
        let config = smtp.config(Some(&dir.path().join("ca.pem")));
        providers(&config).email.send(&email()).await.unwrap();
        let got = smtp.record().all();
        assert_eq!(got[0].authorization.as_deref(), Some("switchyard:open-sesame-42"), "{mode:?}");
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_and_waits_for_an_operator() {
    for mode in [TlsMode::Starttls, TlsMode::Tls] {
        let (smtp, _dir) = protected(mode).await;
        let (class, code) = failed(providers(&smtp.config(None)).email.send(&email()).await);
        assert_eq!((class, code.as_str()), (OPERATOR, "tls"), "{mode:?}");
        assert_eq!(smtp.record().all().len(), 0);
    }
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_where_starttls_is_asked_for() {
    let smtp = FakeSmtp::start().await;
    let mut config = smtp.config(None);
    config.smtp.tls = TlsMode::Starttls;
    let (class, code) = failed(providers(&config).email.send(&email()).await);
    assert_eq!((class, code.as_str()), (OPERATOR, "tls"));
    assert_eq!(smtp.record().all().len(), 0);
}

#[tokio::test]
async fn wrong_credentials_wait_for_an_operator_and_are_not_told() {
    let (smtp, dir) = protected(TlsMode::Tls).await;
    let mut config = smtp.config(Some(&dir.path().join("ca.pem")));
    config.smtp.password = Some("wrong-secret-7".into());
    let error = providers(&config).email.send(&email()).await.expect_err("a refusal");
    assert_eq!((error.class, error.code.as_str()), (OPERATOR, "535"));
    assert!(!format!("{error} {error:?}").contains("wrong-secret-7"));
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_is_sent() {
    let smtp = FakeSmtp::start().await;
    let sender = providers(&smtp.config(None)).email;
    for to in ["anna", "anna@agency.test\r\nBcc: all@agency.test", ""] {
        let mail = Email { to: to.to_owned(), ..email() };
        let (class, code) = failed(sender.send(&mail).await);
        assert_eq!((class, code.as_str()), (SendFault::Permanent, "recipient"), "{to:?}");
    }
    let beyond = Email { to: "łukasz@agency.test".to_owned(), ..email() };
    assert_eq!(failed(sender.send(&beyond).await).0, SendFault::Permanent);
    assert_eq!(smtp.record().all().len(), 0);
}

#[tokio::test]
async fn line_feeds_in_a_subject_make_no_headers() {
    let smtp = FakeSmtp::start().await;
    let subject = "Hello\r\nBcc: all@agency.test".to_owned();
    let name = Some("A\r\nX-Evil: 1\u{0}\u{85}\u{7f}\u{2028}".to_owned());
    let mail = Email { subject, to_name: name, ..email() };
    providers(&smtp.config(None)).email.send(&mail).await.unwrap();
    let got = smtp.record().all();
    assert!(got[0].body.get("bcc").is_none() && got[0].body.get("x-evil").is_none());
    assert_eq!(got[0].recipient, "anna@agency.test");
}

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed() {
    let smtp = FakeSmtp::start().await;
    let mut config = smtp.config(None);
    config.smtp.connections = 2;
    let sender = providers(&config).email;
    smtp.script().push((0..8).map(|_| SmtpStep::at(At::Content, Answer::Late { ms: 20 })));
    let sends = (0..8).map(|_| {
        let sender = sender.clone();
        async move { sender.send(&email()).await.map(drop) }
    });
    for sent in futures::future::join_all(sends).await {
        sent.unwrap();
    }
    assert_eq!(smtp.record().counts().accepted, 8);
    assert!(smtp.sessions() <= 2, "{} connections", smtp.sessions());
}

#[tokio::test]
async fn the_capture_box_takes_everything() {
    let capture = Providers::capture();
    let mail = email();
    let receipt = capture.email.send(&mail).await.unwrap();
    assert_eq!(receipt.provider, "capture");
    assert_eq!(receipt.provider_id, Some(format!("captured-{}", mail.id)));
    assert_eq!(capture.whatsapp.send(&super::whatsapp()).await.unwrap().provider, "capture");
}
