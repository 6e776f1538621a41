//! The control plane's routes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use seawall_core::Error;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::events::{Event, Severity};
use super::faults::{FaultError, FaultRequest};
use super::status::FaultStatus;
use super::{Control, describe};
use crate::link::{Fault, FaultKind};
use crate::services::figures;
use crate::services::metrics::{RequestMetrics, render};
use crate::services::problem::of_rejection;
use crate::{clock, page};

/// How many events may wait for a slow reader of the stream.
const STREAM: usize = 64;
/// Requests under way at most: people who look at the page, and scripts that ask.
const PLACES: u16 = 64;

/// Status, faults, events, health, metrics and the page.
///
/// # Errors
/// Never: the number of places is a constant that is allowed.
pub fn routes(control: Control) -> anyhow::Result<Router> {
    let own = Router::new()
        .route("/control/status", get(status))
        .route("/control/faults", get(list_faults).post(add_fault))
        .route("/control/faults/{id}", delete(remove_fault))
        .route("/control/events", get(events));
    let about_itself = Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(health))
        .route("/metrics", get(metrics));
    let nothing = async || problem(StatusCode::NOT_FOUND, "nothing is served here", &json!({}));
    let not_taken = async |method: Method, uri: Uri| {
        let detail = format!("{} does not take {method}", uri.path());
        problem(StatusCode::METHOD_NOT_ALLOWED, &detail, &json!({}))
    };
    let counts = RequestMetrics::new("control", "control");
    counts.limited_to(f64::from(PLACES));
    let places = BulkheadConfig::new(PLACES.into())?;
    let bulkhead = BulkheadLayer::new(places);
    // Who asks whether it is well, or how full it is, is never turned away.
    let bounded = page::routes().merge(own.with_state(control.clone()));
    let bounded = bounded.layer(middleware::from_fn_with_state(bulkhead, bounded_by));
    let all = bounded.merge(about_itself.with_state(control)).fallback(nothing).method_not_allowed_fallback(not_taken);
    Ok(all.layer(middleware::from_fn_with_state(counts, counted)))
}

/// At most so many at once; of a stream, until its head.
async fn bounded_by(State(bulkhead): State<BulkheadLayer>, request: Request, next: Next) -> Response {
    let answered = bulkhead.run(async { Ok::<_, Infallible>(next.run(request).await) }).await;
    answered.unwrap_or_else(|error| match error {
        Error::Rejected(rejection) => of_rejection(rejection),
        Error::Inner(never) => match never {},
    })
}

/// Counts a request like every instance does; of a stream, the time to its head.
async fn counted(State(counts): State<RequestMetrics>, request: Request, next: Next) -> Response {
    counts.entered();
    let mut counted = Counted { counts, begin: clock::since_start(), outcome: "error" };
    let response = next.run(request).await;
    counted.outcome = match response.status() {
        // The bulkhead's: nothing else here says so.
        StatusCode::SERVICE_UNAVAILABLE => "shed",
        status if status.is_server_error() => "error",
        _ => "ok",
    };
    response
}

/// Counts also when the caller goes away in the middle.
struct Counted {
    counts: RequestMetrics,
    begin: Duration,
    outcome: &'static str,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.left();
        self.counts.finished(self.outcome, clock::since_start().saturating_sub(self.begin));
    }
}

async fn status(State(control): State<Control>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(control.status())).into_response()
}

async fn list_faults(State(control): State<Control>) -> Response {
    let now = clock::since_start();
    Json(control.faults.active().iter().map(|active| FaultStatus::new(active, now)).collect::<Vec<_>>()).into_response()
}

