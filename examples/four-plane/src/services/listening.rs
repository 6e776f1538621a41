//! Listeners and connections that refuse and trickle as the faults say.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use super::faults::Faults;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;
/// Before another try where the system has no connection or socket to give: some will come back.
const BREATHER: Duration = Duration::from_millis(10);
/// So often a trickle drips.
const DRIP: Duration = Duration::from_millis(50);

/// Whether other processes listen on the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// This process alone.
    Own,
    /// Several processes: each gets a part of the new connections.
    Shared,
}

/// Listens on a port.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn listen(address: SocketAddr, port: Port) -> io::Result<TcpListener> {
    listening(bound(address, port)?)
}

fn bound(address: SocketAddr, port: Port) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(port == Port::Shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A listener that is not there while its faults say so.
#[derive(Debug)]
pub(crate) struct FaultyListener {
    standing: Standing,
    address: SocketAddr,
    port: Port,
    faults: Faults,
}

#[derive(Debug)]
enum Standing {
    Listening(TcpListener),
    /// Bound, so that the port is kept, and not listening, so that the system refuses who connects.
    Refusing(Socket),
    Gone,
}

impl FaultyListener {
    /// Of this listener, with these faults.
    ///
    /// # Errors
    /// When the listener has no address.
    pub(crate) fn new(listener: TcpListener, port: Port, faults: Faults) -> io::Result<Self> {
        Ok(Self { address: listener.local_addr()?, standing: Standing::Listening(listener), port, faults })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. What was begun stays when this is dropped and called again.
    pub(crate) async fn accept(&mut self) -> (FaultyStream, SocketAddr) {
        loop {
            match &self.standing {
                Standing::Listening(listener) => tokio::select! {
                    biased;
                    // The old socket is closed before another can be bound.
                    () = self.faults.refusing() => self.standing = Standing::Gone,
                    accepted = listener.accept() => match accepted {
                        // A connection that has ended already is found out by reading from it. Small answers would
                        // otherwise wait for the acknowledgement of those before.
                        Ok((stream, peer)) => {
                            let _best_effort = stream.set_nodelay(true);
                            return (FaultyStream::new(stream, self.faults.clone()), peer);
                        }
                        Err(_) => tokio::time::sleep(BREATHER).await,
                    },
                },
                Standing::Gone => match bound(self.address, self.port) {
                    Ok(socket) => self.standing = Standing::Refusing(socket),
                    Err(_) => tokio::time::sleep(BREATHER).await,
                },
                Standing::Refusing(_) => {
                    self.faults.accepting().await;
                    if let Standing::Refusing(socket) = std::mem::replace(&mut self.standing, Standing::Gone)
                        && let Ok(listener) = listening(socket)
                    {
                        self.standing = Standing::Listening(listener);
                    }
                }
            }
        }
    }
}

/// A connection that breaks or trickles while its faults say so.
#[derive(Debug)]
pub(crate) struct FaultyStream {
    stream: TcpStream,
    faults: Faults,
    /// Until the next drip.
    pause: Option<Pin<Box<Sleep>>>,
}

impl FaultyStream {
    const fn new(stream: TcpStream, faults: Faults) -> Self {
        Self { stream, faults, pause: None }
    }

    fn broken(&self) -> io::Result<()> {
        if self.faults.refuses() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// Writes as much of `bytes` as a trickle lets through until its next drip.
    fn drip(&mut self, cx: &mut Context<'_>, bytes: &[u8], rate: f64) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 50,000 bytes")]
        let most = ((rate * DRIP.as_secs_f64()) as usize).max(1).min(bytes.len());
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes.get(..most).unwrap_or(bytes)))?;
        let seconds = f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / rate;
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(DRIP);
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.broken()?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.broken()?;
        match self.faults.trickles_at() {
            Some(rate) => self.drip(cx, bytes, rate),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.broken()?;
        match self.faults.trickles_at() {
            Some(rate) => {
                let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                self.drip(cx, first, rate)
            }
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use seawall_core::{Clock as _, TokioClock};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::watch;

    use super::*;
    use crate::link::{Fault, FaultKind};

    fn fault(kind: FaultKind, value: f64) -> Vec<Fault> {
        vec![Fault { id: 1, kind, target: "cache".to_owned(), value }]
    }

    fn faulty() -> (watch::Sender<Vec<Fault>>, FaultyListener) {
        let (sender, active) = watch::channel(Vec::new());
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), Port::Own).unwrap();
        (sender, FaultyListener::new(listener, Port::Own, Faults::of_part(active, "cache")).unwrap())
    }

    #[tokio::test]
    async fn a_listener_that_refuses_is_not_there_and_is_back_on_its_port_afterwards() {
        let (faults, mut listener) = faulty();
        let address = listener.address();
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                kept.push(listener.accept().await);
            }
        });

        faults.send_replace(fault(FaultKind::Refuse, 0.0));
        let refused = async || {
            TcpStream::connect(address).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        // Until it has heard of the fault, connections are taken, and those that wait for it are reset.
        while !refused().await {
            tokio::task::yield_now().await;
        }

        faults.send_replace(Vec::new());
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        accepting.abort();
    }

    #[tokio::test]
    async fn a_connection_breaks_while_its_side_refuses() {
        let (faults, mut listener) = faulty();
        let address = listener.address();
        let (client, (mut served, _)) = tokio::join!(TcpStream::connect(address), listener.accept());
        let _client = client.unwrap();

        faults.send_replace(fault(FaultKind::Refuse, 0.0));

        assert_eq!(served.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(served.write(b"answer").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_takes_its_time_and_loses_nothing() {
        let (faults, mut listener) = faulty();
        let address = listener.address();
        let (client, (mut served, _)) = tokio::join!(TcpStream::connect(address), listener.accept());
        faults.send_replace(fault(FaultKind::Trickle, 100.0));
        let begin = TokioClock.now();

        served.write_all(&[7; 500]).await.unwrap();

        // All but the last drip has waited for its time.
        let took = TokioClock.now().since(begin);
        assert!((Duration::from_millis(4_900)..Duration::from_millis(5_600)).contains(&took), "{took:?}");
        let mut heard = [0; 500];
        client.unwrap().read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [7; 500]);
    }
}
