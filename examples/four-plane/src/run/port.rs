//! The ports: the edge's, which several processes share, and the control plane's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::ConfigError;

/// Keeps the edge's port for the edge processes of this stack.
///
/// The socket is bound and never listens, so no connection reaches it; it keeps the port while an edge process is being
/// started again, and makes another stack's exclusive bind fail.
#[derive(Debug)]
pub(super) struct EdgePort {
    address: SocketAddr,
    _held: Socket,
}

impl EdgePort {
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes the edge's port, if nobody has it: sharing it by `SO_REUSEPORT` would otherwise let this stack slip in beside
/// another one that shares it too, and each would get half of the other's connections.
pub(super) fn claim(address: SocketAddr) -> Result<EdgePort, ConfigError> {
    let failed = |cause| ConfigError::Bind { field: "listen", address, cause };
    let exclusive = std::net::TcpListener::bind(address).map_err(failed)?;
    let address = exclusive.local_addr().map_err(failed)?;
    drop(exclusive);
    // Without SO_REUSEADDR another exclusive bind fails even before the edge processes listen; with it, the port can be
    // taken while connections of an earlier program are still closing.
    let held = hold(address, false).or_else(|_| hold(address, true)).map_err(failed)?;
    Ok(EdgePort { address, _held: held })
}

fn hold(address: SocketAddr, reuse_address: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(reuse_address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Where the control plane listens, and why that is not beside the edge's port, where somebody may look for it.
#[derive(Debug)]
pub(super) struct ControlPort {
    pub(super) listener: TcpListener,
    pub(super) elsewhere: Option<String>,
}

/// Listens for the control plane: where asked, or else beside the edge's port, or else on a free one.
pub(super) async fn listen_control(asked: Option<SocketAddr>, edge: SocketAddr) -> Result<ControlPort, ConfigError> {
    let bind = async |address| {
        let bound = TcpListener::bind(address).await;
        bound.map_err(|cause| ConfigError::Bind { field: "control", address, cause })
    };
    if let Some(address) = asked {
        return Ok(ControlPort { listener: bind(address).await?, elsewhere: None });
    }
    let why = match edge.port().checked_add(1) {
        None => format!("no port comes after {}", edge.port()),
        Some(port) => match TcpListener::bind((edge.ip(), port)).await {
            Ok(listener) => return Ok(ControlPort { listener, elsewhere: None }),
            Err(cause) => format!("port {port}, after the edge's: {cause}"),
        },
    };
    let elsewhere = format!("{why}; page and control plane take a free port, --control names another one");
    Ok(ControlPort { listener: bind(SocketAddr::new(edge.ip(), 0)).await?, elsewhere: Some(elsewhere) })
}

/// The address to connect to: loopback where the listener takes every address.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_port_that_is_claimed_cannot_be_claimed_again() {
        let first = claim(ANY).unwrap();

        let second = claim(first.address());

        assert!(matches!(second, Err(ConfigError::Bind { field: "listen", .. })), "{second:?}");
    }

    #[test]
    fn a_port_that_others_share_cannot_be_claimed() {
        let theirs = hold(ANY, true).unwrap();
        theirs.listen(1).unwrap();
        let address = theirs.local_addr().unwrap().as_socket().unwrap();

        let ours = claim(address);

        assert!(ours.unwrap_err().to_string().starts_with(&format!("listen {address}: Address already in use")));
    }

    #[test]
    fn several_sockets_share_a_claimed_port() {
        let port = claim(ANY).unwrap();

        let edges = [hold(port.address(), true), hold(port.address(), true)];

        assert!(edges.iter().all(|edge| edge.as_ref().is_ok_and(|socket| socket.listen(1).is_ok())), "{edges:?}");
    }

    #[tokio::test]
    async fn the_control_plane_is_beside_the_edge_or_says_why_it_is_not() {
        let taken = TcpListener::bind(ANY).await.unwrap();
        let taken_port = taken.local_addr().unwrap().port();
        let before = SocketAddr::new(ANY.ip(), taken_port.checked_sub(1).unwrap());
        let last = SocketAddr::new(ANY.ip(), u16::MAX);

        let beside_taken = listen_control(None, before).await.unwrap();
        let after_the_last = listen_control(None, last).await.unwrap();
        let asked = listen_control(Some(ANY), last).await.unwrap();

        let rule = "page and control plane take a free port, --control names another one";
        let why = format!("port {taken_port}, after the edge's: Address already in use (os error 98); {rule}");
        assert_eq!(beside_taken.elsewhere, Some(why));
        assert_eq!(after_the_last.elsewhere, Some(format!("no port comes after 65535; {rule}")));
        assert_eq!(asked.elsewhere, None);
    }

    #[test]
    fn a_listener_on_every_address_is_reached_over_loopback() {
        let every = SocketAddr::from(([0, 0, 0, 0], 80));

        assert_eq!(reachable(every), SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(reachable(SocketAddr::from(([10, 0, 0, 1], 80))), SocketAddr::from(([10, 0, 0, 1], 80)));
    }
}
