//! Why a signature was refused.

/// Why a signature was refused. The sentences are for the portal's owner and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// A header or a query parameter is absent or empty.
    #[error("the {0} is missing; this portal's requests must be signed")]
    Missing(String),
    /// The time stamp is none.
    #[error("the time stamp in the {place} is not {expected}")]
    BadTimestamp {
        /// Where it stands.
        place: String,
        /// How it is written.
        expected: &'static str,
    },
    /// Signed too long ago: replayed, or delayed on the way.
    #[error(
        "the request was signed {late_seconds} s ago, at most {tolerance_seconds} s are allowed; \
         if it was not replayed, check the clocks"
    )]
    TooOld {
        /// Age in seconds.
        late_seconds: i64,
        /// What is allowed.
        tolerance_seconds: u32,
    },
    /// Signed in the future.
    #[error(
        "the request was signed {early_seconds} s in the future, at most {tolerance_seconds} s \
         are allowed; check the clocks"
    )]
    TooNew {
        /// How far ahead, in seconds.
        early_seconds: i64,
        /// What is allowed.
        tolerance_seconds: u32,
    },
    /// What stands there is nothing that could be a signature of this scheme.
    #[error("the {place} holds no signature of the form {expected}")]
    Malformed {
        /// Where it should stand.
        place: String,
        /// The form, by example.
        expected: String,
    },
    /// Made with another secret, or the body was changed.
    #[error(
        "the signature does not match: the secret differs, or the body or the address was changed \
         after signing"
    )]
    Mismatch,
    /// What is signed is a single word, and such words this portal signs for whoever asks.
    #[error(
        "what is signed is a single word, and this portal signs those for whoever asks \
         (`handshake`): it does not prove who sent it"
    )]
    ProvesNothing,
}

impl SignatureFault {
    /// Stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "signature_missing",
            Self::BadTimestamp { .. } => "signature_bad_timestamp",
            Self::TooOld { .. } => "signature_too_old",
            Self::TooNew { .. } => "signature_too_new",
            Self::Malformed { .. } => "signature_malformed",
            Self::Mismatch => "signature_mismatch",
            Self::ProvesNothing => "signature_proves_nothing",
        }
    }

    /// Nothing was compared: the signature is absent or written in another way.
    pub(super) fn is_about_the_form(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Malformed { .. })
    }
}
