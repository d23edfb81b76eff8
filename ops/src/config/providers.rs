//! The section `providers`: how e-mail and WhatsApp messages go out.

use super::reader::Reader;
use switchyard_providers::payments::StripeConfig;
use switchyard_providers::{
    EmailKind, FetchConfig, MetaConfig, MetaTemplate, ProvidersConfig, SmtpConfig, TlsMode,
    TwilioConfig, WhatsAppKind,
};

pub(super) fn read(r: &mut Reader) -> ProvidersConfig {
    let config = ProvidersConfig {
        email: r.choice(
            "providers.email",
            &[("capture", EmailKind::Capture), ("smtp", EmailKind::Smtp)],
            "How e-mail goes out: capture (kept for reading) or smtp",
        ),
        whatsapp: r.choice(
            "providers.whatsapp",
            &[
                ("capture", WhatsAppKind::Capture),
                ("twilio", WhatsAppKind::Twilio),
                ("meta", WhatsAppKind::Meta),
            ],
            "How WhatsApp goes out: capture (kept for reading), twilio or meta",
        ),
        smtp: smtp(r),
        twilio: twilio(r),
        meta: meta(r),
        fetch: fetch(r),
        stripe: stripe(r),
    };
    for fault in config.validate() {
        let key = format!("providers.{}", fault.key);
        if !r.is_faulty(&key) {
            r.fault(&key, fault.message, "mend it, or set the provider to `capture`");
        }
    }
    config
}

fn stripe(r: &mut Reader) -> StripeConfig {
    let d = StripeConfig::default();
    StripeConfig {
        base_url: r.get("providers.stripe.base_url", d.base_url, "Address of Stripe's API"),
        secret_key: r.secret(
            "providers.stripe.secret_key",
            "Key (sk_... or rk_...) of the Stripe account that pays commissions out",
            any,
        ),
        timeout_secs: r.number(
            "providers.stripe.timeout_secs",
            d.timeout_secs,
            1..=60,
            "Longest time of one request, in seconds",
        ),
    }
}

fn fetch(r: &mut Reader) -> FetchConfig {
    let d = FetchConfig::default();
    FetchConfig {
        timeout_secs: r.number(
            "providers.fetch.timeout_secs",
            d.timeout_secs,
            1..=90,
            "Longest time of fetching the rest of a lead, in seconds",
        ),
        allow_http: r.get(
            "providers.fetch.allow_http",
            d.allow_http,
            "Fetch the rest of leads by http: too; the token is sent in clear, so for tests only",
        ),
        ..d
    }
}

fn smtp(r: &mut Reader) -> SmtpConfig {
    let d = SmtpConfig::default();
    SmtpConfig {
        host: r.get(
            "providers.smtp.host",
            d.host,
            "Mail server; its certificate must bear this name",
        ),
        port: port(r),
        tls: r.choice(
            "providers.smtp.tls",
            &[("starttls", TlsMode::Starttls), ("tls", TlsMode::Tls), ("none", TlsMode::None)],
            "Protection: starttls (port 587), tls (465) or none (25)",
        ),
        ca_file: r.optional(
            "providers.smtp.ca_file",
            "PEM file of a certificate authority to trust besides the public ones",
        ),
        username: r.optional("providers.smtp.username", "Login, if the server wants one"),
        password: r.secret("providers.smtp.password", "Password of the login", any),
        from: r.get("providers.smtp.from", d.from, "Sender: `Switchyard <leads@example.com>`"),
        reply_to: r.optional("providers.smtp.reply_to", "Where answers go, if not to the sender"),
        list_unsubscribe: r.optional(
            "providers.smtp.list_unsubscribe",
            "Where recipients unsubscribe: mailto: or https:",
        ),
        timeout_secs: r.number(
            "providers.smtp.timeout_secs",
            d.timeout_secs,
            1..=300,
            "Longest time of one message, in seconds",
        ),
        connections: r.number(
            "providers.smtp.connections",
            u64::from(d.connections),
            1..=256,
            "Most connections at once",
        ),
    }
}

fn port(r: &mut Reader) -> Option<u16> {
    let about = "Port; 0: the customary one of the protection";
    let port: u16 = r.number("providers.smtp.port", 0, 0..=65_535, about);
    (port != 0).then_some(port)
}

fn twilio(r: &mut Reader) -> TwilioConfig {
    let d = TwilioConfig::default();
    TwilioConfig {
        base_url: r.get("providers.twilio.base_url", d.base_url, "Address of Twilio's API"),
        account_sid: r.get("providers.twilio.account_sid", d.account_sid, "Account, AC..."),
        api_key: r.optional(
            "providers.twilio.api_key",
            "API key (SK...) to sign in with instead of the account",
        ),
        auth_token: r.secret(
            "providers.twilio.auth_token",
            "The account's auth token, or the API key's secret",
            any,
        ),
        from: r.get("providers.twilio.from", d.from, "WhatsApp sender, E.164"),
        content_sid: r.optional(
            "providers.twilio.content_sid",
            "Approved template (HX...), the text being its variable 1",
        ),
        timeout_secs: r.number(
            "providers.twilio.timeout_secs",
            d.timeout_secs,
            1..=300,
            "Longest time of one request, in seconds",
        ),
    }
}

fn meta(r: &mut Reader) -> MetaConfig {
    let d = MetaConfig::default();
    MetaConfig {
        base_url: r.get("providers.meta.base_url", d.base_url, "Address of Meta's Graph API"),
        version: r.get("providers.meta.version", d.version, "Version of the Graph API"),
        phone_number_id: r.get(
            "providers.meta.phone_number_id",
            d.phone_number_id,
            "Id of the sending phone number",
        ),
        access_token: r.secret("providers.meta.access_token", "Access token of a system user", any),
        template: template(r),
        timeout_secs: r.number(
            "providers.meta.timeout_secs",
            d.timeout_secs,
            1..=300,
            "Longest time of one request, in seconds",
        ),
    }
}

/// Both or none.
fn template(r: &mut Reader) -> Option<MetaTemplate> {
    let name: Option<String> = r
        .optional("providers.meta.template.name", "Approved template, the text being its variable");
    let language: Option<String> =
        r.optional("providers.meta.template.language", "Its language: en_US");
    match (name, language) {
        (Some(name), Some(language)) => Some(MetaTemplate { name, language }),
        (None, None) => None,
        (name, _) => {
            let missing = if name.is_none() { "name" } else { "language" };
            let key = format!("providers.meta.template.{missing}");
            r.fault(&key, "is not set, but the other half of the template is", "set both or none");
            None
        }
    }
}

/// What a secret looks like is the provider's own affair; `validate` looks at it.
fn any(_: &str) -> Option<String> {
    None
}
