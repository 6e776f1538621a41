//! Just as much of a `WebDriver` client as one page needs, as JSON over the HTTP client that four-plane has anyway: the
//! usual client would add 46 crates to every build of these tests.
//!
//! # Source
//! W3C `WebDriver`, <https://www.w3.org/TR/webdriver2/>; `se/log` and `goog/cdp/execute` are chromedriver's.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

const STARTED: Duration = Duration::from_secs(50);
/// Chromium writes nothing outside its profile, starts nothing in the background and asks nobody outside.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
];
/// What every script may use. `amount` is the first number of what a plane shows, times in milliseconds.
const SHORTHANDS: &str = "const q = (selector) => document.querySelector(selector); \
    const number = (selector) => Number(q(selector).textContent.replaceAll(',', '')); \
    const figure = (plane, name) => q(`[data-plane=\"${plane}\"] [data-sum=\"${name}\"] dd`)?.textContent ?? ''; \
    const amount = (plane, name) => parseFloat(figure(plane, name).replaceAll(',', '')) * (/[0-9] s$/.test(figure(plane, name)) ? 1000 : 1);";

/// One page in a browser of its own.
#[derive(Clone)]
pub(crate) struct Page {
    session: Arc<Session>,
}

struct Session {
    driver: Mutex<Child>,
    /// Kept open: a driver that cannot write its log stops.
    _log: BufReader<ChildStdout>,
    url: String,
    /// Removed with the session.
    _profile: TempDir,
}

impl Page {
    pub(crate) async fn open(address: &str) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed");
        let mut log = BufReader::new(driver.stdout.take().expect("its output is piped"));
        let port = timeout(STARTED, port(&mut log)).await.expect("chromedriver starts in time");
        let profile = TempDir::new().expect("the temporary folder can be written");
        let arguments: Vec<String> = ARGUMENTS
            .into_iter()
            .map(str::to_owned)
            .chain([format!("--user-data-dir={}", profile.path().display())])
            .collect();
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let root = format!("http://127.0.0.1:{port}/session");
        let answer = send(Method::POST, &root, &capabilities).await;
        let id = answer["sessionId"].as_str().expect("a session has an id");
        let session = Session { driver: Mutex::new(driver), _log: log, url: format!("{root}/{id}"), _profile: profile };
        let page = Self { session: Arc::new(session) };
        page.post("url", json!({"url": address})).await;
        page
    }

    /// Clicks as a user would: scrolled to, and only when nothing covers it.
    pub(crate) async fn press(&self, selector: &str) {
        let found = self.post("element", json!({"using": "css selector", "value": selector})).await;
        let element = found.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
        self.post(&format!("element/{}/click", element.expect("an element has an id")), json!({})).await;
    }

    /// Waits inside the page until the JavaScript `condition` is true.
    pub(crate) async fn wait(&self, what: &str, condition: &str, longest: Duration) {
        let script = format!(
            "{SHORTHANDS} const done = arguments[0]; const end = performance.now() + {longest}; \
             const look = () => {{ let met = false; try {{ met = {condition}; }} catch {{}} \
             if (met || performance.now() > end) done(met === true); else setTimeout(look, 100); }}; look();",
            longest = longest.as_millis(),
        );
        self.post("timeouts", json!({"script": longest.saturating_add(STARTED).as_secs().saturating_mul(1000)})).await;
        let met = self.post("execute/async", json!({"script": script, "args": []})).await;
        if met == Value::Bool(true) {
            return;
        }
        let text = self.run("document.body.innerText").await;
        panic!("not within {longest:?}: {what}; the page says\n{}", text.as_str().unwrap_or_default());
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("q('{selector}').textContent")).await;
        text.as_str().expect("an element has text").to_owned()
    }

    /// A data attribute, by its name in JavaScript; empty when it is not there.
    pub(crate) async fn data(&self, selector: &str, name: &str) -> String {
        let value = self.run(&format!("q('{selector}').dataset.{name} ?? ''")).await;
        value.as_str().expect("a data attribute is text").to_owned()
    }

    /// A whole number, from a JavaScript expression.
    pub(crate) async fn number(&self, expression: &str) -> i64 {
        let value = self.run(&format!("Math.trunc(Number({expression}))")).await;
        value.as_i64().unwrap_or_else(|| panic!("{expression} is no number but {value}"))
    }

    /// What a plane shows of a figure: its first number, in milliseconds where it is a time.
    pub(crate) async fn figure(&self, plane: &str, figure: &str) -> i64 {
        self.number(&format!("amount('{plane}', '{figure}')")).await
    }

    /// A count as it is shown.
    pub(crate) async fn count(&self, selector: &str) -> i64 {
        self.number(&format!("number('{selector}')")).await
    }

    pub(crate) async fn resize(&self, width: i64) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics});
        self.post("goog/cdp/execute", command).await;
    }

    pub(crate) async fn console_errors(&self) -> Vec<String> {
        let log = self.post("se/log", json!({"type": "browser"})).await;
        let entries = log.as_array().into_iter().flatten();
        entries.filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// Ends the browser, then its driver.
    pub(crate) async fn close(self) {
        send(Method::DELETE, &self.session.url, &Value::Null).await;
        let mut driver = self.session.driver.lock().await;
        driver.kill().await.expect("the driver can be stopped");
    }

    async fn run(&self, expression: &str) -> Value {
        let script = format!("{SHORTHANDS} return {expression};");
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        send(Method::POST, &format!("{}/{command}", self.session.url), &body).await
    }
}

/// chromedriver tells its port on a line of its own.
async fn port(log: &mut BufReader<ChildStdout>) -> u16 {
    let mut line = String::new();
    while log.read_line(&mut line).await.expect("its output can be read") > 0 {
        if let Some((_, port)) = line.trim_end_matches(['.', '\n']).split_once("successfully on port ") {
            return port.parse().expect("a port is a number");
        }
        line.clear();
    }
    panic!("chromedriver ended before it told its port");
}

async fn send(method: Method, url: &str, body: &Value) -> Value {
    let text = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .body(Full::new(text))
        .expect("a plain request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.expect("chromedriver answers");
    let status = response.status();
    let text = response.into_body().collect().await.expect("chromedriver answers in full").to_bytes();
    let answer: Value = serde_json::from_slice(&text).expect("chromedriver answers in JSON");
    assert!(status.is_success(), "{url}: {}: {}", answer["value"]["error"], answer["value"]["message"]);
    answer["value"].clone()
}