async fn add_fault(State(control): State<Control>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => return problem(error.status(), &error.body_text(), &json!({})),
    };
    let request = match FaultRequest::read(&body) {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    let killed = match request.kind {
        FaultKind::Kill => match control.supervisor.kill(&request.target).await {
            Ok(name) => Some(name),
            Err(error) => return problem(StatusCode::CONFLICT, &error.to_string(), &json!({"field": "target"})),
        },
        _ => None,
    };
    let id = control.faults.add(&request, clock::since_start());
    let target = killed.unwrap_or_else(|| request.target.clone());
    let fault = Fault { id, kind: request.kind, target, value: request.value };
    control.events.add(Severity::Warn, "control", format!("{} was asked for", describe(&fault)));
    let seconds = if request.kind == FaultKind::Kill { 0.0 } else { request.duration.as_secs_f64() };
    let Fault { kind, target, value, .. } = fault;
    let answer = json!({"id": id, "kind": kind, "target": target, "value": value, "seconds": seconds});
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn remove_fault(State(control): State<Control>, Path(id): Path<String>) -> Response {
    let Some(fault) = id.parse().ok().and_then(|id| control.faults.remove(id)) else {
        let detail = format!("no fault {id:?} is active; GET /control/faults lists those that are");
        return problem(StatusCode::NOT_FOUND, &detail, &json!({"field": "id", "value": id}));
    };
    control.events.add(Severity::Info, "control", format!("{} was ended", describe(&fault)));
    StatusCode::NO_CONTENT.into_response()
}

/// Server-sent events: those after `Last-Event-ID` where it is given, then those that come.
async fn events(State(control): State<Control>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let (missed, mut live) = control.events.follow(last);
    let mut draining = control.draining.clone();
    let (send, receive) = mpsc::channel::<Result<sse::Event, Infallible>>(STREAM);
    tokio::spawn(async move {
        for event in missed {
            if send.send(Ok(message(&event))).await.is_err() {
                return;
            }
        }
        loop {
            let event = tokio::select! {
                event = live.recv() => event,
                _ = draining.wait_for(|draining| *draining) => return,
                () = send.closed() => return,
            };
            let taken = match event {
                Ok(event) => send.send(Ok(message(&event))).await.is_ok(),
                // A reader that is too slow sees from the ids that it missed some.
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => false,
            };
            if !taken {
                return;
            }
        }
    });
    Sse::new(Stream(receive)).keep_alive(KeepAlive::default()).into_response()
}

struct Stream(mpsc::Receiver<Result<sse::Event, Infallible>>);

impl futures_core::Stream for Stream {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

fn message(event: &Event) -> sse::Event {
    let message = sse::Event::default().id(event.id.to_string());
    // Writing numbers and texts as JSON cannot fail.
    serde_json::to_string(event).map_or_else(|_| sse::Event::default(), |text| message.data(text))
}

async fn health(State(control): State<Control>) -> Response {
    let roster = control.supervisor.roster();
    let healthy = roster.is_healthy();
    let instances = roster.members().iter().map(|member| {
        let output = member.health().name();
        (
            member.name(),
            json!([{"componentType": "component", "status": if output == "pass" { "pass" } else { "warn" }}]),
        )
    });
    let checks: serde_json::Map<String, Value> = instances.collect();
    // The control plane works while others do not: they are shown, and do not make it fail.
    let body = json!({
        "status": if healthy { "pass" } else { "warn" },
        "serviceId": "control",
        "checks": checks,
    });
    health_document(&body)
}

async fn live() -> Response {
    health_document(&json!({"status": "pass", "serviceId": "control"}))
}

fn health_document(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/health+json")], body.to_string()).into_response()
}

async fn metrics(State(control): State<Control>) -> Response {
    use std::fmt::Write as _;

    figures::read();
    let mut text = render();
    text.push_str("# HELP four_plane_instance_up Whether the instance passes its health checks.\n");
    text.push_str("# TYPE four_plane_instance_up gauge\n");
    let roster = control.supervisor.roster();
    for member in roster.members() {
        let up = u8::from(member.health().name() == "pass");
        // Writing into a string cannot fail.
        let _infallible = writeln!(text, "four_plane_instance_up{{instance=\"{}\"}} {up}", member.name());
    }
    text.push_str("# HELP four_plane_instance_restarts_total How often the instance was started anew.\n");
    text.push_str("# TYPE four_plane_instance_restarts_total counter\n");
    for member in roster.members() {
        let restarts = member.restarts();
        let _infallible =
            writeln!(text, "four_plane_instance_restarts_total{{instance=\"{}\"}} {restarts}", member.name());
    }
    let faults = control.faults.active().len();
    let _infallible = writeln!(
        text,
        "# HELP four_plane_active_faults Faults that are being injected.\n# TYPE four_plane_active_faults gauge\n\
         four_plane_active_faults {faults}"
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn refused(error: &FaultError) -> Response {
    let fields = json!({"field": error.field, "value": error.value, "allowed": error.allowed});
    problem(StatusCode::BAD_REQUEST, &error.to_string(), &fields)
}

/// An error as `application/problem+json` (RFC 9457), with fields of its own.
fn problem(status: StatusCode, detail: &str, fields: &Value) -> Response {
    let mut body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let (Some(body), Some(fields)) = (body.as_object_mut(), fields.as_object()) {
        body.extend(fields.clone());
    }
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
