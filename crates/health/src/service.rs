use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use seawall_core::{Env, Environment};
use tower_service::Service;

use crate::{Answer, Health};

/// Answers `/health`, `/health/live`, `/health/ready` and `/health/startup`, and the same as Kubernetes names them:
/// `/healthz`, `/livez`, `/readyz`, `/startupz`. Any other path is 404, any method but GET and HEAD 405.
///
/// # Examples
/// ```
/// use http::{Request, StatusCode};
/// use seawall_health::{HealthService, Registry};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let health = Registry::new().spawn(|task| {
///     tokio::spawn(task);
/// });
/// let service = HealthService::new(health);
///
/// let answer = service.oneshot(Request::get("/health/ready").body(()).unwrap()).await.unwrap();
///
/// assert_eq!(answer.status(), StatusCode::OK);
/// assert_eq!(answer.headers()["content-type"], "application/health+json");
/// # }
/// ```
#[derive(Debug)]
pub struct HealthService<E: Environment = Env> {
    health: Health<E>,
}

impl<E: Environment> HealthService<E> {
    /// A service that answers from `health`.
    pub const fn new(health: Health<E>) -> Self {
        Self { health }
    }

    fn answer(&self, path: &str) -> Option<Answer> {
        let report = || self.health.report();
        match path {
            "/health" | "/healthz" => Some(report().answer()),
            "/health/live" | "/livez" => Some(report().live_answer()),
            "/health/ready" | "/readyz" => Some(report().ready_answer()),
            "/health/startup" | "/startupz" => Some(report().startup_answer()),
            _ => None,
        }
    }
}

impl<E: Environment> Clone for HealthService<E> {
    fn clone(&self) -> Self {
        Self { health: self.health.clone() }
    }
}

impl<B, E: Environment> Service<Request<B>> for HealthService<E> {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(respond(self, request.method(), request.uri().path())))
    }
}

fn respond<E: Environment>(service: &HealthService<E>, method: &Method, path: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    let Some(answer) = service.answer(path) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let headers = response.headers_mut();
    if method != Method::GET && method != Method::HEAD {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Answer::CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if method == Method::GET {
        *response.body_mut() = answer.body;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckConfig, CheckKind, Registry};

    fn status(service: &HealthService, method: &Method, path: &str) -> (u16, usize) {
        let response = respond(service, method, path);
        (response.status().as_u16(), response.body().len())
    }

    #[test]
    fn each_probe_has_its_path_and_both_its_names() {
        let mut checks = Registry::new();
        let never_runs = || async { Ok::<_, Infallible>(()) };
        checks.register("ready", CheckConfig::application(), never_runs).unwrap();
        checks.register("live", CheckConfig::new(CheckKind::Liveness), never_runs).unwrap();
        let service = HealthService::new(checks.spawn(drop));

        for (path, expected) in [
            ("/health", 503),
            ("/healthz", 503),
            ("/health/live", 200),
            ("/livez", 200),
            ("/health/ready", 503),
            ("/readyz", 503),
            ("/health/startup", 200),
            ("/startupz", 200),
        ] {
            let (get, body) = status(&service, &Method::GET, path);
            assert_eq!((get, body > 0), (expected, true), "{path}");
            assert_eq!(status(&service, &Method::HEAD, path), (expected, 0), "{path}");
            assert_eq!(status(&service, &Method::POST, path), (405, 0), "{path}");
        }
        assert_eq!(status(&service, &Method::GET, "/health/"), (404, 0));
    }
}
