//! The configuration of the providers. Every key has a default, so that a missing one is found by
//! [`ProvidersConfig::validate`], which names all faults at once, and not one by one by serde.

use lettre::message::Mailbox;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The key, relative to the providers' section: `smtp.host`.
    pub key: String,
    /// What is wrong and what to do about it. Holds no secret.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// How e-mail is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailKind {
    /// Not at all: kept for reading on the dashboard.
    #[default]
    Capture,
    /// By `smtp`.
    Smtp,
}

/// How WhatsApp messages are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhatsAppKind {
    /// Not at all: kept for reading on the dashboard.
    #[default]
    Capture,
    /// By `twilio`.
    Twilio,
    /// By `meta`.
    Meta,
}

/// The providers' section. Sections of providers that are not chosen are not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvidersConfig {
    /// `capture` (default) or `smtp`.
    pub email: EmailKind,
    /// `capture` (default), `twilio` or `meta`.
    pub whatsapp: WhatsAppKind,
    /// The mail server.
    pub smtp: SmtpConfig,
    /// The Twilio account.
    pub twilio: TwilioConfig,
    /// The WhatsApp Business account at Meta.
    pub meta: MetaConfig,
    /// How the rest of a lead is fetched.
    pub fetch: crate::FetchConfig,
    /// The Stripe account that pays commissions out; without a key none does.
    pub stripe: crate::payments::StripeConfig,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// Not at all: for a relay on the same machine.
    None,
    /// Upgraded by STARTTLS (RFC 3207), and never used without. Port 587.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314). Port 465.
    Tls,
}

impl TlsMode {
    /// The customary port.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::Starttls => 587,
            Self::Tls => 465,
        }
    }
}

/// A mail server.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpConfig {
    /// Name of the server; its certificate must bear it.
    pub host: String,
    /// Port; by default the one of the TLS mode.
    pub port: Option<u16>,
    /// `none`, `starttls` (default) or `tls`.
    pub tls: TlsMode,
    /// PEM file of a certificate authority to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Login, if the server wants one.
    pub username: Option<String>,
    /// Password of the login.
    pub password: Option<SecretString>,
    /// Sender: `leads@example.com` or `Switchyard <leads@example.com>`.
    pub from: String,
    /// Where answers go, if not to the sender.
    pub reply_to: Option<String>,
    /// Where recipients unsubscribe: `mailto:` or `https:` (RFC 2369).
    pub list_unsubscribe: Option<String>,
    /// Longest time of one message from the first byte to the last answer, in seconds.
    pub timeout_secs: u64,
    /// Most connections at once.
    pub connections: u32,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: None,
            tls: TlsMode::default(),
            ca_file: None,
            username: None,
            password: None,
            from: String::new(),
            reply_to: None,
            list_unsubscribe: None,
            timeout_secs: 20,
            connections: 4,
        }
    }
}

/// A Twilio account.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioConfig {
    /// `https://api.twilio.com`, or a fake's address.
    pub base_url: String,
    /// `AC...`
    pub account_sid: String,
    /// An API key (`SK...`) to sign in with instead of the account itself.
    pub api_key: Option<String>,
    /// The account's auth token, or the API key's secret.
    pub auth_token: Option<SecretString>,
    /// The WhatsApp sender, E.164.
    pub from: String,
    /// `HX...`: the approved template to use, with the text as its variable 1. Needed outside the
    /// 24 hours after a recipient's own message.
    pub content_sid: Option<String>,
    /// Longest time of one request, in seconds.
    pub timeout_secs: u64,
}

impl Default for TwilioConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.twilio.com".to_owned(),
            account_sid: String::new(),
            api_key: None,
            auth_token: None,
            from: String::new(),
            content_sid: None,
            timeout_secs: 20,
        }
    }
}

/// An approved message template with one variable in its body.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaTemplate {
    /// Its name.
    pub name: String,
    /// Its language: `en_US`.
    pub language: String,
}

/// A WhatsApp Business account at Meta.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaConfig {
    /// `https://graph.facebook.com`, or a fake's address.
    pub base_url: String,
    /// Version of the Graph API: `v23.0`.
    pub version: String,
    /// Id of the sending phone number (not the number itself).
    pub phone_number_id: String,
    /// Access token of a system user.
    pub access_token: Option<SecretString>,
    /// The template to use, with the text as its only variable. Needed outside the 24 hours after
    /// a recipient's own message.
    pub template: Option<MetaTemplate>,
    /// Longest time of one request, in seconds.
    pub timeout_secs: u64,
}

impl Default for MetaConfig {
    fn default() -> Self {
        Self {
            base_url: "https://graph.facebook.com".to_owned(),
            version: "v23.0".to_owned(),
            phone_number_id: String::new(),
            access_token: None,
            template: None,
            timeout_secs: 20,
        }
    }
}

impl ProvidersConfig {
    /// Everything that is wrong with the sections in use; nothing if they will do.
    #[must_use]
    pub fn validate(&self) -> Vec<ConfigFault> {
        let mut faults = Faults::default();
        if self.email == EmailKind::Smtp {
            check_smtp(&self.smtp, &mut faults);
        }
        match self.whatsapp {
            WhatsAppKind::Capture => {}
            WhatsAppKind::Twilio => check_twilio(&self.twilio, &mut faults),
            WhatsAppKind::Meta => check_meta(&self.meta, &mut faults),
        }
        faults.0
    }
}

