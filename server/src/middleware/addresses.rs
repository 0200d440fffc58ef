//! How often an address may ask: keys cannot be guessed quickly, and nobody without one takes it all.

use crate::{
    config::Network,
    error::{ApiError, Pressure, Result},
};
use axum::{extract::Request, http::HeaderMap};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// How often each address may ask.
#[derive(Debug)]
pub(crate) struct Addresses {
    limit: Option<(u32, DefaultKeyedRateLimiter<IpAddr>)>,
    proxies: Vec<IpAddr>,
    since_swept: AtomicU32,
}

/// Requests between two sweeps of addresses that have been quiet: bounds memory.
const SWEEP: u32 = 10_000;

impl Addresses {
    pub(crate) fn new(network: &Network) -> Self {
        let limit = NonZeroU32::new(network.address_per_minute);
        Self {
            limit: limit.map(|n| (n.get(), RateLimiter::keyed(Quota::per_minute(n)))),
            proxies: network.trusted_proxies.clone(),
            since_swept: AtomicU32::new(0),
        }
    }

    /// Counts a request of whoever stands behind this connection.
    ///
    /// # Errors
    /// 429 when it comes too soon.
    pub(crate) fn check(&self, request: &Request) -> Result<()> {
        let Some((limit, limiter)) = &self.limit else { return Ok(()) };
        let Some(Peer(peer)) = request.extensions().get::<Peer>() else { return Ok(()) };
        let address = self.behind(*peer, request.headers());
        // A proxy without `--trusted-proxy`, a test, the operator: whoever is on this machine is not limited.
        if address.is_loopback() {
            return Ok(());
        }
        if self.since_swept.fetch_add(1, Ordering::Relaxed) == SWEEP {
            self.since_swept.store(0, Ordering::Relaxed);
            limiter.retain_recent();
        }
        limiter.check_key(&network(address)).map_err(|early| {
            let wait = early.wait_time_from(limiter.clock().now());
            too_fast("from this address", "--address-per-minute", *limit, wait)
        })
    }

    /// Who stands behind a proxy that we trust: the last address of `X-Forwarded-For` that is none of ours.
    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
        let hops: Vec<IpAddr> =
            forwarded.flat_map(|v| v.split(',')).map_while(|hop| hop.trim().parse().ok()).collect();
        let mut address = peer;
        for hop in hops.into_iter().rev() {
            if !self.proxies.contains(&address) {
                break;
            }
            address = hop;
        }
        address
    }
}

/// 429: within the closed list a rate is a queue that is full for this client.
pub(crate) fn too_fast(whose: &str, cure: &'static str, limit: u32, wait: Duration) -> ApiError {
    let retry_after = wait.as_secs_f64().ceil().max(1.0) as u64;
    let pressure =
        Pressure { what: "requests a minute", cure, limit: limit.into(), in_use: limit.into(), retry_after };
    let message =
        format!("more than {limit} requests a minute {whose}: try again in {retry_after} s, or raise {cure}");
    ApiError { message, ..ApiError::queue_full(pressure) }
}

/// Who has one IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use s3router_proto::ErrorKind;

    fn addresses(address_per_minute: u32, proxies: &[&str]) -> Addresses {
        let trusted_proxies = proxies.iter().map(|p| p.parse().unwrap()).collect();
        Addresses::new(&Network { address_per_minute, trusted_proxies, ..Network::default() })
    }

    fn request(peer: &str, forwarded: &str) -> Request {
        let mut request =
            Request::builder().header("x-forwarded-for", forwarded).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        request
    }

    #[test]
    fn an_address_is_held_to_its_limit_and_its_neighbours_are_not() {
        let addresses = addresses(2, &[]);
        let ask = |peer| addresses.check(&request(peer, ""));
        assert!(ask("203.0.113.7").is_ok() && ask("203.0.113.7").is_ok());
        let refused = ask("203.0.113.7").unwrap_err();
        assert_eq!((refused.kind, refused.pressure.unwrap().retry_after), (ErrorKind::QueueFull, 30));
        assert!(ask("203.0.113.8").is_ok());
        assert!(ask("2001:db8::1").is_ok() && ask("2001:db8::2").is_ok());
        assert!(ask("2001:db8::ffff").is_err(), "one network, one limit");
        assert!((0..5).all(|_| ask("127.0.0.1").is_ok()));
    }

    #[test]
    fn only_a_trusted_proxy_may_say_who_stands_behind_it() {
        let addresses = addresses(1, &["10.0.0.1", "10.0.0.2"]);
        let behind = |peer: &str, forwarded: &str| {
            addresses.behind(peer.parse().unwrap(), request(peer, forwarded).headers()).to_string()
        };
        assert_eq!(behind("10.0.0.1", "203.0.113.7"), "203.0.113.7");
        assert_eq!(
            behind("10.0.0.1", "6.6.6.6, 203.0.113.7, 10.0.0.2"),
            "203.0.113.7",
            "the first may be a lie"
        );
        assert_eq!(behind("203.0.113.7", "6.6.6.6"), "203.0.113.7");
        assert_eq!(behind("10.0.0.1", "nonsense"), "10.0.0.1");
    }
}
