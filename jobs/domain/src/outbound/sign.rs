//! Signatures of Standard Webhooks 1.0:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use crate::OutboundMessageId;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Purpose under which endpoints' signing secrets are sealed with the master key.
pub const ENDPOINT_SIGNING: &str = "webhook_endpoint.signing_secret";

const PREFIX: &str = "whsec_";
/// The specification: "between 24 bytes (192 bits) and 64 bytes (512 bits)".
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret shared with one endpoint. It does not print; the bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct EndpointSecret(Zeroizing<Vec<u8>>);

/// Why a secret was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct BadSecret;

impl EndpointSecret {
    /// A new random one of 32 bytes.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new(vec![0; 32]);
        rand::rng().fill_bytes(&mut bytes); // a CSPRNG, seeded by the operating system
        Self(bytes)
    }

    /// Reads one as receivers write it.
    ///
    /// # Errors
    /// If the prefix, the base64 or the length is wrong.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(BadSecret)?;
        Self::of(BASE64_STANDARD.decode(rest).map_err(|_| BadSecret)?)
    }

    /// The secret of these bytes, as it was sealed.
    ///
    /// # Errors
    /// If the length is wrong.
    pub fn of(bytes: Vec<u8>) -> Result<Self, BadSecret> {
        let bytes = Zeroizing::new(bytes);
        if LENGTHS.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(BadSecret) }
    }

    /// The text that is shown to the receiver once: `whsec_...`.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(&*self.0)))
    }

    /// The bytes, for sealing.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0);
        let mut mac = mac.expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSecret(..)")
    }
}

/// The value of `webhook-signature`: one signature for each live secret.
#[must_use]
pub fn signatures(secrets: &[EndpointSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let each: Vec<_> = secrets.iter().map(|s| s.sign(id, timestamp, body)).collect();
    each.join(" ")
}

/// The value of `webhook-id`: the same at every attempt and for every endpoint, so that receivers
/// know what they have seen.
#[must_use]
pub fn webhook_id(message: OutboundMessageId) -> String {
    format!("msg_{}", message.0.simple())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the reference implementations' test suites.
    #[test]
    fn the_specifications_own_example_is_signed_as_there() {
        let secret = EndpointSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_long_distinct_and_never_printed() {
        let (a, b) = (EndpointSecret::generate(), EndpointSecret::generate());
        assert_ne!(*a.expose(), *b.expose());
        assert_eq!(EndpointSecret::parse(&a.expose()).unwrap().expose_bytes(), a.expose_bytes());
        assert_eq!(format!("{a:?}"), "EndpointSecret(..)");
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%"]
        {
            assert_eq!(EndpointSecret::parse(bad).err(), Some(BadSecret), "{bad}");
        }
        assert!(
            EndpointSecret::of(vec![1; 65]).is_err() && EndpointSecret::of(vec![1; 64]).is_ok()
        );
    }

    #[test]
    fn every_live_secret_signs() {
        let both = [EndpointSecret::generate(), EndpointSecret::generate()];
        let signed = signatures(&both, "msg_1", 1, b"{}");
        let alone = signatures(&both[1..], "msg_1", 1, b"{}");
        assert_eq!(signed.split(' ').count(), 2);
        assert_eq!(signed.split(' ').nth(1), Some(alone.as_str()));
    }
}
