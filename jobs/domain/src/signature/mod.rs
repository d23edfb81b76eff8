//! Did the sender sign this request?
//!
//! A scheme is data: where the signature stands and how it is written, what is signed, with which
//! algorithm, where the time stamp is and how old it may be. [`SignatureScheme`] is that data as an
//! operator writes it, either the name of a sender or everything by itself; `preset` turns a name
//! into [`rule::Rule`]s, and one piece of code checks every rule. A new sender is a row of `preset`
//! with its test vector.

mod candidates;
mod challenge;
mod fault;
mod key;
mod preset;
mod rule;
mod scheme;
mod secret;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_body;
#[cfg(test)]
mod tests_rules;
#[cfg(test)]
mod tests_vectors;

pub(crate) use challenge::is_challenge;
pub use fault::SignatureFault;
pub use rule::{Algorithm, Encoding, SecretEncoding, TimeUnit};
pub use scheme::{Custom, SecretForm, SignatureScheme, TimestampPlace};
pub use secret::{SecretFault, SigningSecrets};

use crate::Headers;
use crate::body::{PartPath, Parts};
use chrono::{DateTime, Utc};
use rule::Rule;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use subtle::ConstantTimeEq;

/// What signatures are computed over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SignedRequest<'a> {
    /// The header fields.
    pub headers: &'a Headers,
    /// The body, exactly as it came (compressed, if it came compressed).
    pub body: &'a [u8],
    /// The method, in upper case.
    pub method: &'a str,
    /// The whole address as the sender knows it: scheme, host, path and query.
    pub url: &'a str,
    /// The secret also signs challenges for whoever asks: what looks like one proves nothing.
    pub beside_challenges: bool,
    /// The body's members, for schemes that look at them ([`SignatureScheme::reads_parts`]).
    pub parts: Option<&'a Parts<'a>>,
}

impl<'a> SignedRequest<'a> {
    /// A `POST` to an unknown address: enough for schemes that sign body and headers alone.
    #[must_use]
    pub fn new(headers: &'a Headers, body: &'a [u8]) -> Self {
        Self { headers, body, method: "POST", url: "", beside_challenges: false, parts: None }
    }

    /// The same request with its method and its public address.
    #[must_use]
    pub fn sent_to(self, method: &'a str, url: &'a str) -> Self {
        Self { method, url, ..self }
    }

    /// The same for a secret with which challenges are signed for whoever asks, or not.
    #[must_use]
    pub fn beside_challenges(self, beside_challenges: bool) -> Self {
        Self { beside_challenges, ..self }
    }

    /// The same with the members of its body.
    #[must_use]
    pub fn with_parts(self, parts: Option<&'a Parts<'a>>) -> Self {
        Self { parts, ..self }
    }

    fn part(&self, path: &PartPath) -> Option<Cow<'a, str>> {
        self.parts?.get(path)
    }

    /// Host and port.
    fn host(&self) -> &'a str {
        let rest = self.url.find("://").map_or("", |at| &self.url[at + 3..]);
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    }

    /// What follows the question mark, as it came.
    fn query(&self) -> &'a str {
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        query.split('#').next().unwrap_or_default()
    }

    /// The address without its scheme, host and query.
    pub(super) fn path(&self) -> &'a str {
        let after_scheme = self.url.find("://").map_or(0, |at| at + 3);
        let rest = &self.url[after_scheme..];
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        path.split(['?', '#']).next().unwrap_or_default()
    }

    /// A parameter of the address, decoded; the first of several.
    fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.url.split_once('?')?;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.into_owned())
    }
}

/// Checks a request against every live secret. The comparison takes the same time wherever two
/// signatures differ.
///
/// # Errors
/// What is wrong with the signature.
pub fn verify(
    scheme: &SignatureScheme,
    secrets: &SigningSecrets,
    request: &SignedRequest<'_>,
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    let mut why: Option<SignatureFault> = None;
    for rule in scheme.rules().iter().filter(|rule| secrets.fit(rule.algorithm)) {
        match check(rule, secrets, request, now) {
            Ok(()) => return Ok(()),
            // Of several rules the one whose signature was there tells the sender most.
            Err(fault) => {
                let absent = matches!(fault, SignatureFault::Missing(_));
                let tells_less = |so_far: &SignatureFault| match so_far {
                    SignatureFault::Missing(_) => true,
                    so_far => so_far.is_about_the_form() && !absent,
                };
                if why.as_ref().is_none_or(tells_less) {
                    why = Some(fault);
                }
            }
        }
    }
    Err(why.unwrap_or(SignatureFault::Mismatch))
}

fn check(
    rule: &Rule,
    secrets: &SigningSecrets,
    request: &SignedRequest<'_>,
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    let id = match &rule.id_header {
        Some(name) => required(request.headers, name)?,
        None => "",
    };
    let time = candidates::timestamp(rule, request)?;
    let found = candidates::signatures(rule, request)?;
    if let (Some(place), Some(text)) = (&rule.timestamp, time.as_deref()) {
        candidates::check_time(place, text, now)?;
    }
    let unsigned_body = digest_parameter(rule, request)?;
    let inputs = template::Inputs {
        request,
        id,
        time: time.as_deref().unwrap_or_default(),
        without_parameters: unsigned_body,
        signature_field: match &rule.place {
            rule::Place::Body(path) => path.field(),
            _ => None,
        },
    };
    let message = rule.message.fill(&inputs)?;
    if request.beside_challenges && is_challenge(message.iter().map(|piece| &**piece)) {
        return Err(SignatureFault::ProvesNothing);
    }
    match secrets.any_signed(rule.algorithm, &message, &found) {
        true => Ok(()),
        false => Err(SignatureFault::Mismatch),
    }
}

/// Where the address may carry the body's digest (Twilio's JSON bodies): is it there? If it is, it
/// must be the body's, and the body has no parameters to sign.
fn digest_parameter(rule: &Rule, request: &SignedRequest<'_>) -> Result<bool, SignatureFault> {
    let Some(name) = &rule.body_digest_parameter else { return Ok(false) };
    let Some(written) = request.parameter(name) else { return Ok(false) };
    let digest = hex::encode(Sha256::digest(request.body));
    match bool::from(digest.as_bytes().ct_eq(written.to_ascii_lowercase().as_bytes())) {
        true => Ok(true),
        false => Err(SignatureFault::Mismatch),
    }
}

fn required<'a>(headers: &'a Headers, name: &str) -> Result<&'a str, SignatureFault> {
    headers
        .get(name)
        .map(str::trim)
        .filter(|v| !v.is_empty())
        .ok_or_else(|| SignatureFault::Missing(format!("header `{name}`")))
}
