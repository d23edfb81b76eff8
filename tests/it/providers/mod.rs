//! The providers against servers that speak their protocols.
#![allow(clippy::unwrap_used)]

mod email;
mod settings;
mod stripe;
mod whatsapp;

use std::time::Duration;
use switchyard_domain::MessageId;
use switchyard_providers::{
    Email, Providers, ProvidersConfig, Receipt, SendError, SendFault, WhatsApp,
};

const SOON: SendFault = SendFault::Retry { after: None };
const OPERATOR: SendFault = after(15 * 60);

const fn after(secs: u64) -> SendFault {
    SendFault::Retry { after: Some(Duration::from_secs(secs)) }
}

fn providers(config: &ProvidersConfig) -> Providers {
    Providers::from_config(config).expect("a configuration without faults")
}

fn email() -> Email {
    Email {
        id: MessageId::new(),
        to: "anna@agency.test".to_owned(),
        to_name: Some("Anna Nowak".to_owned()),
        subject: "Neuer Kontakt: Łódź, 2 pokoje".to_owned(),
        text: "Grüße,\n.ein Punkt am Zeilenanfang\nund Ende".to_owned(),
        html: Some("<p>Grüße</p>".to_owned()),
        attachments: Vec::new(),
    }
}

fn whatsapp() -> WhatsApp {
    WhatsApp {
        id: MessageId::new(),
        to: "+48600100200".to_owned(),
        body: "New lead:\nJan,  Łódź".to_owned(),
    }
}

/// The class and the code of a failure.
fn failed(result: Result<Receipt, SendError>) -> (SendFault, String) {
    let error = result.expect_err("a failure");
    (error.class, error.code)
}
