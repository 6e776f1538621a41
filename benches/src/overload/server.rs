//! The server: one thread, on one core.

use std::{
    io::{self, BufRead, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::TcpListener;

use super::{protection::Handler, work::Work};

/// The server's core, and the driver's.
pub const CORES: [usize; 2] = [0, 1];

/// Keeps this thread on one core, and says whether the system let it.
pub fn keep_to(core: usize) -> bool {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).is_ok()
}

/// Serves until standard input ends; the port is printed on a line of its own.
///
/// # Errors
/// When no port can be listened on.
pub fn serve(handler: &Handler) -> io::Result<()> {
    keep_to(CORES[0]);
    std::thread::spawn(|| {
        // The driver is gone: so is the reason to serve.
        let _ended = io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let _best_effort = stream.set_nodelay(true);
            let service = TowerToHyperService::new(handler.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// A server as a child process; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts this program once more, as a server.
    ///
    /// # Errors
    /// When it does not start, or does not say where it listens.
    pub fn start(protection: &str, work: Work) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", protection, "--steps", &work.steps.to_string(), "--slices", &work.slices.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            io::BufReader::new(output).read_line(&mut line)?;
        }
        if let Ok(address) = line.trim().parse() {
            return Ok(Self { child, address });
        }
        child.kill()?;
        Err(io::Error::other("the server does not say where it listens"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
