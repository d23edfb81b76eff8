//! Which addresses are public.

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything in the IANA registry of special-purpose IPv4 addresses
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry/>), multicast and the former class E,
/// and one public address that answers only inside a cloud.
const SPECIAL_V4: [(Ipv4Addr, u8); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10), // carrier-grade NAT; 100.100.100.200 is Alibaba's metadata
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's wire server
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; 169.254.169.254 is most clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24), // 192.0.0.192 is Oracle's metadata
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// What IANA has given out to be routed: everything else (loopback, IPv4-mapped, NAT64, unique
/// local, link-local, multicast) is outside of it.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is special within it
/// (<https://www.iana.org/assignments/iana-ipv6-special-registry/>).
const SPECIAL_V6: [(Ipv6Addr, u8); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // Teredo, ORCHID, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: carries any IPv4 address
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether the address belongs to the public internet: none that only we can reach, and none that
/// stands for another one.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !SPECIAL_V4.iter().any(|(net, bits)| in_v4(*net, *bits, ip)),
        IpAddr::V6(ip) => {
            in_v6(GLOBAL_V6.0, GLOBAL_V6.1, ip)
                && !SPECIAL_V6.iter().any(|(net, bits)| in_v6(*net, *bits, ip))
        }
    }
}

fn in_v4(net: Ipv4Addr, bits: u8, ip: Ipv4Addr) -> bool {
    // A table of ours that could not be read would refuse everything.
    Ipv4Net::new(net, bits).map_or(true, |net| net.contains(&ip))
}

fn in_v6(net: Ipv6Addr, bits: u8, ip: Ipv6Addr) -> bool {
    Ipv6Net::new(net, bits).is_ok_and(|net| net.contains(&ip))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any address of a network.
    fn within(net: &str) -> BoxedStrategy<IpAddr> {
        match net.parse::<ipnet::IpNet>().unwrap() {
            ipnet::IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                (first..=last).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n))).boxed()
            }
            ipnet::IpNet::V6(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                (first..=last).prop_map(|n| IpAddr::V6(Ipv6Addr::from_bits(n))).boxed()
            }
        }
    }

    fn closed() -> impl Strategy<Value = IpAddr> {
        let nets = [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/128",
            "::1/128",
            "::ffff:0:0/96",
            "::/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "2001::/32",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ];
        proptest::sample::select(nets.to_vec()).prop_flat_map(within)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_address_of_a_closed_network_is_public(ip in closed()) {
            prop_assert!(!is_public(ip), "{ip}");
        }

        /// The standard library's own words, as far as they are stable.
        #[test]
        fn what_the_standard_library_calls_special_is_not_public(n in any::<u32>()) {
            let ip = Ipv4Addr::from_bits(n);
            let special = ip.is_private() || ip.is_loopback() || ip.is_link_local()
                || ip.is_broadcast() || ip.is_documentation() || ip.is_multicast()
                || ip.is_unspecified();
            prop_assert!(!(special && is_public(ip.into())), "{ip}");
        }

        #[test]
        fn an_ipv4_address_in_disguise_is_never_public(n in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(n);
            let nat64 = Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | u128::from(n));
            let sixtofour = Ipv6Addr::from_bits((0x2002_u128 << 112) | (u128::from(n) << 80) | 1);
            for ip in [v4.to_ipv6_mapped(), v4.to_ipv6_compatible(), nat64, sixtofour] {
                prop_assert!(!is_public(ip.into()), "{ip}");
            }
        }

        #[test]
        fn an_ipv6_address_outside_of_what_is_routed_is_not_public(n in any::<u128>()) {
            let ip = Ipv6Addr::from_bits(n);
            prop_assert!(n >> 125 == 1 || !is_public(ip.into()), "{ip}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001:81b::200e",
            "2001:200::1",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
