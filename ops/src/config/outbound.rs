//! The section of outbound webhooks: which addresses may be called.

use super::reader::Reader;
use super::{MINUTE, SECOND};
use switchyard_providers::GuardPolicy;

pub(super) fn read(r: &mut Reader) -> GuardPolicy {
    let d = GuardPolicy::default();
    let allowed: Vec<String> = r.get(
        "outbound.allow_private",
        Vec::new(),
        "Networks that may be called though they are not public: 10.1.0.0/16, fd00::/8",
    );
    let ports: Vec<String> = r.get(
        "outbound.ports",
        d.ports.iter().map(ToString::to_string).collect(),
        "Ports that webhooks and fetches may call on the public internet",
    );
    let nets = allowed.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    let ports = ports.iter().map(|text| text.parse()).collect::<Result<Vec<u16>, _>>();
    GuardPolicy {
        allow_private: nets.unwrap_or_else(|_| {
            let remedy = "write networks as 10.1.0.0/16 or fd00::/8, with commas between";
            r.fault("outbound.allow_private", "has something that is no network", remedy);
            Vec::new()
        }),
        ports: ports.ok().filter(|p| !p.is_empty() && !p.contains(&0)).unwrap_or_else(|| {
            let remedy = "write ports as 443,8443, or leave it out for these";
            r.fault("outbound.ports", "has something that is no port", remedy);
            Vec::new()
        }),
        allow_http: r.get(
            "outbound.allow_http",
            d.allow_http,
            "Whether public addresses may be called without TLS",
        ),
        timeout: r.duration(
            "outbound.timeout",
            d.timeout,
            SECOND..=MINUTE / 2,
            "Longest time of one call to a webhook endpoint",
        ),
        ..d
    }
}
