//! The table of schemes: what each name stands for.

use super::rule::{Algorithm, Encoding, Place, Rule, SecretEncoding, TimeUnit, Timestamp};
use super::scheme::{Custom, TimestampPlace, Written};
use super::template::Template;
use crate::FieldFault;
use crate::body::PartPath;
use crate::headers::is_field_name;

/// What a scheme means: one rule, or one for each algorithm that its secrets may be of.
///
/// # Errors
/// Everything that is wrong with it; the pointers are relative to the scheme.
pub(super) fn expand(written: &Written) -> Result<Vec<Rule>, Vec<FieldFault>> {
    match written {
        // <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>:
        // `v1` symmetric, `v1a` ed25519; a list for rotation, unknown versions are passed over.
        Written::StandardWebhooks { tolerance_seconds } => {
            let v1 = Custom {
                prefix: "v1,".to_owned(),
                separator: Some(" ".to_owned()),
                encoding: Encoding::Base64,
                id_header: Some("webhook-id".to_owned()),
                timestamp: Some(in_header("webhook-timestamp", TimeUnit::Seconds)),
                tolerance_seconds: *tolerance_seconds,
                secret: super::SecretForm {
                    encoding: SecretEncoding::Base64,
                    prefix: "whsec_".to_owned(),
                },
                ..signed("webhook-signature", "{id}.{ts}.{body}")
            };
            let mut v1a =
                Custom { prefix: "v1a,".to_owned(), algorithm: Algorithm::Ed25519, ..v1.clone() };
            v1a.secret.prefix = "whpk_".to_owned();
            Ok(vec![rule(&v1)?, rule(&v1a)?])
        }
        // <https://docs.stripe.com/webhooks#verify-manually>: the whole secret with its `whsec_` is
        // the key, `v0` and other versions are passed over.
        Written::Stripe { tolerance_seconds } => one(&Custom {
            key: Some("v1".to_owned()),
            timestamp: Some(TimestampPlace::Signature {
                key: "t".to_owned(),
                unit: TimeUnit::Seconds,
            }),
            tolerance_seconds: *tolerance_seconds,
            ..signed("Stripe-Signature", "{ts}.{body}")
        }),
        // <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries> and
        // <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>: the same.
        Written::Github {} | Written::Meta {} => {
            one(&Custom { prefix: "sha256=".to_owned(), ..signed("X-Hub-Signature-256", "{body}") })
        }
        // <https://learn.microsoft.com/en-us/linkedin/shared/api-guide/webhook-validation>: the word
        // stands before the body when it is signed, not before the signature.
        Written::Linkedin {} => one(&signed("X-LI-Signature", "hmacsha256={body}")),
        // <https://shopify.dev/docs/apps/build/webhooks/verify-deliveries>
        Written::Shopify {} => {
            one(&Custom { encoding: Encoding::Base64, ..signed("X-Shopify-Hmac-SHA256", "{body}") })
        }
        // <https://www.typeform.com/developers/webhooks/secure-your-webhooks/>
        Written::Typeform {} => one(&Custom {
            prefix: "sha256=".to_owned(),
            encoding: Encoding::Base64,
            ..signed("Typeform-Signature", "{body}")
        }),
        // <https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>
        Written::HubspotV3 { tolerance_seconds } => one(&Custom {
            encoding: Encoding::Base64,
            timestamp: Some(in_header("X-HubSpot-Request-Timestamp", TimeUnit::Millis)),
            tolerance_seconds: *tolerance_seconds,
            ..signed("X-HubSpot-Signature-v3", "{method}{url_decoded}{body}{ts}")
        }),
        // <https://www.twilio.com/docs/usage/security#validating-requests>: forms sign their sorted
        // parameters, other bodies are bound by their digest in the address.
        Written::Twilio {} => {
            let mut rule = rule(&Custom {
                algorithm: Algorithm::Sha1,
                encoding: Encoding::Base64,
                ..signed("X-Twilio-Signature", "{url}{unique_params}")
            })?;
            rule.body_digest_parameter = Some("bodySHA256".to_owned());
            Ok(vec![rule])
        }
        // <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>
        Written::Sendgrid { tolerance_seconds } => one(&Custom {
            algorithm: Algorithm::EcdsaP256,
            encoding: Encoding::Base64,
            timestamp: Some(in_header("X-Twilio-Email-Event-Webhook-Timestamp", TimeUnit::Seconds)),
            tolerance_seconds: *tolerance_seconds,
            ..signed("X-Twilio-Email-Event-Webhook-Signature", "{ts}{body}")
        }),
        // <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>: in the
        // body, and only a time and a token are signed. Events are JSON, routes forms.
        Written::Mailgun { tolerance_seconds } => {
            let mailgun = |at: &str| {
                rule(&Custom {
                    header: None,
                    body: Some(format!("{at}signature")),
                    timestamp: Some(TimestampPlace::Body {
                        path: format!("{at}timestamp"),
                        unit: TimeUnit::Seconds,
                    }),
                    tolerance_seconds: *tolerance_seconds,
                    ..signed("", &format!("{{ts}}{{body:{at}token}}"))
                })
            };
            Ok(vec![mailgun("signature.")?, mailgun("")?])
        }
        Written::HmacSha256 { header, encoding, prefix } => {
            one(&Custom { prefix: prefix.clone(), encoding: *encoding, ..signed(header, "{body}") })
        }
        Written::Hmac(custom) => one(custom),
    }
}

