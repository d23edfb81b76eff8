//! What is asked at the door, beside who it is: from where, how much, and how bodies are written.

use super::{ApiKeyPlace, Handshake, Limits, member};
use crate::FieldFault;
use crate::body::BodySettings;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};
use std::net::IpAddr;
use url::Url;

/// The settings of a portal's door. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Door {
    /// The public address: scheme and host (and port); with a path, the one that stands for
    /// `/api/webhooks/<code>`. Schemes that sign the address need it behind a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_base_url: Option<String>,
    /// Networks from which it may send; empty: from everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_allow: Vec<IpNet>,
    /// What the sender asks before it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// How much it may send.
    #[serde(skip_serializing_if = "Limits::is_unlimited")]
    pub limits: Limits,
    /// How its bodies are read.
    #[serde(skip_serializing_if = "is_default")]
    pub body: BodySettings,
}

fn is_default(body: &BodySettings) -> bool {
    *body == BodySettings::default()
}

impl Door {
    /// The settings that are the door's.
    pub(super) const KNOWN: [&str; 5] =
        ["public_base_url", "ip_allow", "handshake", "limits", "body"];

    pub(super) fn read(members: &Map<String, Value>, faults: &mut Vec<FieldFault>) -> Self {
        let networks: Vec<String> = member(members, "ip_allow", faults).unwrap_or_default();
        let mut ip_allow = Vec::with_capacity(networks.len());
        for (n, text) in networks.iter().enumerate() {
            match network(text) {
                Some(network) => ip_allow.push(network),
                None => {
                    let message = format!(
                        "`{text}` is no network; write one such as 203.0.113.0/24 or 2001:db8::/32."
                    );
                    faults.push(FieldFault::new(
                        format!("/ip_allow/{n}"),
                        "invalid_network",
                        message,
                    ));
                }
            }
        }
        Self {
            public_base_url: member(members, "public_base_url", faults),
            ip_allow,
            handshake: member(members, "handshake", faults),
            limits: member(members, "limits", faults).unwrap_or_default(),
            body: member(members, "body", faults).unwrap_or_default(),
        }
    }

    pub(super) fn faults(&self, is_signed: bool) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        if self.public_base_url.as_ref().is_some_and(|u| !is_base(u)) {
            let message = "Write an address such as https://hooks.example.com, without a query.";
            faults.push(FieldFault::new("/public_base_url", "invalid_url", message));
        }
        if let Some(handshake) = &self.handshake {
            faults.extend(handshake.faults(is_signed));
        }
        faults.extend(self.limits.faults());
        faults.extend(self.body.faults());
        faults
    }

    /// May it send from this address?
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        self.ip_allow.is_empty()
            || self.ip_allow.iter().any(|n| n.contains(&address.to_canonical()))
    }

    /// The address as the sender knows it. `rest` is the path after the portal's code as it came,
    /// with its slash; `server` is the server's own public address, scheme and host at least.
    #[must_use]
    pub fn public_url(&self, server: &str, code: &str, rest: &str, query: Option<&str>) -> String {
        let own = self.public_base_url.as_deref().map(|base| base.trim_end_matches('/'));
        let mut url = match own {
            Some(base) if has_path(base) => format!("{base}{rest}"),
            Some(base) => format!("{base}/api/webhooks/{code}{rest}"),
            None => format!("{}/api/webhooks/{code}{rest}", server.trim_end_matches('/')),
        };
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        url
    }

    /// The same for keeping: without a key in its path or its query.
    #[must_use]
    pub fn masked_url(
        &self,
        key: &ApiKeyPlace,
        server: &str,
        code: &str,
        rest: &str,
        query: Option<&str>,
    ) -> String {
        let query = query.map(|q| key.masked_query(q));
        let masked = match (key, rest.strip_prefix('/')) {
            (ApiKeyPlace::Path, Some(inner)) => match inner.find('/') {
                Some(slash) => format!("/***{}", &inner[slash..]),
                None => "/***".to_owned(),
            },
            _ => rest.to_owned(),
        };
        self.public_url(server, code, &masked, query.as_deref())
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok();
    network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_base(text: &str) -> bool {
    let whole = |u: &Url| {
        let plain = u.query().is_none() && u.fragment().is_none() && u.username().is_empty();
        plain && u.has_host() && matches!(u.scheme(), "http" | "https")
    };
    Url::parse(text).is_ok_and(|u| whole(&u))
}

fn has_path(base: &str) -> bool {
    base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}
