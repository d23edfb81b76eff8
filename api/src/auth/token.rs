//! Tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), the key derived from the master key, so
//! that every process of an installation accepts what another one issued.

use super::Role;
use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use switchyard_domain::AgencyId;
use uuid::Uuid;

const ISSUER: &str = "switchyard";
const AUDIENCE: &str = "switchyard-api";
/// Clocks of two machines differ a little.
const LEEWAY_SECONDS: i64 = 5;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The administrator's or the agency's id.
    pub sub: Uuid,
    /// As what they signed in.
    pub role: Role,
    /// The tenant; set exactly if the role is [`Role::Agency`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agency: Option<AgencyId>,
    /// Seconds since 1970: issued.
    pub iat: i64,
    /// Seconds since 1970: no longer valid.
    pub exp: i64,
}

/// [`Claims`] with the parts that are the same in every token.
#[derive(Serialize, Deserialize)]
struct Wire {
    iss: String,
    aud: String,
    #[serde(flatten)]
    claims: Claims,
}

/// Why a token was refused. The client only hears that it was.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// Not a token of ours, or changed on the way.
    #[error("the token is not one of ours")]
    Invalid(#[source] Option<jsonwebtoken::errors::Error>),
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

/// Issues and checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenKeys {
    signing: EncodingKey,
    verifying: DecodingKey,
    kid: String,
}

impl TokenKeys {
    /// The keys that follow from a 32-byte seed. The key id is the beginning of the public key's
    /// SHA-256, so a new master key makes old tokens unknown rather than wrongly signed.
    ///
    /// # Panics
    /// Never: every 32-byte string is an Ed25519 seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key().to_bytes();
        let der = key.to_pkcs8_der().expect("an Ed25519 key has a PKCS#8 form");
        Self {
            signing: EncodingKey::from_ed_der(der.as_bytes()),
            verifying: DecodingKey::from_ed_der(&public),
            kid: hex::encode(&Sha256::digest(public)[..8]),
        }
    }

    /// A token for an administrator.
    ///
    /// # Errors
    /// If it could not be signed.
    pub fn administrator(
        &self,
        id: Uuid,
        now: DateTime<Utc>,
        life: Duration,
    ) -> Result<(String, Claims), TokenFault> {
        self.issue(id, Role::Admin, None, now, life)
    }

    /// A token for an agency.
    ///
    /// # Errors
    /// If it could not be signed.
    pub fn agency(
        &self,
        id: AgencyId,
        now: DateTime<Utc>,
        life: Duration,
    ) -> Result<(String, Claims), TokenFault> {
        self.issue(id.0, Role::Agency, Some(id), now, life)
    }

    fn issue(
        &self,
        sub: Uuid,
        role: Role,
        agency: Option<AgencyId>,
        now: DateTime<Utc>,
        life: Duration,
    ) -> Result<(String, Claims), TokenFault> {
        let iat = now.timestamp();
        let exp = iat.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let claims = Claims { sub, role, agency, iat, exp };
        let wire =
            Wire { iss: ISSUER.to_owned(), aud: AUDIENCE.to_owned(), claims: claims.clone() };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &wire, &self.signing)
            .map_err(|e| TokenFault::Invalid(Some(e)))?;
        Ok((token, claims))
    }

    /// What a token says, if it is ours and in its time.
    ///
    /// # Errors
    /// If it is not.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, TokenFault> {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are checked below, by the injected clock.
        rules.validate_exp = false;
        let data = jsonwebtoken::decode::<Wire>(token, &self.verifying, &rules)
            .map_err(|e| TokenFault::Invalid(Some(e)))?;
        let claims = data.claims.claims;
        let ours = data.header.kid.as_deref() == Some(self.kid.as_str());
        let tenant_fits = claims.agency.is_some() == (claims.role == Role::Agency);
        if !ours || !tenant_fits || claims.iat > now.timestamp() + LEEWAY_SECONDS {
            return Err(TokenFault::Invalid(None));
        }
        if claims.exp + LEEWAY_SECONDS <= now.timestamp() {
            return Err(TokenFault::Expired);
        }
        Ok(claims)
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_token_comes_back_as_it_went_out() {
        let keys = TokenKeys::from_seed(&[7; 32]);
        let agency = AgencyId::new();
        let (token, said) = keys.agency(agency, now(), HOUR).unwrap();
        let heard = TokenKeys::from_seed(&[7; 32]).verify(&token, now()).unwrap();
        assert_eq!(heard, said);
        assert_eq!(heard.agency, Some(agency));
    }

    #[test]
    fn a_token_ends() {
        let keys = TokenKeys::from_seed(&[7; 32]);
        let (token, _) = keys.administrator(Uuid::new_v4(), now(), HOUR).unwrap();
        assert!(keys.verify(&token, now() + chrono::Duration::minutes(59)).is_ok());
        let late = keys.verify(&token, now() + chrono::Duration::minutes(61));
        assert!(matches!(late, Err(TokenFault::Expired)), "{late:?}");
    }

    #[test]
    fn tokens_from_the_future_and_of_other_keys_are_refused() {
        let keys = TokenKeys::from_seed(&[7; 32]);
        let (token, _) = keys.administrator(Uuid::new_v4(), now(), HOUR).unwrap();
        assert!(keys.verify(&token, now() - chrono::Duration::minutes(1)).is_err());
        assert!(TokenKeys::from_seed(&[8; 32]).verify(&token, now()).is_err());
    }

    #[test]
    fn a_changed_role_breaks_the_signature() {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let keys = TokenKeys::from_seed(&[7; 32]);
        let (token, _) = keys.agency(AgencyId::new(), now(), HOUR).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let body = String::from_utf8(B64.decode(parts[1]).unwrap()).unwrap();
        let forged = B64.encode(body.replace("\"agency\",", "\"admin\","));
        assert_ne!(forged, parts[1], "the role was found and changed");
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert!(keys.verify(&forged, now()).is_err());
    }

    #[test]
    fn other_issuers_audiences_algorithms_and_key_ids_are_refused() {
        let keys = TokenKeys::from_seed(&[7; 32]);
        let (_, claims) = keys.administrator(Uuid::new_v4(), now(), HOUR).unwrap();
        let sign = |iss: &str, aud: &str, kid: Option<&str>| {
            let wire = Wire { iss: iss.into(), aud: aud.into(), claims: claims.clone() };
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = kid.map(str::to_owned);
            jsonwebtoken::encode(&header, &wire, &keys.signing).unwrap()
        };
        let kid = keys.kid.as_str();
        assert!(keys.verify(&sign(ISSUER, AUDIENCE, Some(kid)), now()).is_ok());
        assert!(keys.verify(&sign("else", AUDIENCE, Some(kid)), now()).is_err());
        assert!(keys.verify(&sign(ISSUER, "else", Some(kid)), now()).is_err());
        assert!(keys.verify(&sign(ISSUER, AUDIENCE, Some("else")), now()).is_err());
        assert!(keys.verify(&sign(ISSUER, AUDIENCE, None), now()).is_err());
        let hs = EncodingKey::from_secret(b"secret");
        let wire = Wire { iss: ISSUER.into(), aud: AUDIENCE.into(), claims };
        let hs = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &hs).unwrap();
        assert!(keys.verify(&hs, now()).is_err());
    }
}