fn check_smtp(smtp: &SmtpConfig, faults: &mut Faults) {
    faults.want(!smtp.host.is_empty(), "smtp.host", "is missing: the name of the mail server");
    faults.want(smtp.port != Some(0), "smtp.port", "is 0: leave it out for the customary one");
    let from_ok = smtp.from.parse::<Mailbox>().is_ok();
    faults.want(
        from_ok,
        "smtp.from",
        "is no address: write `leads@example.com` or `Name <leads@example.com>`",
    );
    let reply_ok = smtp.reply_to.as_ref().is_none_or(|a| a.parse::<Mailbox>().is_ok());
    faults.want(reply_ok, "smtp.reply_to", "is no address");
    let unsubscribe_ok = smtp
        .list_unsubscribe
        .as_ref()
        .is_none_or(|u| Url::parse(u).is_ok_and(|u| matches!(u.scheme(), "mailto" | "https")));
    faults.want(unsubscribe_ok, "smtp.list_unsubscribe", "must be a `mailto:` or `https:` address");
    let both = smtp.username.is_some() == smtp.password.is_some();
    faults.want(
        both,
        "smtp.password",
        "`smtp.username` and `smtp.password` go together: set both or none",
    );
    let plain = smtp.password.is_some() && smtp.tls == TlsMode::None && !is_loopback(&smtp.host);
    faults.want(
        !plain,
        "smtp.tls",
        "is `none`, which would send the password unencrypted: use `starttls` or `tls`",
    );
    faults.want((1..=256).contains(&smtp.connections), "smtp.connections", "must be 1 to 256");
    faults.timeout("smtp.timeout_secs", smtp.timeout_secs);
}

fn check_twilio(twilio: &TwilioConfig, faults: &mut Faults) {
    faults.base_url("twilio.base_url", &twilio.base_url);
    faults.want(
        is_sid(&twilio.account_sid, "AC"),
        "twilio.account_sid",
        "must be `AC` and 32 hexadecimal digits, as the Twilio console shows it",
    );
    faults.want(
        twilio.api_key.as_ref().is_none_or(|k| is_sid(k, "SK")),
        "twilio.api_key",
        "must be `SK` and 32 hexadecimal digits, or left out",
    );
    faults.want(
        twilio.content_sid.as_ref().is_none_or(|s| is_sid(s, "HX")),
        "twilio.content_sid",
        "must be `HX` and 32 hexadecimal digits, or left out",
    );
    faults.secret("twilio.auth_token", twilio.auth_token.as_ref());
    faults.want(
        is_e164(&twilio.from),
        "twilio.from",
        "must be a number in E.164 form: `+14155238886`",
    );
    faults.timeout("twilio.timeout_secs", twilio.timeout_secs);
}

fn check_meta(meta: &MetaConfig, faults: &mut Faults) {
    faults.base_url("meta.base_url", &meta.base_url);
    let version_ok = meta
        .version
        .strip_prefix('v')
        .and_then(|v| v.split_once('.'))
        .is_some_and(|(major, minor)| is_digits(major) && is_digits(minor));
    faults.want(version_ok, "meta.version", "must be a version of the Graph API: `v23.0`");
    faults.want(
        is_digits(&meta.phone_number_id),
        "meta.phone_number_id",
        "must be the id of the phone number, digits only",
    );
    faults.secret("meta.access_token", meta.access_token.as_ref());
    let template_ok =
        meta.template.as_ref().is_none_or(|t| !t.name.is_empty() && !t.language.is_empty());
    faults.want(template_ok, "meta.template", "needs `name` and `language`");
    faults.timeout("meta.timeout_secs", meta.timeout_secs);
}

#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<ConfigFault>);

impl Faults {
    pub(crate) fn want(&mut self, ok: bool, key: &str, message: &str) {
        if !ok {
            self.0.push(ConfigFault { key: key.to_owned(), message: message.to_owned() });
        }
    }

    pub(crate) fn secret(&mut self, key: &str, secret: Option<&SecretString>) {
        let value = secret.map_or("", |s| s.expose_secret());
        // A header cannot carry anything else, and a pasted line feed is a common mistake.
        let ok = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
        self.want(ok, key, "is missing, or has blanks or line feeds in it");
    }

    pub(crate) fn base_url(&mut self, key: &str, url: &str) {
        let ok = Url::parse(url).is_ok_and(|u| {
            let host = u.host_str().unwrap_or_default();
            !host.is_empty()
                && (u.scheme() == "https" || (u.scheme() == "http" && is_loopback(host)))
        });
        self.want(
            ok,
            key,
            "must be an `https://` address (`http://` only on this machine, for a fake)",
        );
    }

    pub(crate) fn timeout(&mut self, key: &str, secs: u64) {
        self.want((1..=300).contains(&secs), key, "must be 1 to 300 seconds");
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

/// E.164: a plus and at most 15 digits, the first not 0 (ITU-T E.164, 6.2).
pub(crate) fn is_e164(s: &str) -> bool {
    s.strip_prefix('+').is_some_and(|d| is_digits(d) && d.len() <= 15 && !d.starts_with('0'))
}

fn is_sid(s: &str, prefix: &str) -> bool {
    s.strip_prefix(prefix)
        .is_some_and(|d| d.len() == 32 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Seconds of the configuration as a duration.
pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
