//! Keeps webhooks from reaching into our own networks (server-side request forgery).
//!
//! A customer chooses the URL, so he could choose one of ours: a cloud's metadata service, an admin page, this very
//! process. Names are judged by what they resolve to, at the moment of connecting, so that a name that changes its
//! mind is no way around; literal addresses never pass the resolver and are judged after parsing.
//!
//! Invariant: every address that is connected to was allowed here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

/// Networks that are nobody's public endpoint: IANA's special-purpose registries (RFC 6890) and multicast. Ranges
/// that embed an IPv4 address are here whole, whatever they embed.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",       // this network
    "10.0.0.0/8",      // private, RFC 1918
    "100.64.0.0/10",   // carriers' NAT, RFC 6598
    "127.0.0.0/8",     // loopback
    "169.254.0.0/16",  // link-local, clouds' metadata
    "172.16.0.0/12",   // private
    "192.0.0.0/24",    // protocol assignments
    "192.0.2.0/24",    // documentation
    "192.88.99.0/24",  // 6to4 relays
    "192.168.0.0/16",  // private
    "198.18.0.0/15",   // benchmarks
    "198.51.100.0/24", // documentation
    "203.0.113.0/24",  // documentation
    "224.0.0.0/4",     // multicast
    "240.0.0.0/4",     // reserved, broadcast
    "::/96",           // unspecified, loopback, IPv4-compatible
    "::ffff:0:0:0/96", // IPv4-translated, RFC 2765
    "64:ff9b::/96",    // NAT64, RFC 6052
    "64:ff9b:1::/48",  // NAT64 of one's own, RFC 8215
    "100::/64",        // discard
    "2001::/23",       // protocol assignments, Teredo
    "2001:db8::/32",   // documentation
    "2002::/16",       // 6to4
    "3fff::/20",       // documentation
    "5f00::/16",       // segment routing
    "fc00::/7",        // private
    "fe80::/10",       // link-local
    "fec0::/10",       // site-local, deprecated
    "ff00::/8",        // multicast
];

/// Which addresses may be called.
#[derive(Debug, Clone)]
pub struct Guard {
    special: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

/// An address may not be called. Does not say which: it is a customer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address is in a network that webhooks may not call; see `channels.webhook.allow_networks`")]
pub struct Forbidden;

impl Guard {
    /// Everything public, and besides it `allowed`.
    ///
    /// # Errors
    /// The entries of `allowed` that are no networks.
    pub fn new(allowed: &[String]) -> Result<Self, Vec<String>> {
        let (networks, wrong): (Vec<_>, Vec<_>) = allowed
            .iter()
            .map(|text| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| text))
            .partition(Result::is_ok);
        if !wrong.is_empty() {
            return Err(wrong.into_iter().filter_map(Result::err).cloned().collect());
        }
        Ok(Guard { allowed: networks.into_iter().filter_map(Result::ok).collect(), ..Guard::public_only() })
    }

    /// Everything public, and nothing else.
    pub fn public_only() -> Self {
        let special = SPECIAL.iter().map(|text| text.parse().expect("the list above is of networks")).collect();
        Guard { special, allowed: Vec::new() }
    }

    /// Whether `address` may be called. An IPv4 address mapped into IPv6 (`::ffff:0:0/96`) is what it maps.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        within(&self.allowed) || !(within(&self.special) || self.hides_forbidden(address))
    }

    /// Judges the host of a URL as far as it is a literal; a name is judged when it is resolved.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn check(&self, host: &Host<&str>) -> Result<(), Forbidden> {
        let address: IpAddr = match host {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(address) => (*address).into(),
            Host::Ipv6(address) => (*address).into(),
        };
        if self.allows(address) { Ok(()) } else { Err(Forbidden) }
    }

    /// ISATAP (RFC 5214) puts an IPv4 address into the last 32 bits of any prefix.
    fn hides_forbidden(&self, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else { return false };
        let segments = address.segments();
        let isatap = matches!(segments[4], 0 | 0x0200) && segments[5] == 0x5efe;
        isatap && !self.allows(IpAddr::V4(last_32_bits(address)))
    }
}

fn last_32_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// Finds the addresses of a name.
#[async_trait::async_trait]
pub trait Lookup: Send + Sync {
    /// All of them; the port is not looked at.
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<SocketAddr>>;
}

/// What the system says.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

#[async_trait::async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    }
}

/// A resolver behind a [`Guard`]: names lead only to addresses that may be called.
#[derive(Clone)]
pub struct GuardedResolver {
    guard: Guard,
    lookup: Arc<dyn Lookup>,
}

