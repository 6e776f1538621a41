//! Instances in this process, put together as the parent does.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use four_plane::link::{
    Ending, Endpoint, Fault, FaultKind, FromInstance, Instance, InstanceOptions, PressureMode, Reporter, Role,
    StateMode, StateParts, Topology,
};
use four_plane::services;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long anything may take in a test; on time it takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Instances that know each other.
pub(crate) struct Stack {
    options: InstanceOptions,
    topology: watch::Sender<Topology>,
    faults: watch::Sender<Vec<Fault>>,
    capacity: f64,
    running: Vec<Running>,
}

/// One instance.
pub(crate) struct Running {
    pub(crate) role: Role,
    pub(crate) number: u32,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) cache: Option<SocketAddr>,
    ending: watch::Sender<Ending>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Stack {
    /// Nothing yet, embedded state kept in `data`.
    pub(crate) fn new(data: &Path) -> Self {
        let options =
            InstanceOptions { data: data.to_owned(), state: StateMode::Embedded, ..InstanceOptions::default() };
        Self::with_options(options)
    }

    /// Nothing yet.
    pub(crate) fn with_options(options: InstanceOptions) -> Self {
        Self {
            options,
            topology: watch::Sender::new(Topology::default()),
            faults: watch::Sender::new(Vec::new()),
            capacity: 10_000.0,
            running: Vec::new(),
        }
    }

    /// Edges started from here on believe what requests say that they are worth.
    pub(crate) fn trust_criticality(&mut self) {
        self.options.trust_criticality = true;
    }

    /// Edges started from here on shed for what their process feels.
    pub(crate) fn feel_pressure(&mut self) {
        self.options.pressure = PressureMode::On;
    }

    /// Edges started from here on can do this many requests per second.
    pub(crate) fn set_capacity(&mut self, capacity: f64) {
        self.capacity = capacity;
    }

    /// Starts the instances of a role and waits until each listens.
    pub(crate) async fn start(&mut self, role: Role, count: u32) {
        for number in 1..=count {
            let (report, said) = Reporter::new();
            let (tell, ending) = watch::channel(Ending::NotYet);
            let instance = Instance {
                role,
                number,
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                capacity: self.capacity,
                options: self.options.clone(),
                topology: self.topology.subscribe(),
                faults: self.faults.subscribe(),
                ending,
                report,
            };
            let serving = tokio::spawn(services::serve(instance));
            let (listening, parts) = listening(said).await;
            let (service, admin, cache) = listening;
            self.topology.send_modify(|topology| {
                topology.endpoints.push(Endpoint { role, instance: number, address: service, cache, healthy: true });
                if parts.is_some() {
                    topology.state.clone_from(&parts);
                }
            });
            self.running.push(Running { role, number, service, admin, cache, ending: tell, serving });
        }
    }

    /// The instance.
    pub(crate) fn at(&self, role: Role, number: u32) -> &Running {
        self.running.iter().find(|running| (running.role, running.number) == (role, number)).expect("it was started")
    }

    /// Ends an instance at once, without a word to the others.
    pub(crate) fn kill(&mut self, role: Role, number: u32) {
        let place = self.running.iter().position(|running| (running.role, running.number) == (role, number));
        self.running.remove(place.expect("it was started")).serving.abort();
    }

    /// Adds an instance that is not one of ours.
    pub(crate) fn announce(&self, role: Role, instance: u32, address: SocketAddr) {
        self.topology.send_modify(|topology| {
            topology.endpoints.push(Endpoint { role, instance, address, cache: None, healthy: true });
        });
    }

    /// Takes an instance out of what the others know.
    pub(crate) fn forget(&self, role: Role, number: u32) {
        self.topology.send_modify(|topology| {
            topology.endpoints.retain(|endpoint| (endpoint.role, endpoint.instance) != (role, number));
        });
    }

    /// Replaces the faults.
    pub(crate) fn inject(&self, faults: &[(FaultKind, &str, f64)]) {
        let fault = |(id, (kind, target, value)): (u64, &(FaultKind, &str, f64))| Fault {
            id,
            kind: *kind,
            target: (*target).to_owned(),
            value: *value,
        };
        self.faults.send_replace((1..).zip(faults).map(fault).collect());
    }

    /// Drains an instance and waits for its end.
    pub(crate) async fn drain(&mut self, role: Role, number: u32) {
        let place = self.running.iter().position(|running| (running.role, running.number) == (role, number));
        let running = self.running.remove(place.expect("it was started"));
        running.ending.send_replace(Ending::Draining);
        let ended = tokio::time::timeout(PATIENCE, running.serving).await.expect("it ends in time");
        ended.expect("it does not panic").expect("it ends well");
    }

    /// What the instances know of each other.
    pub(crate) fn topology(&self) -> watch::Receiver<Topology> {
        self.topology.subscribe()
    }
}

type Listening = (SocketAddr, SocketAddr, Option<SocketAddr>);

async fn listening(mut said: mpsc::UnboundedReceiver<FromInstance>) -> (Listening, Option<StateParts>) {
    let mut state = None;
    let waiting = async {
        loop {
            match said.recv().await.expect("it listens before it ends") {
                FromInstance::Listening { service, admin, cache } => return (service, admin, cache),
                FromInstance::State(parts) => state = Some(parts),
                FromInstance::Event { .. } | FromInstance::Failed { .. } => {}
            }
        }
    };
    let listening = tokio::time::timeout(PATIENCE, waiting).await.expect("it listens in time");
    (listening, state)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's text, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// Sends a request on a connection of its own; fails when no whole answer comes.
pub(crate) async fn send(at: SocketAddr, request: http::Request<&'static str>) -> anyhow::Result<Answer> {
    use http_body_util::{BodyExt as _, Full};
    let stream = tokio::net::TcpStream::connect(at).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = request.map(|body| Full::new(bytes::Bytes::from_static(body.as_bytes())));
    request.headers_mut().insert("host", at.to_string().parse()?);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    drop(sender);
    connection.abort();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Gets a path.
pub(crate) async fn get(at: SocketAddr, path: &str) -> Answer {
    get_as(at, path, None).await
}

/// Gets a path as a user.
pub(crate) async fn get_as(at: SocketAddr, path: &str, user: Option<&str>) -> Answer {
    let mut request = http::Request::get(path);
    if let Some(user) = user {
        request = request.header("x-user", user);
    }
    let request = request.body("").expect("a request");
    let answer = tokio::time::timeout(PATIENCE, send(at, request)).await.expect("an answer in time");
    answer.expect("a whole answer")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}
