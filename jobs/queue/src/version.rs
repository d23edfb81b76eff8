//! Versions of a kind: how they stand in a job's stored kind, so that old and new programs share a queue.
//!
//! A job of version 1 is stored as `lead.assign`, one of version 2 as `lead.assign@2`. A worker names what
//! it can run when it claims, so one that does not know a version steps over its jobs. Everything else
//! (pauses, rules, counts) goes by the kind's name.

use std::borrow::Cow;

/// The kind of a stored kind, and its version.
fn parts(stored: &str) -> (&str, u16) {
    let versioned = stored.rsplit_once('@').and_then(|(name, digits)| {
        let plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        Some((name, digits.parse().ok().filter(|n| plain && *n > 1)?))
    });
    versioned.unwrap_or((stored, 1))
}

/// The name without a version: `lead.assign` of `lead.assign@2`.
#[must_use]
pub fn kind_name(stored: &str) -> &str {
    parts(stored).0
}

/// The version, 1 where none is said.
#[must_use]
pub fn kind_version(stored: &str) -> u16 {
    parts(stored).1
}

/// How a job of this kind and version is stored.
#[must_use]
pub fn stored_kind(name: &'static str, version: u16) -> Cow<'static, str> {
    if version > 1 { Cow::Owned(format!("{name}@{version}")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_kind_is_read_as_it_was_written() {
        for version in [1, 2, 10, u16::MAX] {
            let stored = stored_kind("lead.assign", version);
            assert_eq!((kind_name(&stored), kind_version(&stored)), ("lead.assign", version));
        }
        assert_eq!(stored_kind("lead.assign", 1), "lead.assign");
        assert_eq!(stored_kind("lead.assign", 2), "lead.assign@2");
        for plain in ["a@", "a@x", "a@02", "a@+2", "a@1", "a@0", "a@65536", "", "@"] {
            assert_eq!((kind_name(plain), kind_version(plain)), (plain, 1));
        }
    }
}
