//! The whole stack as its users and operators see it: real processes, real kills.

use std::path::Path;
use std::time::Duration;

use four_plane::client::{Client, ClientError};
use four_plane::config::RunOptions;
use four_plane::control::events::Events;
use four_plane::data;
use four_plane::supervisor::{Plan, Supervisor};
use four_plane::trial::{Stack, instance, items, service};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// How long something may take that a person would wait for.
const SOON: Duration = Duration::from_secs(30);

async fn start(arguments: &[&str]) -> Stack {
    Stack::start(Path::new(env!("CARGO_BIN_EXE_four-plane")), arguments).await.expect("the stack starts")
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())
}

async fn all_gone(pids: &[u32]) -> bool {
    let gone = async {
        while pids.iter().any(|pid| runs(*pid)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.is_ok()
}

fn pids(stack: &Stack) -> Vec<u32> {
    stack.ready().processes.iter().map(|process| process.pid).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_file_names_every_process_and_each_answers() {
    let stack = start(&["--load", "0"]).await;
    let ready = stack.ready();

    let count = |name: &str| ready.processes.iter().filter(|process| process.service == name).count();
    let counts = ["edge", "gateway", "catalog", "recommendation", "state", "control", "load"].map(count);
    assert_eq!(counts, [2, 2, 3, 3, 1, 1, 1]);
    assert!(pids(&stack).iter().all(|pid| runs(*pid)));
    let client = Client::new();
    for process in ready.processes.iter().filter(|process| !process.url.is_empty()) {
        for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
            let answer = client.get(&format!("{}{path}", process.url), SOON).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{} {path}", process.instance);
            if path.starts_with("/health") {
                assert_eq!(answer.header("content-type"), "application/health+json", "{} {path}", process.instance);
            }
        }
    }
    assert_eq!((ready.state.database.as_str(), ready.state.cache.as_str()), ("embedded", "embedded"));
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_serves_the_catalog() {
    let stack = start(&["--load", "0"]).await;
    let city = &data::cities()[0];

    let item = stack.get(&format!("/catalog/items/{}", city.id)).await.unwrap();
    let found = stack.get("/catalog/search?q=shanghai&limit=3").await.unwrap();
    let popular = stack.get("/catalog/popular").await.unwrap();
    let recommended = stack.get("/recommendations/u1").await.unwrap();
    let nothing = stack.get("/catalog/items/0").await.unwrap();

    assert_eq!((item.status, item.json()["name"].as_str()), (StatusCode::OK, Some(city.name.as_str())));
    assert!(item.header("x-served-by").starts_with("catalog/"), "{:?}", item.headers);
    assert_eq!(found.status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&found.body).contains("Shanghai"));
    assert_eq!((popular.status, recommended.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!((nothing.status, nothing.header("content-type")), (StatusCode::NOT_FOUND, "application/problem+json"));
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_instance_is_replaced_while_every_get_succeeds() {
    let stack = start(&["--load", "0"]).await;
    let before = stack.status().await.unwrap();
    let victim = "catalog/2";
    let paths: Vec<_> = data::cities().iter().take(50).map(|city| format!("/catalog/items/{}", city.id)).collect();

    let requests = async {
        let mut failed = Vec::new();
        for path in paths.iter().cycle().take(600) {
            match stack.get(path).await {
                Ok(answer) if answer.status == StatusCode::OK => {}
                other => failed.push(format!("{path}: {other:?}")),
            }
        }
        failed
    };
    let replaced = async {
        stack.inject(&json!({"kind": "kill", "target": victim})).await?;
        let pid = &instance(&before, victim)["pid"];
        let replaced = |status: &Value| {
            let now = instance(status, victim);
            now["health"] == "pass" && now["pid"] != *pid && now["restarts"] == 1
        };
        stack.until("the killed instance is replaced", SOON, replaced).await
    };
    let (failed, replaced) = tokio::join!(requests, replaced);

    let (status, _) = replaced.unwrap();
    assert!(failed.is_empty(), "{} failed, first {:?}", failed.len(), failed.first());
    let said =
        |text: &str| items(&status, "/events").any(|event| event["text"].as_str().is_some_and(|it| it.contains(text)));
    assert!(said("catalog/2 was killed") && said("kill of catalog/2 was asked for"), "{}", status["events"]);
    stack.stop().await.unwrap();
}

/// Asks whether it is ready over a connection of its own: nothing when there is none to be had.
async fn ready_on_a_new_connection(url: &str) -> Option<u16> {
    let authority = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(authority).await.ok()?;
    let request = format!("GET /health/ready HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_whitespace().nth(1)?.parse().ok()
}

/// Follows what new connections are told until there are none to be had, each answer once.
async fn told_until_closed(url: &str) -> Vec<u16> {
    let mut told = Vec::new();
    let following = async {
        while let Some(status) = ready_on_a_new_connection(url).await {
            if told.last() != Some(&status) {
                told.push(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, following).await.expect("it takes no more connections in the end");
    told
}

fn address<'a>(stack: &'a Stack, name: &str) -> (&'a str, u32) {
    let process = stack.ready().processes.iter().find(|process| process.instance == name).expect("it runs");
    (&process.url, process.pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_asked_to_end_tells_new_connections_before_it_takes_none() {
    let stack = start(&["--load", "20", "--drain-grace", "3"]).await;
    let (url, pid) = address(&stack, "catalog/2");
    let before = stack.status().await.unwrap();

    let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().await.unwrap();
    let told = told_until_closed(url).await;
    let replaced = |status: &Value| {
        let now = instance(status, "catalog/2");
        now["health"] == "pass" && now["pid"] != instance(&before, "catalog/2")["pid"]
    };
    let (after, _) = stack.until("another process takes its place", SOON, replaced).await.unwrap();

    assert!(asked.success());
    assert!(told == [503] || told == [200, 503], "{told:?}");
    assert_eq!(after["load"]["failed"], 0, "{}", after["load"]);
    let avoided = |event: &Value| event["text"] == "catalog/2 fails its health check";
    assert!(items(&after, "/events").any(avoided), "the grace is too short for a health check: {}", after["events"]);
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_asked_to_end_serves_new_connections_while_all_say_that_they_are_not_ready() {
    let mut stack = start(&["--load", "0", "--drain-grace", "3"]).await;
    let (edge, _) = address(&stack, "edge/1");
    let (state, _) = address(&stack, "state/1");
    let client = Client::new();
    let popular = format!("{}/catalog/popular", stack.ready().edge);

    stack.signal("TERM").await.unwrap();
    let unready = async {
        while ready_on_a_new_connection(edge).await != Some(503) || ready_on_a_new_connection(state).await != Some(503)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, unready).await.expect("they say so while they still listen");
    let served = client.get(&popular, SOON).await.unwrap();
    let told = told_until_closed(edge).await;
    let ended = stack.ended(SOON).await.unwrap();

    assert_eq!((served.status, told), (StatusCode::OK, vec![503]));
    assert_eq!(ended.code(), Some(0), "{}", stack.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_the_parent_is_killed() {
    let mut stack = start(&["--load", "20"]).await;
    let pids = pids(&stack);

    stack.kill().await.unwrap();

    assert!(all_gone(&pids).await, "{:?}", pids.iter().filter(|pid| runs(**pid)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_the_parent_is_killed_while_instances_hang_or_are_stopped() {
    let mut stack = start(&["--load", "0"]).await;
    let pids = pids(&stack);
    let (_, stopped) = address(&stack, "recommendation/1");
    stack.inject(&json!({"kind": "hang", "target": "catalog", "seconds": 600})).await.unwrap();
    let silent = |status: &Value| instance(status, "catalog/1")["health"] == "fail";
    stack.until("an instance does not answer its probes", SOON, silent).await.unwrap();
    let url = address(&stack, "catalog/1").0.to_owned();
    let asked = tokio::spawn(async move { Client::new().get(&format!("{url}/catalog/popular"), SOON).await });
    let under_way = |status: &Value| service(status, "catalog")["in_flight"].as_f64().is_some_and(|count| count > 0.0);
    stack.until("a call hangs", SOON, under_way).await.unwrap();
    let signal = async |name: &str| {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {stopped}")).output().await;
        sent.unwrap().status.success()
    };
    assert!(signal("STOP").await);

    stack.kill().await.unwrap();
    // Where its group was orphaned by that, the system has let it go on already.
    signal("CONT").await;

    assert!(all_gone(&pids).await, "{:?}", pids.iter().filter(|pid| runs(**pid)).collect::<Vec<_>>());
    assert!(asked.await.unwrap().is_err(), "what hung was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_stack_finishes_what_is_in_flight_and_exits_with_0() {
    for signals in [&["INT"][..], &["TERM"], &["INT", "INT"], &["INT", "TERM", "INT"]] {
        let mut stack = start(&["--load", "20"]).await;
        let pids = pids(&stack);
        stack.inject(&json!({"kind": "latency", "target": "gateway", "value": 700})).await.unwrap();
        let slow = stack.get("/catalog/popular");
        let interrupted = async {
            let in_flight =
                |status: &Value| service(status, "gateway")["in_flight"].as_f64().is_some_and(|count| count > 0.0);
            stack.until("a request is in flight", SOON, in_flight).await?;
            for signal in signals {
                stack.signal(signal).await?;
            }
            anyhow::Ok(())
        };

        let (slow, interrupted) = tokio::join!(slow, interrupted);
        interrupted.unwrap();
        let status = stack.ended(SOON).await.unwrap();

        assert_eq!(slow.unwrap().status, StatusCode::OK);
        assert_eq!(status.code(), Some(0), "{}", stack.said());
        assert!(all_gone(&pids).await);
        assert!(matches!(stack.get("/catalog/popular").await, Err(ClientError::Connect(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_once_more_after_a_while_does_not_wait_for_the_drain() {
    let mut stack = start(&["--load", "20", "--drain-grace", "50"]).await;
    let pids = pids(&stack);
    // A fault would end with the drain: what stops the gateways is no fault of ours.
    let gateways = stack.ready().processes.iter().filter(|process| process.service == "gateway");
    let gateways: Vec<_> = gateways.map(|process| process.pid.to_string()).collect();
    let signal = async |name: &str| {
        let command = format!("kill -{name} {}", gateways.join(" "));
        Command::new("sh").arg("-c").arg(command).status().await.unwrap().success()
    };
    assert!(signal("STOP").await);
    let url = format!("{}/catalog/popular", stack.ready().edge);
    let cut = tokio::spawn(async move { Client::new().get(&url, SOON).await });
    let under_way = |status: &Value| service(status, "edge")["in_flight"].as_f64().is_some_and(|count| count > 0.0);
    stack.until("a request is under way", SOON, under_way).await.unwrap();

    let asking = async {
        // Most of them come too soon; none can be sent to a process that has ended.
        while stack.signal("INT").await.is_ok() && !stack.said().contains("stopped without draining") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, asking).await.expect("it stops at once");

    let status = stack.ended(SOON).await.unwrap();
    signal("CONT").await;
    let said = stack.said();
    assert_eq!(status.code(), Some(1), "{said}");
    let count = said
        .lines()
        .find_map(|line| line.strip_prefix("four-plane: stopped without draining; requests that were cut: "));
    assert!(count.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count >= 1)), "{said}");
    assert!(cut.await.unwrap().is_err());
    assert!(all_gone(&pids).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_has_to_kill_an_instance_does_not_exit_with_0() {
    let mut stack = start(&["--load", "0", "--drain-grace", "0"]).await;
    let (_, stopped) = address(&stack, "catalog/1");
    let signal = async |name: &str| {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {stopped}")).status().await;
        sent.unwrap().success()
    };
    assert!(signal("STOP").await);

    stack.signal("TERM").await.unwrap();
    let status = stack.ended(SOON).await.unwrap();

    let said = stack.said();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("catalog/1 did not finish within 8 s; killed"), "{said}");
    assert!(said.contains("four-plane: instances that did not finish in time and were killed: 1;"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_cannot_be_started_again_says_which_file_is_wrong_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, "{}").unwrap();
    let stack = start(&["--load", "0", "--api-keys", keys.to_str().unwrap()]).await;

    std::fs::write(&keys, r#"{"ann": "open-sesame"}"#).unwrap();
    stack.inject(&json!({"kind": "kill", "target": "gateway/1"})).await.unwrap();
    let hidden = "ann is \"…\"; allowed is the SHA-256 of a key in 64 hexadecimal digits";
    let expected = format!("gateway/1 cannot serve: api_keys {}: {hidden}", keys.display());
    let told = |status: &Value| items(status, "/events").any(|event| event["text"] == expected.as_str());
    stack.until("the mistake is told", SOON, told).await.unwrap();
    std::fs::write(&keys, "{}").unwrap();
    let mended = |status: &Value| instance(status, "gateway/1")["health"] == "pass";

    stack.until("the instance is there again", SOON, mended).await.unwrap();
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_gone_is_named() {
    let events = Events::new();
    let (_, mut live) = events.follow(None);
    let options = RunOptions::default();
    let edge = options.listen;
    let plan = Plan::new("/nowhere/four-plane".into(), edge, options.capacity, options.instance);

    let _supervisor = Supervisor::start(plan, events);

    let first = tokio::time::timeout(SOON, live.recv()).await.expect("it is told").unwrap();
    let expected = "/1 cannot be started: /nowhere/four-plane: No such file or directory (os error 2)";
    assert!(first.text.ends_with(expected), "{}", first.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_cannot_be_injected_is_refused_with_field_value_and_what_is_allowed() {
    let stack = start(&["--load", "0"]).await;

    let refused =
        stack.control(Method::POST, "/control/faults", r#"{"kind": "burn", "target": "edge"}"#).await.unwrap();
    let unknown = stack.control(Method::DELETE, "/control/faults/77", "").await.unwrap();

    assert_eq!((refused.status, refused.header("content-type")), (StatusCode::BAD_REQUEST, "application/problem+json"));
    let body = refused.json();
    assert_eq!(
        body["detail"],
        "kind is \"burn\"; allowed is kill, latency, error, hang, refuse, trickle, flush, overload"
    );
    assert_eq!((&body["field"], &body["value"], &body["status"]), (&json!("kind"), &json!("\"burn\""), &json!(400)));
    assert_eq!((unknown.status, unknown.header("content-type")), (StatusCode::NOT_FOUND, "application/problem+json"));
    let too_long = format!("{{{}}}", " ".repeat(3_000_000));
    for (method, body, status) in
        [(Method::PUT, "", StatusCode::METHOD_NOT_ALLOWED), (Method::POST, &too_long, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        let answer = stack.control(method, "/control/faults", body).await.unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"));
    }
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_listed_until_it_is_ended_or_over() {
    let stack = start(&["--load", "0"]).await;
    let latency = json!({"kind": "latency", "target": "database", "value": 5, "seconds": 60});

    let ended = stack.inject(&latency).await.unwrap();
    let listed = stack.status().await.unwrap();
    stack.end_fault(ended).await.unwrap();
    let over = stack.inject(&json!({"kind": "hang", "target": "cache", "seconds": 0.2})).await.unwrap();
    let none = stack.until("no fault is active", SOON, |status| items(status, "/faults").count() == 0).await;

    let fault = items(&listed, "/faults").next().unwrap();
    assert_eq!((&fault["id"], &fault["target"], &fault["value"]), (&json!(ended), &json!("database"), &json!(5.0)));
    assert!(over > ended);
    let texts: Vec<String> = items(&none.unwrap().0, "/events").map(|event| event["text"].to_string()).collect();
    assert!(texts[0].contains("hang of cache is over"), "{texts:?}");
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_load_is_counted_and_steered_by_the_overload_fault() {
    let stack = start(&["--load", "40"]).await;

    let serves = |status: &Value| status["load"]["ok"].as_u64().is_some_and(|ok| ok >= 40);
    let (status, _) = stack.until("the load is answered", SOON, serves).await.unwrap();
    let id = stack.inject(&json!({"kind": "overload", "target": "edge", "value": 0.2})).await.unwrap();
    let raised = stack.until("the load is raised", SOON, |status| status["load"]["target_rps"] == 100.0).await;
    stack.end_fault(id).await.unwrap();
    let lowered = stack.until("the load is as before", SOON, |status| status["load"]["target_rps"] == 40.0).await;

    assert_eq!(status["load"]["failed"], 0, "{}", status["load"]);
    raised.unwrap();
    lowered.unwrap();
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_four_planes() {
    let stack = start(&["--load", "40"]).await;

    let busy = |status: &Value| {
        ["edge", "gateway", "catalog"]
            .iter()
            .all(|name| service(status, name)["rps"].as_f64().is_some_and(|rps| rps > 5.0))
    };
    let (status, _) = stack.until("figures are there", SOON, busy).await.unwrap();

    let planes: Vec<_> = items(&status, "/planes").map(|plane| plane["plane"].as_str().unwrap_or_default()).collect();
    assert_eq!(planes, ["edge", "service", "state", "control"]);
    assert!(service(&status, "edge")["p99_ms"].as_f64().is_some_and(|p99| p99 > 0.0), "{status}");
    assert_eq!(instance(&status, "edge/1")["health"], "pass");
    assert_eq!(status["edge"], stack.ready().edge.as_str());
    stack.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_stack_shares_is_in_use() {
    let first = start(&["--load", "0"]).await;
    let address = first.ready().edge.trim_start_matches("http://").to_owned();

    let mut second = Command::new(env!("CARGO_BIN_EXE_four-plane"));
    second.args(["run", "--state", "embedded", "--listen", &address]).kill_on_drop(true);
    let second = tokio::time::timeout(SOON, second.output()).await.expect("the second stack ends").unwrap();

    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.starts_with(&format!("four-plane: listen {address}: Address already in use")), "{said}");
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_another_stack_uses_is_in_use_until_that_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let mut first = start(&["--load", "0", "--data", data]).await;

    let mut second = Command::new(env!("CARGO_BIN_EXE_four-plane"));
    second.args(["run", "--state", "embedded", "--listen", "127.0.0.1:0", "--data", data]).kill_on_drop(true);
    let second = tokio::time::timeout(SOON, second.output()).await.expect("the second stack ends").unwrap();

    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert_eq!(said, format!("four-plane: data {data}: another four-plane uses this folder; choose another one\n"));
    first.kill().await.unwrap();
    start(&["--load", "0", "--data", data]).await.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_streamed_and_the_stream_ends_when_the_stack_drains() {
    let mut stack = start(&["--load", "0"]).await;
    let authority = stack.ready().control.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let request = format!("GET /control/events HTTP/1.1\r\nhost: {authority}\r\nlast-event-id: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();

    read_until(&mut stream, &mut seen, "every instance answers").await;
    let fault = stack.inject(&json!({"kind": "latency", "target": "cache", "value": 1})).await.unwrap();
    read_until(&mut stream, &mut seen, "latency of 1 ms on cache was asked for").await;
    stack.end_fault(fault).await.unwrap();
    stack.signal("TERM").await.unwrap();
    let ended = stack.ended(SOON).await.unwrap();

    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    assert!(seen.contains("\nid: 1\n") || seen.contains("id: 1\r\n"), "{seen}");
    assert_eq!(ended.code(), Some(0), "{}", stack.said());
    assert!(!stack.said().contains("did not finish"), "{}", stack.said());
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, text: &str) {
    let reading = async {
        let mut piece = [0; 1024];
        while !seen.contains(text) {
            let length = stream.read(&mut piece).await.expect("the stream goes on");
            assert_ne!(length, 0, "the stream ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("the event comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_command_reports_what_became_of_its_requests() {
    let stack = start(&["--load", "0"]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_four-plane"));
    command.args(["load", "--url", &stack.ready().edge, "--rps", "40", "--seconds", "3", "--json"]);

    let output = command.output().await.unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!((80..160).contains(&count("sent")), "{report}");
    assert_eq!(count("sent"), ["ok", "degraded", "shed", "failed"].into_iter().map(count).sum::<u64>(), "{report}");
    assert_eq!(count("failed"), 0, "{report}");
    assert_eq!(report["statuses"]["200"].as_u64(), Some(count("sent")), "{report}");
    assert!(report["p50_ms"].as_f64() <= report["p99_ms"].as_f64(), "{report}");
    stack.stop().await.unwrap();
}

/// A process and all below it.
#[cfg(feature = "servers")]
fn family(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; behind it come the state and the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    let all: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        family.extend(all.iter().filter(|child| parent(**child) == Some(pid)));
        next = next.saturating_add(1);
    }
    family
}

#[cfg(feature = "servers")]
#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_left_behind_however_the_parent_ends() {
    for signal in ["KILL", "INT"] {
        let mut stack = start(&["--state", "auto", "--load", "20"]).await;
        let family = family(stack.pid());
        let named = |name: &str| {
            let command = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            family.iter().any(|pid| command(pid).starts_with(name))
        };
        assert!(named("postgres") && named("redis-server"), "PostgreSQL and Redis are not among {family:?}");

        stack.signal(signal).await.unwrap();
        stack.ended(SOON).await.unwrap();

        let left = || family.iter().filter(|pid| runs(**pid)).collect::<Vec<_>>();
        assert!(all_gone(&family).await, "{signal} left {:?}", left());
    }
}