fn one(custom: &Custom) -> Result<Vec<Rule>, Vec<FieldFault>> {
    rule(custom).map(|rule| vec![rule])
}

/// HMAC-SHA256 in hexadecimal without a time stamp: what presets begin with.
fn signed(header: &str, string_to_sign: &str) -> Custom {
    Custom {
        header: Some(header.to_owned()),
        query: None,
        body: None,
        prefix: String::new(),
        separator: None,
        key: None,
        algorithm: Algorithm::default(),
        encoding: Encoding::default(),
        string_to_sign: string_to_sign.to_owned(),
        id_header: None,
        timestamp: None,
        tolerance_seconds: 300,
        secret: super::SecretForm::default(),
    }
}

fn in_header(name: &str, unit: TimeUnit) -> TimestampPlace {
    TimestampPlace::Header { name: name.to_owned(), unit }
}

/// The rule that an operator wrote, checked.
fn rule(custom: &Custom) -> Result<Rule, Vec<FieldFault>> {
    let mut faults = check(custom);
    let message = match Template::parse(&custom.string_to_sign) {
        Ok(message) => message,
        Err(sentence) => {
            faults.push(FieldFault::new("/string_to_sign", "invalid_template", sentence));
            return Err(faults);
        }
    };
    let place = place(custom).map_err(|fault| faults.push(fault)).ok();
    faults.extend(check_message(custom, &message));
    let timestamp = match custom.timestamp.as_ref().map(when) {
        Some(Ok(timestamp)) => Some(timestamp),
        Some(Err(fault)) => {
            faults.push(fault);
            None
        }
        None => None,
    };
    let Some(place) = place.filter(|_| faults.is_empty()) else { return Err(faults) };
    // A list of `key=value` holds the time stamp too.
    let timestamp = timestamp.map(|(where_else, key, unit)| Timestamp {
        place: where_else.unwrap_or_else(|| place.clone()),
        key,
        unit,
        tolerance_seconds: custom.tolerance_seconds,
    });
    let listed = custom.key.is_some() || timestamp.as_ref().is_some_and(|t| t.key.is_some());
    Ok(Rule {
        place,
        separator: custom.separator.clone().or_else(|| listed.then(|| ",".to_owned())),
        key: custom.key.clone(),
        prefix: custom.prefix.clone(),
        algorithm: custom.algorithm,
        encoding: custom.encoding,
        message,
        id_header: custom.id_header.clone(),
        timestamp,
        body_digest_parameter: None,
        secret_encoding: custom.secret.encoding,
        secret_prefix: custom.secret.prefix.clone(),
    })
}

/// Where the signature stands.
fn place(custom: &Custom) -> Result<Place, FieldFault> {
    match (&custom.header, &custom.query, &custom.body) {
        (Some(name), None, None) => Ok(Place::Header(name.clone())),
        (None, Some(name), None) if !name.is_empty() => Ok(Place::Query(name.clone())),
        (None, None, Some(path)) => member("/body", path).map(Place::Body),
        _ => {
            let message = "Say where the signature stands: in which `header`, as which parameter \
                           of the address (`query`), or at which member of the `body`. One of them.";
            Err(FieldFault::new("/header", "required", message))
        }
    }
}

/// Where the time stamp stands (`None`: where the signature does), under which key, in what unit.
type When = (Option<Place>, Option<String>, TimeUnit);

fn when(written: &TimestampPlace) -> Result<When, FieldFault> {
    Ok(match written {
        TimestampPlace::Header { name, unit } => (Some(Place::Header(name.clone())), None, *unit),
        TimestampPlace::Query { name, unit } => (Some(Place::Query(name.clone())), None, *unit),
        TimestampPlace::Body { path, unit } => {
            (Some(Place::Body(member("/timestamp/path", path)?)), None, *unit)
        }
        TimestampPlace::Signature { key, unit } => (None, Some(key.clone()), *unit),
    })
}

