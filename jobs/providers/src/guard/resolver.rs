//! The look-up of names: addresses that may not be called are never given to the connection.

use super::policy::{GuardPolicy, Reach, UrlRefused};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::sync::Arc;

/// Looks names up by the system and lets pass what may be called.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) policy: Arc<GuardPolicy>,
    pub(super) reach: Reach,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, reach) = (Arc::clone(&self.policy), self.reach);
        Box::pin(async move {
            // The connection puts the URL's port in the place of this one.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may: Vec<_> = found.filter(|a| policy.may_reach(a.ip(), reach)).collect();
            if may.is_empty() {
                return Err(UrlRefused::Name(name.as_str().to_owned()).into());
            }
            Ok(Box::new(may.into_iter()) as Addrs)
        })
    }
}