impl GuardedResolver {
    /// What `lookup` finds and `guard` allows.
    pub fn new(guard: Guard, lookup: Arc<dyn Lookup>) -> Self {
        GuardedResolver { guard, lookup }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let GuardedResolver { guard, lookup } = self.clone();
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let some = !found.is_empty();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| guard.allows(address.ip())).collect();
            if some && allowed.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an error of the HTTP client comes from a [`Guard`].
pub(super) fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<Forbidden>)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(&allowed.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn judged(guard: &Guard, url: &str) -> Result<(), Forbidden> {
        let url: url::Url = url.parse().unwrap();
        guard.check(&url.host().unwrap())
    }

    #[rstest]
    #[case::loopback("http://127.0.0.1/")]
    #[case::short_form("http://127.1/")]
    #[case::one_number("http://2130706433/")]
    #[case::hexadecimal("http://0x7f.1/")]
    #[case::octal("http://0177.0.0.1/")]
    #[case::full_width("http://１２７.0.0.1/")]
    #[case::zero("http://0/")]
    #[case::trailing_dot("http://127.0.0.1./")]
    #[case::percent_encoded("http://%31%32%37.0.0.1/")]
    #[case::private_10("http://10.1.2.3/")]
    #[case::private_172("http://172.31.255.255/")]
    #[case::private_192("http://192.168.0.1/")]
    #[case::metadata("http://169.254.169.254/latest/meta-data/")]
    #[case::carrier_nat("http://100.64.0.1/")]
    #[case::multicast("http://224.0.0.1/")]
    #[case::broadcast("http://255.255.255.255/")]
    #[case::v6_loopback("http://[::1]/")]
    #[case::v6_unspecified("http://[::]/")]
    #[case::mapped("http://[::ffff:127.0.0.1]/")]
    #[case::mapped_private("http://[::ffff:a00:1]/")]
    #[case::compatible("http://[::127.0.0.1]/")]
    #[case::nat64("http://[64:ff9b::7f00:1]/")]
    #[case::six_to_four("http://[2002:7f00:1::]/")]
    #[case::teredo("http://[2001:0:1::1]/")]
    #[case::unique_local("http://[fd00::1]/")]
    #[case::link_local("http://[fe80::1]/")]
    #[case::isatap("http://[2600::5efe:a00:1]/")]
    fn what_is_ours_is_refused_however_it_is_written(#[case] url: &str) {
        assert_eq!(judged(&guard(&[]), url), Err(Forbidden));
    }

    #[rstest]
    #[case("https://93.184.215.14/")]
    #[case("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/")]
    #[case("https://172.32.0.1/")]
    #[case("https://100.128.0.1/")]
    #[case("https://[::ffff:8.8.8.8]/")]
    #[case("https://hooks.example.org/")]
    fn what_is_public_is_allowed(#[case] url: &str) {
        assert_eq!(judged(&guard(&[]), url), Ok(()));
    }

    #[test]
    fn an_allowed_network_is_an_exception_for_itself_alone() {
        let guard = guard(&["127.0.0.0/8", "10.1.2.3"]);
        assert_eq!(judged(&guard, "http://127.0.0.1/"), Ok(()));
        assert_eq!(judged(&guard, "http://[::ffff:127.0.0.1]/"), Ok(()));
        assert_eq!(judged(&guard, "http://10.1.2.3/"), Ok(()));
        assert_eq!(judged(&guard, "http://10.1.2.4/"), Err(Forbidden));
    }

    #[test]
    fn an_entry_that_is_no_network_is_named() {
        let allowed = ["10.0.0.0/8".to_owned(), "10.0.0.0/99".to_owned(), "example.org".to_owned()];
        assert_eq!(Guard::new(&allowed).unwrap_err(), ["10.0.0.0/99", "example.org"]);
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_us_is_refused() {
        let resolver = |guard| GuardedResolver::new(guard, Arc::new(SystemLookup));
        let resolve = |guard| async move { resolver(guard).resolve("localhost".parse().unwrap()).await };
        let refused = resolve(guard(&[])).await.err().unwrap();
        assert!(is_forbidden(refused.as_ref()));
        assert!(resolve(guard(&["127.0.0.0/8"])).await.unwrap().all(|address| address.ip().is_loopback()));
    }

    proptest! {
        #[test]
        fn no_way_of_embedding_reaches_a_private_address(private in 0x0a00_0000_u32..=0x0aff_ffff) {
            let guard = guard(&[]);
            let v4 = Ipv4Addr::from(private);
            let [a, b] = [u16::try_from(private >> 16).unwrap(), (private & 0xffff) as u16];
            for hidden in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2600, 1, 2, 3, 0, 0x5efe, a, b),
            ] {
                prop_assert!(!guard.allows(hidden.into()), "{hidden}");
            }
        }
    }
}