fn member(at: &str, path: &str) -> Result<PartPath, FieldFault> {
    PartPath::parse(path).map_err(|why| {
        let message = format!("Name a member of the body, such as `signature.value`: {why}.");
        FieldFault::new(at, "invalid_path", message)
    })
}

fn check(custom: &Custom) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    let mut fault = |at: &str, code: &str, message: String| {
        faults.push(FieldFault::new(at, code, message));
    };
    let mut header = |at: &str, name: &str| {
        if !is_field_name(name) {
            let message = format!("`{name}` is no header name; write one such as `X-Signature`.");
            fault(at, "invalid_header_name", message);
        }
    };
    if let Some(name) = &custom.header {
        header("/header", name);
    }
    if let Some(name) = &custom.id_header {
        header("/id_header", name);
    }
    if let Some(TimestampPlace::Header { name, .. }) = &custom.timestamp {
        header("/timestamp/name", name);
    }
    let printable =
        |text: &str| text.len() <= 64 && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !printable(&custom.prefix) {
        let message = "The prefix must be at most 64 printable ASCII characters.";
        fault("/prefix", "invalid_prefix", message.to_owned());
    }
    if custom.separator.as_ref().is_some_and(|s| s.is_empty() || !printable(s)) {
        let message = "The separator must be 1 to 64 printable ASCII characters, such as a comma.";
        fault("/separator", "invalid_separator", message.to_owned());
    }
    let time_key = match &custom.timestamp {
        Some(TimestampPlace::Signature { key, .. }) => Some(("/timestamp/key", key)),
        _ => None,
    };
    let keys = custom.key.as_ref().map(|key| ("/key", key)).into_iter().chain(time_key);
    for (at, key) in keys {
        if key.is_empty() || key.contains('=') || !printable(key) {
            let message = "The key is what stands before `=` in the header, such as `v1`.";
            fault(at, "invalid_key", message.to_owned());
        }
    }
    if matches!(&custom.timestamp, Some(TimestampPlace::Query { name, .. }) if name.is_empty()) {
        let message = "Name the query parameter that holds the time stamp.";
        fault("/timestamp/name", "required", message.to_owned());
    }
    if !(1..=86_400).contains(&custom.tolerance_seconds) {
        let message = format!(
            "The tolerance must be between 1 and 86400 seconds, not {}; 300 is usual.",
            custom.tolerance_seconds
        );
        fault("/tolerance_seconds", "out_of_range", message);
    }
    faults
}

/// A signature is worth what it covers.
fn check_message(custom: &Custom, message: &Template) -> Vec<FieldFault> {
    let fault =
        |code: &str, sentence: &str| FieldFault::new("/string_to_sign", code, sentence.to_owned());
    let mut faults = Vec::new();
    if !message.covers_body() && !message.has_parts() {
        let sentence = "The body would not be signed: anybody could change it. Put {body} (or \
                        {sorted_params} for forms, or members of it such as {body:token} if the \
                        sender signs no more) into the string to sign.";
        faults.push(fault("body_not_signed", sentence));
    }
    if custom.body.is_some() && message.has_body() {
        let sentence = "The signature stands in the body, so the body cannot be signed as a whole: \
                        name the members that are, such as {body:token}, or {sorted_pairs} of a \
                        form.";
        faults.push(fault("signs_itself", sentence));
    }
    if message.has_time() && custom.timestamp.is_none() {
        let sentence = "{ts} is used, but `timestamp` does not say where the time stamp is.";
        faults.push(fault("timestamp_unknown", sentence));
    }
    if message.has_id() && custom.id_header.is_none() {
        let sentence = "{id} is used, but `id_header` does not say in which header the id is.";
        faults.push(fault("id_unknown", sentence));
    }
    let signed_by_name = match &custom.timestamp {
        Some(TimestampPlace::Header { name, .. }) => message.has_header(name),
        Some(TimestampPlace::Query { name, .. }) => message.has_parameter(name),
        // In a body that is signed whole it is signed too.
        Some(TimestampPlace::Body { path, .. }) => {
            message.covers_body() || PartPath::parse(path).is_ok_and(|path| message.has_part(&path))
        }
        _ => false,
    };
    if custom.timestamp.is_some() && !message.has_time() && !signed_by_name {
        let sentence = "The time stamp would not be signed: anybody could renew it. Put {ts} into \
                        the string to sign, or leave `timestamp` out.";
        faults.push(fault("timestamp_not_signed", sentence));
    }
    faults
}
