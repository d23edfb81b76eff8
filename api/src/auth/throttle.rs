//! Failed sign-ins are counted per account and address, and per address, in this process. Every
//! attempt counts when it begins, so a volley of parallel guesses cannot outrun the counter; one
//! that succeeds is taken back.

use crate::ApiError;
use crate::config::ThrottleConfig;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Key = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Window {
    attempts: u32,
    ends: DateTime<Utc>,
}

/// Counts attempts.
#[derive(Debug)]
pub(crate) struct Throttle {
    config: ThrottleConfig,
    windows: Mutex<HashMap<Key, Window>>,
}

/// An attempt that was let through.
#[derive(Debug)]
pub(crate) struct Attempt {
    account: Key,
    address: Key,
}

impl Throttle {
    pub(crate) fn new(config: ThrottleConfig) -> Self {
        Self { config, windows: Mutex::new(HashMap::new()) }
    }

    /// Counts one attempt on `account` from `address`.
    ///
    /// # Errors
    /// 429 with the time until the window ends, once there were too many.
    pub(crate) fn begin(
        &self,
        account: &str,
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Attempt, ApiError> {
        let address_text = address.to_string();
        let attempt = Attempt {
            account: key(&[account.as_bytes(), address_text.as_bytes()]),
            address: key(&[address_text.as_bytes()]),
        };
        let mut windows = self.lock();
        self.make_room(&mut windows, now);
        let limits = [
            (attempt.account, self.config.per_account),
            (attempt.address, self.config.per_address),
        ];
        for (key, limit) in limits {
            let full = windows.get(&key).filter(|w| w.ends > now && w.attempts >= limit);
            if let Some(window) = full {
                let wait = (window.ends - now).to_std().unwrap_or(Duration::from_secs(1));
                metrics::counter!("switchyard_sign_in_throttled_total").increment(1);
                return Err(ApiError::too_many(wait, "too many attempts; wait, then try again"));
            }
        }
        let ends = now + self.config.window;
        for (key, _) in limits {
            let window = windows.entry(key).or_insert(Window { attempts: 0, ends });
            if window.ends <= now {
                *window = Window { attempts: 0, ends };
            }
            window.attempts += 1;
        }
        Ok(attempt)
    }

    /// The attempt succeeded: the account starts afresh, and the address gets it back.
    pub(crate) fn succeeded(&self, attempt: &Attempt) {
        let mut windows = self.lock();
        windows.remove(&attempt.account);
        if let Some(window) = windows.get_mut(&attempt.address) {
            window.attempts = window.attempts.saturating_sub(1);
        }
    }

    /// Bounds the table: what has ended goes first, then whatever would end soonest.
    fn make_room(&self, windows: &mut HashMap<Key, Window>, now: DateTime<Utc>) {
        if windows.len() + 2 <= self.config.entries {
            return;
        }
        windows.retain(|_, w| w.ends > now);
        if windows.len() + 2 > self.config.entries {
            let mut ends: Vec<_> = windows.values().map(|w| w.ends).collect();
            ends.sort_unstable();
            let middle = ends[ends.len() / 2];
            windows.retain(|_, w| w.ends > middle);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fixed-size keys bound the memory; a hash keeps addresses of people out of it.
fn key(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn throttle() -> Throttle {
        Throttle::new(ThrottleConfig { per_account: 3, per_address: 7, ..Default::default() })
    }

    #[test]
    fn the_fourth_guess_waits_for_the_end_of_the_window() {
        let (t, now) = (throttle(), Utc::now());
        for _ in 0..3 {
            t.begin("a@x.pl", HERE, now).unwrap();
        }
        assert_eq!(t.begin("a@x.pl", HERE, now).unwrap_err().status(), 429);
        assert!(t.begin("a@x.pl", THERE, now).is_ok(), "others are not locked out");
        assert!(t.begin("b@x.pl", HERE, now).is_ok(), "nor other accounts");
        let later = now + chrono::Duration::minutes(16);
        assert!(t.begin("a@x.pl", HERE, later).is_ok());
    }

    #[test]
    fn one_address_cannot_try_all_accounts() {
        let (t, now) = (throttle(), Utc::now());
        for i in 0..7 {
            t.begin(&format!("{i}@x.pl"), HERE, now).unwrap();
        }
        assert_eq!(t.begin("8@x.pl", HERE, now).unwrap_err().status(), 429);
    }

    #[test]
    fn success_forgives() {
        let (t, now) = (throttle(), Utc::now());
        for _ in 0..20 {
            let attempt = t.begin("a@x.pl", HERE, now).unwrap();
            t.succeeded(&attempt);
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let config = ThrottleConfig { entries: 10, per_address: 10_000, ..Default::default() };
        let (t, now) = (Throttle::new(config), Utc::now());
        for i in 0..1_000 {
            t.begin(&format!("{i}@x.pl"), HERE, now + chrono::Duration::milliseconds(i)).unwrap();
            assert!(t.lock().len() <= 10);
        }
    }
}
