//! Who is at the other end of a connection to the edge, and how everybody behind it knows.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::serve::IncomingStream;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::listening::FaultyListener;

/// The address that a request came from, as the edge saw it.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, FaultyListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, FaultyListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Tells those behind where a request came from, in the place of whatever the caller said: there is no proxy before the edge
/// that would know better.
pub fn write<B>(request: &mut Request<B>) {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
    let headers = request.headers_mut();
    headers.remove(FORWARDED_FOR);
    if let Some(Ok(address)) = peer.map(|address| HeaderValue::try_from(address.to_string())) {
        headers.insert(FORWARDED_FOR, address);
    }
}

/// Where a request came from, as the edge told; nothing when it told nothing.
///
/// Of IPv6 the network, 64 bits: whoever has one address of it has all of them.
pub fn read(headers: &HeaderMap) -> Option<IpAddr> {
    let address: IpAddr = headers.get(FORWARDED_FOR)?.to_str().ok()?.parse().ok()?;
    Some(match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_says_of_its_address_is_replaced() {
        let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
        let mut request = Request::get("/").header(FORWARDED_FOR, "10.0.0.1").header(FORWARDED_FOR, "10.0.0.2");
        request = request.extension(ConnectInfo(Peer(peer)));
        let mut request = request.body(()).unwrap();

        write(&mut request);

        let told: Vec<_> = request.headers().get_all(FORWARDED_FOR).iter().collect();
        assert_eq!(told, ["192.0.2.7"]);
        assert_eq!(read(request.headers()), Some(peer.ip()));
    }

    #[test]
    fn one_network_of_ipv6_is_one_caller() {
        let from =
            |address: &'static str| read(&HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static(address))]));

        assert_eq!(from("2001:db8:1:2:3:4:5:6"), from("2001:db8:1:2::1"));
        assert_ne!(from("2001:db8:1:2::1"), from("2001:db8:1:3::1"));
        assert_eq!(from("::ffff:192.0.2.7"), from("192.0.2.7"));
        assert_eq!((from("elsewhere"), from("10.0.0.1, 10.0.0.2")), (None, None));
    }
}
