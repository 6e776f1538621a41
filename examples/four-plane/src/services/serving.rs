//! What every role has.

use axum::{Router, routing::get};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::link::{Instance, Role};

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listener on a port that several processes share: each gets a part of the new connections.
///
/// # Errors
/// When the address cannot be bound.
pub fn shared_listener(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers the health paths until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn health_only(mut instance: Instance) -> anyhow::Result<()> {
    let service = if instance.role == Role::Edge {
        shared_listener(instance.listen)?
    } else {
        TcpListener::bind(instance.listen).await?
    };
    let admin = TcpListener::bind("127.0.0.1:0").await?;
    instance.report.listening(service.local_addr()?, admin.local_addr()?, None);
    let routes = Router::new()
        .route("/health", get(async || "{\"status\":\"pass\"}"))
        .route("/health/live", get(async || "{\"status\":\"pass\"}"))
        .route("/health/ready", get(async || "{\"status\":\"pass\"}"));
    let mut drain = instance.drain.clone();
    let serving = axum::serve(service, routes.clone()).with_graceful_shutdown(async move {
        let _gone = drain.wait_for(|drain| *drain).await;
    });
    let answering = axum::serve(admin, routes).with_graceful_shutdown(async move {
        let _gone = instance.drain.wait_for(|drain| *drain).await;
    });
    tokio::try_join!(serving.into_future(), answering.into_future())?;
    Ok(())
}
