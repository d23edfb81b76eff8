//! What may be called, as far as the URL itself tells.

use super::ranges::is_public;
use ipnet::IpNet;
use reqwest::Url;
use std::net::IpAddr;
use std::time::Duration;
use url::Host;

/// What may be called, how long it may take and how much of the answer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardPolicy {
    /// Networks that may be called though they are not public, over `http:` and any port too: an
    /// intranet, or this machine in tests. IPv4 networks hold for IPv4 addresses only.
    pub allow_private: Vec<IpNet>,
    /// Ports that may be called on public addresses.
    pub ports: Vec<u16>,
    /// Whether public addresses may be called without TLS, on port 80.
    pub allow_http: bool,
    /// Longest time of one call, from the look-up to the end of the answer.
    pub timeout: Duration,
    /// Most bytes of an answer that are kept; the rest is not read.
    pub body_limit: usize,
}

impl Default for GuardPolicy {
    /// HTTPS to public addresses on 443 and 8443, 15 s, 64 KiB.
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            ports: vec![443, 8443],
            allow_http: false,
            timeout: Duration::from_secs(15),
            body_limit: 64 * 1024,
        }
    }
}

/// Why a URL is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It cannot be read as one.
    #[error("this is no URL: write `https://host/path`")]
    NoUrl,
    /// Another scheme.
    #[error("only `https:` addresses are called")]
    Scheme,
    /// It would be called without TLS.
    #[error(
        "`http:` is not called: use `https:`, or allow its network by `outbound.allow_private`"
    )]
    Plain,
    /// A name or password in it would be sent and shown.
    #[error("a URL with a user name or password is not called: leave them out")]
    Credentials,
    /// A port that is not listed.
    #[error("port {0} is not called: use one of those in `outbound.ports`")]
    Port(u16),
    /// An address that is not public.
    #[error(
        "{0} is not a public address: allow its network by `outbound.allow_private`, or use another"
    )]
    Address(IpAddr),
    /// None of the name's addresses may be called.
    #[error(
        "`{0}` has no address that may be called: none is public or in `outbound.allow_private`"
    )]
    Name(String),
}

/// Which addresses a call may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Public ones and those that are allowed.
    Open,
    /// Only those that are allowed.
    Inside,
}

impl GuardPolicy {
    /// Looks at a URL without asking a name server: what a form can be told at once.
    ///
    /// # Errors
    /// [`UrlRefused`] says what is wrong with it. A name passes here; its addresses are judged at
    /// every call.
    pub fn check(&self, url: &str) -> Result<(), UrlRefused> {
        self.reach(&self.parse(url)?).map(|_| ())
    }

    pub(crate) fn parse(&self, url: &str) -> Result<Url, UrlRefused> {
        let url = Url::parse(url).map_err(|_| UrlRefused::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlRefused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefused::Credentials);
        }
        Ok(url)
    }

    /// Where a call to this URL may go. Addresses that are written out are judged here, because no
    /// name server is asked for them.
    pub(super) fn reach(&self, url: &Url) -> Result<Reach, UrlRefused> {
        let anywhere = self.fit_for_public(url);
        let reach = if anywhere.is_ok() { Reach::Open } else { Reach::Inside };
        let literal = match url.host().ok_or(UrlRefused::NoUrl)? {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain(_) => None,
        };
        match literal {
            Some(ip) if self.may_reach(ip, reach) => Ok(reach),
            // A public address that is called in a way it may not be.
            Some(ip) if is_public(ip) => anywhere.map(|()| reach),
            Some(ip) => Err(UrlRefused::Address(ip)),
            None if self.allow_private.is_empty() => anywhere.map(|()| reach),
            None => Ok(reach),
        }
    }

    /// Whether scheme and port are ones that public addresses may be called with.
    fn fit_for_public(&self, url: &Url) -> Result<(), UrlRefused> {
        let port = url.port_or_known_default().unwrap_or_default();
        match url.scheme() {
            "https" if self.ports.contains(&port) => Ok(()),
            "https" => Err(UrlRefused::Port(port)),
            _ if !self.allow_http => Err(UrlRefused::Plain),
            _ if port == 80 || self.ports.contains(&port) => Ok(()),
            _ => Err(UrlRefused::Port(port)),
        }
    }

    pub(super) fn may_reach(&self, ip: IpAddr, reach: Reach) -> bool {
        let allowed = self.allow_private.iter().any(|net| net.contains(&ip));
        allowed || (reach == Reach::Open && is_public(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(policy: &GuardPolicy, url: &str) -> Option<UrlRefused> {
        policy.check(url).err()
    }

    #[test]
    fn only_https_on_listed_ports_is_called() {
        let policy = GuardPolicy::default();
        for fine in ["https://example.com/hook", "https://example.com:8443", "https://1.1.1.1/"] {
            assert_eq!(judged(&policy, fine), None, "{fine}");
        }
        assert_eq!(judged(&policy, "http://example.com"), Some(UrlRefused::Plain));
        assert_eq!(judged(&policy, "https://example.com:22"), Some(UrlRefused::Port(22)));
        assert_eq!(judged(&policy, "https://1.1.1.1:6379"), Some(UrlRefused::Port(6379)));
        assert_eq!(judged(&policy, "ftp://example.com"), Some(UrlRefused::Scheme));
        assert_eq!(judged(&policy, "file:///etc/passwd"), Some(UrlRefused::Scheme));
        assert_eq!(judged(&policy, "https://u:p@example.com"), Some(UrlRefused::Credentials));
        for bad in ["", "example.com", "https://", "https://exa mple.com"] {
            assert_eq!(judged(&policy, bad), Some(UrlRefused::NoUrl), "{bad}");
        }
        let plain = GuardPolicy { allow_http: true, ..policy };
        assert_eq!(judged(&plain, "http://example.com"), None);
        assert_eq!(judged(&plain, "http://example.com:22"), Some(UrlRefused::Port(22)));
    }

    #[test]
    fn an_address_is_seen_through_every_way_of_writing_it() {
        let policy = GuardPolicy::default();
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://１２７.０.０.１/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[fd00:ec2::254]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://168.63.129.16/",
            "https://0/",
        ] {
            let refused = judged(&policy, url);
            assert!(matches!(refused, Some(UrlRefused::Address(_))), "{url}: {refused:?}");
        }
    }

    #[test]
    fn what_is_allowed_inside_is_not_allowed_outside() {
        let net = "10.0.0.0/8".parse().map_or_else(|_| Vec::new(), |n| vec![n]);
        let policy = GuardPolicy { allow_private: net, ..GuardPolicy::default() };
        assert_eq!(judged(&policy, "http://10.1.2.3:9000/"), None);
        assert_eq!(judged(&policy, "http://11.1.2.3:9000/"), Some(UrlRefused::Plain));
        assert!(judged(&policy, "https://[::ffff:10.1.2.3]/").is_some());
        assert!(judged(&policy, "https://192.168.0.1/").is_some());
        // A name may turn out to be inside; the resolver sees to it that it is.
        assert_eq!(judged(&policy, "http://intranet:9000/"), None);
    }
}
