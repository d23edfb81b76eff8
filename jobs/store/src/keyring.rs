//! The keys under which arguments of jobs are sealed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::fmt::{self, Write};
use switchyard_domain::secrets::MasterKey;
use switchyard_queue::{ArgsCipher, JobId, SealFault, sealed_form, sealed_parts};

/// What unique keys are hashed for, with a key of its own.
const UNIQUE: &str = "job.unique";

/// Keys of 32 bytes, the first of which seals; all of them open. Neither prints nor compares them.
pub struct Keyring {
    keys: Vec<(String, MasterKey)>,
}

impl Keyring {
    /// A ring of these, the current one first; `None` if there is none. The same key twice is there once.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = MasterKey>) -> Option<Self> {
        let mut ring: Vec<(String, MasterKey)> = Vec::new();
        for key in keys {
            let id = key.id();
            if ring.iter().all(|(known, _)| *known != id) {
                ring.push((id, key));
            }
        }
        (!ring.is_empty()).then_some(Self { keys: ring })
    }

    fn current(&self) -> &(String, MasterKey) {
        // A ring is never empty, see `new`.
        &self.keys[0]
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

/// The purpose names the kind and the job, so the key that is derived for it and what is authenticated
/// are theirs alone. The id comes last and has a fixed length: no two jobs share a purpose.
fn purpose(kind: &str, job: JobId) -> String {
    format!("job.args/{kind}/{job}")
}

impl ArgsCipher for Keyring {
    fn seal(&self, kind: &str, job: JobId, args: &Value) -> Value {
        let (id, key) = self.current();
        let sealed = key.seal(&purpose(kind, job), args.to_string().as_bytes());
        sealed_form(id, &BASE64_STANDARD.encode(sealed))
    }

    fn open(&self, kind: &str, job: JobId, sealed: &Value) -> Result<Value, SealFault> {
        let (id, data) = sealed_parts(sealed).ok_or(SealFault::Broken)?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| SealFault::MissingKey(id.to_owned()))?;
        let bytes = BASE64_STANDARD.decode(data).map_err(|_| SealFault::Broken)?;
        let plain = key.open(&purpose(kind, job), &bytes).map_err(|_| SealFault::Broken)?;
        serde_json::from_slice(&plain).map_err(|_| SealFault::Broken)
    }

    fn keys(&self) -> Vec<String> {
        self.keys.iter().map(|(id, _)| id.clone()).collect()
    }

    fn hashes(&self, text: &str) -> Vec<String> {
        let hash = |(id, key): &(String, MasterKey)| {
            let mut form = format!("{id}:");
            for byte in key.keyed_hash(UNIQUE, text.as_bytes()) {
                // Writing to a string cannot fail.
                let _ = write!(form, "{byte:02x}");
            }
            form
        };
        self.keys.iter().map(hash).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn ring(fills: &[u8]) -> Keyring {
        Keyring::new(fills.iter().map(|f| MasterKey::new([*f; 32]))).unwrap()
    }

    #[test]
    fn what_is_sealed_for_one_job_opens_for_no_other() {
        let (ring, job) = (ring(&[1]), JobId::new());
        let args = json!({"secret": "s3cr3t"});
        let sealed = ring.seal("k", job, &args);
        assert!(!sealed.to_string().contains("s3cr3t"));
        assert_eq!(ring.open("k", job, &sealed), Ok(args.clone()));
        assert_eq!(ring.open("k", JobId::new(), &sealed), Err(SealFault::Broken));
        assert_eq!(ring.open("l", job, &sealed), Err(SealFault::Broken));
        assert_ne!(ring.seal("k", job, &args), sealed, "never the same twice");
    }

    #[test]
    fn every_key_of_the_ring_opens_and_the_first_seals() {
        let (old, both, new) = (ring(&[1]), ring(&[2, 1, 2]), ring(&[2]));
        let job = JobId::new();
        let sealed = old.seal("k", job, &json!(7));
        assert_eq!(both.keys().len(), 2, "the same key twice is one");
        assert_eq!(both.open("k", job, &sealed), Ok(json!(7)));
        assert_eq!(new.open("k", job, &sealed), Err(SealFault::MissingKey(old.keys()[0].clone())));
        let again = both.seal("k", job, &json!(7));
        assert_eq!(new.open("k", job, &again), Ok(json!(7)));
        assert_eq!(both.hashes("x")[1..], old.hashes("x"));
        assert_ne!(old.hashes("x"), old.hashes("y"));
        assert!(Keyring::new([]).is_none());
        assert!(!format!("{both:?}").contains("MasterKey"));
    }

    proptest! {
        #[test]
        fn any_change_of_the_ciphertext_is_noticed(at in 0_usize..60, flip in 1_u8..=255) {
            let (ring, job) = (ring(&[1]), JobId::new());
            let sealed = ring.seal("k", job, &json!({"n": 1}));
            let (key, data) = sealed_parts(&sealed).unwrap();
            let mut bytes = BASE64_STANDARD.decode(data).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let changed = sealed_form(key, &BASE64_STANDARD.encode(bytes));
            prop_assert_eq!(ring.open("k", job, &changed), Err(SealFault::Broken));
        }
    }
}
