//! Who goes first at the edge, and that everybody behind it knows.

mod support;

use axum::Router;
use axum::routing::any;
use four_plane::link::Role;
use http::{HeaderMap, Request};
use seawall_core::{Clock as _, MonotonicClock};
use support::{Stack, send};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const CRITICALITY: &str = "x-criticality";

/// An edge before a gateway that is not one of ours, and answers everything.
async fn edge_before(stack: &mut Stack, gateway: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    stack.announce(Role::Gateway, 1, listener.local_addr().expect("it is bound"));
    tokio::spawn(axum::serve(listener, gateway).into_future());
    stack.start(Role::Edge, 1).await;
    stack.at(Role::Edge, 1).service
}

#[tokio::test]
async fn everybody_behind_the_edge_is_told_what_a_request_is_worth() {
    let folder = tempfile::tempdir().unwrap();
    let (told, mut heard) = mpsc::unbounded_channel();
    let gateway = move |headers: HeaderMap| {
        told.send(headers.get_all(CRITICALITY).iter().cloned().collect::<Vec<_>>()).expect("somebody hears it");
        async { "{}" }
    };
    let mut stack = Stack::new(folder.path());
    let edge = edge_before(&mut stack, Router::new().fallback(any(gateway))).await;

    for (method, path, header, worth) in [
        ("POST", "/payments", None, "critical"),
        ("POST", "/payments", Some("nonsense"), "critical"),
        ("GET", "/payments", None, "default"),
        ("POST", "/payments/../feed/ann", None, "sheddable"),
        ("POST", "/payments/%2e%2e/catalog/popular", Some("critical"), "default"),
        ("GET", "/feed/ann", Some("critical"), "sheddable"),
        ("GET", "/catalog/popular", Some("degraded"), "degraded"),
        ("GET", "/catalog/popular", Some("nonsense"), "default"),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(header) = header {
            request = request.header(CRITICALITY, header);
        }
        assert_eq!(send(edge, request.body("").unwrap()).await.unwrap().status, 200);

        assert_eq!(heard.recv().await.unwrap(), [worth], "{path} {header:?}");
    }
}

#[tokio::test]
async fn no_critical_request_is_refused_while_sheddable_ones_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.set_capacity(20.0);
    stack.trust_criticality();
    let edge = edge_before(&mut stack, Router::new().fallback(any(async || "{}"))).await;
    let ask = move |worth: &'static str| async move {
        let request = Request::get("/catalog/popular").header(CRITICALITY, worth).body("").expect("a request");
        send(edge, request).await.expect("an answer").status
    };

    let burst: Vec<_> = (0..96).map(|_| tokio::spawn(ask("sheddable"))).collect();
    let critical: Vec<_> = (0..4).map(|_| tokio::spawn(ask("critical"))).collect();

    for answer in critical {
        assert_eq!(answer.await.unwrap(), 200);
    }
    let mut shed = 0_usize;
    for answer in burst {
        shed = shed.saturating_add(usize::from(answer.await.unwrap() == 503));
    }
    assert!((60..96).contains(&shed), "{shed}");
}

#[tokio::test]
async fn an_edge_under_pressure_refuses_what_matters_less_and_says_so_until_it_is_well_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.feel_pressure();
    let edge = edge_before(&mut stack, Router::new().fallback(any(async || "{}"))).await;
    let ask = async |method: &'static str, path: &'static str| {
        let request = Request::builder().method(method).uri(path).body("").expect("a request");
        send(edge, request).await.expect("an answer").status
    };
    support::until("the edge is well", async || ask("GET", "/feed/ann").await == 200).await;

    // The edge runs on this event loop, which somebody holds for longer than its second mark.
    let hold = std::time::Duration::from_millis(900);
    let start = MonotonicClock.now();
    while MonotonicClock.now().since(start) < hold {
        std::hint::spin_loop();
    }
    support::until("feed and recommendations are refused", async || {
        (ask("GET", "/feed/ann").await, ask("GET", "/recommendations/ann").await) == (503, 503)
    })
    .await;
    assert_eq!(ask("POST", "/payments").await, 200);

    support::until("the edge is well again", async || ask("GET", "/feed/ann").await == 200).await;
}
