//! Every path of every role, over HTTP, and what is answered when a part does not.

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;

use four_plane::data;
use four_plane::link::{FaultKind, Role};
use serde_json::json;
use support::{Answer, Stack, get, get_as, send, until};

async fn whole_stack(data: &std::path::Path) -> Stack {
    let mut stack = Stack::new(data);
    stack.start(Role::State, 1).await;
    stack.start(Role::Catalog, 3).await;
    stack.start(Role::Recommendation, 2).await;
    stack.start(Role::Gateway, 2).await;
    stack.start(Role::Edge, 1).await;
    stack
}

async fn in_folder() -> (tempfile::TempDir, Stack, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = whole_stack(folder.path()).await;
    let edge = stack.at(Role::Edge, 1).service;
    (folder, stack, edge)
}

fn assert_problem(answer: &Answer, status: u16, detail: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(status), &json!(detail)));
}

async fn item(edge: SocketAddr, id: u32) -> Answer {
    get_as(edge, &format!("/catalog/items/{id}"), Some("ann")).await
}

#[tokio::test]
async fn an_item_is_answered_through_all_planes_and_then_from_the_cache() {
    let (_folder, _stack, edge) = in_folder().await;

    let first = get(edge, "/catalog/items/1796236").await;
    let second = get(edge, "/catalog/items/1796236").await;

    assert_eq!((first.status, first.header("x-cache")), (200, "miss"));
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.json(), serde_json::to_value(&data::cities()[0]).unwrap());
    assert_eq!(first.header("x-seawall-degraded"), "");
    assert!(first.header("x-served-by").starts_with("catalog/"), "{first:?}");
    assert_eq!((second.status, second.header("x-cache"), second.header("age")), (200, "hit", "0"));
    assert_eq!(second.json(), first.json());
}

#[tokio::test]
async fn a_head_says_how_long_the_answer_to_a_get_would_be() {
    let (_folder, _stack, edge) = in_folder().await;
    let path = "/catalog/items/1796236";
    let whole = get(edge, path).await;

    let head = send(edge, http::Request::head(path).body("").unwrap()).await.unwrap();

    assert_eq!((head.status, head.header("content-length")), (200, whole.header("content-length")));
    assert!(whole.header("content-length").parse::<usize>().unwrap() > 0, "{whole:?}");
}

#[tokio::test]
async fn what_is_seen_is_popular_and_what_is_seen_together_is_recommended() {
    let (_folder, _stack, edge) = in_folder().await;
    let cities = data::cities();
    let (here, there) = (&cities[50], &cities[60]);

    for (user, city) in [("ann", here), ("ann", there), ("bob", here)] {
        assert_eq!(get_as(edge, &format!("/catalog/items/{}", city.id), Some(user)).await.status, 200);
    }

    until("bob is shown what ann saw", async || {
        let answer = get(edge, "/recommendations/bob").await;
        answer.json()["items"] == json!([{ "item": there, "count": 1 }])
    })
    .await;
    until("the item that was seen most comes first", async || {
        let popular = get(edge, "/catalog/popular?limit=3").await.json();
        popular["items"][0] == json!({ "item": here, "count": 2 }) && popular["items"].as_array().unwrap().len() == 3
    })
    .await;
    let stranger = get(edge, "/recommendations/zoe?limit=2").await;
    assert_eq!((stranger.status, stranger.header("x-seawall-degraded")), (200, ""));
    assert_eq!(stranger.json()["basis"], "popular");
    assert_eq!(stranger.json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn search_ignores_case_and_accents_and_its_spellings_share_a_cache_entry() {
    let (_folder, _stack, edge) = in_folder().await;

    let first = get(edge, "/catalog/search?q=S%C3%83O%20PAULO&limit=2").await;
    let second = get(edge, "/catalog/search?q=sao+paulo&limit=2").await;

    assert_eq!((first.status, first.header("x-cache")), (200, "miss"));
    assert_eq!(first.json()["items"][0]["name"], "São Paulo");
    assert_eq!((second.header("x-cache"), &second.json()["query"]), ("hit", &json!("sao paulo")));
    assert_eq!(second.json()["items"], first.json()["items"]);
    assert_eq!(get(edge, "/catalog/search?q=zzzzqq").await.json()["items"], json!([]));
    assert_eq!(get(edge, "/catalog/search?q=a").await.json()["items"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn mistakes_are_answered_as_problems_that_say_what_is_allowed() {
    let (_folder, _stack, edge) = in_folder().await;
    let query = "allowed is a part of a name, with a letter or digit, up to 200 bytes";
    let long = "x".repeat(201);

    for (path, status, detail) in [
        ("/catalog/items/1", 404, "there is no item 1".to_owned()),
        ("/catalog/items/x", 400, "the item's id is \"x\"; allowed is a whole number from 0 to 4294967295".to_owned()),
        (
            "/catalog/items/4294967296",
            400,
            "the item's id is \"4294967296\"; allowed is a whole number from 0 to 4294967295".to_owned(),
        ),
        ("/catalog/search", 400, format!("q is \"\"; {query}")),
        ("/catalog/search?q=%21", 400, format!("q is \"!\"; {query}")),
        (&format!("/catalog/search?q={long}"), 400, format!("q is {long:?}; {query}")),
        ("/catalog/search?q=a&limit=0", 400, "limit is \"0\"; allowed is 1 to 100".to_owned()),
        ("/catalog/popular?limit=101", 400, "limit is \"101\"; allowed is 1 to 100".to_owned()),
        ("/recommendations/ann?limit=0", 400, "limit is \"0\"; allowed is 1 to 100".to_owned()),
        ("/recommendations/a%20b", 400, "the user is \"a b\"; allowed is 1 to 64 visible ASCII characters".to_owned()),
        ("/catalog/nothing", 404, "nothing is at /catalog/nothing".to_owned()),
        ("/nothing", 404, "nothing is at /nothing".to_owned()),
        ("/", 404, "nothing is at /".to_owned()),
    ] {
        assert_problem(&get(edge, path).await, status, &detail);
    }
    let limit = get(edge, "/catalog/popular?limit=many").await;
    assert_eq!((limit.status, limit.header("content-type")), (400, "application/problem+json"));
    let post = send(edge, http::Request::post("/catalog/popular").body("{}").unwrap()).await.unwrap();
    assert_problem(&post, 405, "/catalog/popular does not take POST");
    let large = http::Request::post("/catalog/popular").header("content-length", 2_000_000).body("").unwrap();
    if let Ok(refused) = send(edge, large).await {
        assert_problem(&refused, 413, "the body is longer than 1 MiB");
    }
}

#[tokio::test]
async fn every_process_tells_its_health_and_its_figures() {
    let (_folder, stack, edge) = in_folder().await;
    assert_eq!(get(edge, "/catalog/popular").await.status, 200);

    for (role, name) in [
        (Role::State, "state/1"),
        (Role::Catalog, "catalog/1"),
        (Role::Recommendation, "recommendation/1"),
        (Role::Gateway, "gateway/1"),
        (Role::Edge, "edge/1"),
    ] {
        let admin = stack.at(role, 1).admin;
        for path in ["/health", "/health/live", "/health/ready"] {
            let answer = get(admin, path).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, "application/health+json"),
                "{name}{path}"
            );
            assert_eq!(answer.json()["serviceId"], name);
        }
        let metrics = get(admin, "/metrics").await;
        assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
        let labels = format!("four_plane_in_flight{{service=\"{role}\",instance=\"{name}\"}}");
        assert!(metrics.text().contains(&labels), "{labels} in {}", metrics.text());
        for line in metrics.text().lines().filter(|line| line.starts_with("# TYPE ")) {
            let help = line.replace("# TYPE ", "# HELP ");
            let help = help.trim_end_matches(|letter| letter != ' ');
            assert!(metrics.text().contains(help), "{help:?} is missing: {name}");
        }
    }
    let metrics = get(stack.at(Role::Edge, 1).admin, "/metrics").await;
    for figure in [
        "four_plane_requests_total{service=\"edge\",instance=\"edge/1\",outcome=\"ok\"}",
        "four_plane_request_duration_seconds_bucket{service=\"database\",instance=\"state/1\",le=\"0.0005\"}",
        "four_plane_cache_requests_total{service=\"catalog\",instance=\"catalog/",
        "seawall_circuit_breaker_state{name=\"catalog\",state=\"closed\"} 1",
        "seawall_circuit_breaker_state{name=\"database\",state=\"open\"} 0",
        "seawall_retry_attempts_total{name=\"recommendation\"}",
        "four_plane_limit{service=\"edge\",instance=\"edge/1\"}",
        "four_plane_waiting{service=\"edge\",instance=\"edge/1\"} 0",
    ] {
        assert!(metrics.text().contains(figure), "{figure} in {}", metrics.text());
    }
}

#[tokio::test]
async fn a_flushed_cache_is_filled_again() {
    let (_folder, stack, edge) = in_folder().await;
    let page = "/catalog/items/1796236";
    let cached = async || get(edge, page).await.header("x-cache").to_owned();
    assert_eq!((cached().await, cached().await), ("miss".to_owned(), "hit".to_owned()));

    stack.inject(&[(FaultKind::Flush, "cache", 0.0)]);

    until("the cache has forgotten it", async || cached().await == "miss").await;
    assert_eq!(cached().await, "hit", "while the fault is still there: it is emptied once");
}

#[tokio::test]
async fn an_instance_that_dies_costs_no_request() {
    let (_folder, mut stack, edge) = in_folder().await;
    let mut served_by = HashSet::new();

    for (turn, city) in (0_u32..).zip(&data::cities()[..300]) {
        match turn {
            100 => stack.kill(Role::Catalog, 1),
            120 => stack.forget(Role::Catalog, 1),
            _ => {}
        }
        let answer = get(edge, &format!("/catalog/items/{}", city.id)).await;
        assert_eq!((answer.status, answer.header("x-seawall-degraded")), (200, ""), "{turn}: {answer:?}");
        if turn >= 100 {
            served_by.insert(answer.header("x-served-by").to_owned());
        }
    }

    assert_eq!(served_by, HashSet::from(["catalog/2".to_owned(), "catalog/3".to_owned()]));
}

#[tokio::test]
async fn an_instance_that_answers_with_errors_costs_no_request() {
    let (_folder, stack, edge) = in_folder().await;
    stack.inject(&[(FaultKind::Error, "catalog/2", 1.0)]);

    for city in &data::cities()[..30] {
        assert_eq!(get(edge, &format!("/catalog/items/{}", city.id)).await.status, 200);
    }
}

#[tokio::test]
async fn what_waits_for_the_database_is_in_flight_there() {
    let (_folder, stack, edge) = in_folder().await;
    let admin = stack.at(Role::State, 1).admin;
    let in_flight = async || {
        let metrics = get(admin, "/metrics").await;
        let figure = "four_plane_in_flight{service=\"database\",instance=\"state/1\"} ";
        let figure = metrics.text().lines().find_map(|line| line.strip_prefix(figure)).expect("it is counted");
        figure.parse::<f64>().expect("a number")
    };
    stack.inject(&[(FaultKind::Hang, "database", 0.0)]);

    assert_eq!(item(edge, data::cities()[7].id).await.status, 200);
    until("questions wait for the database", async || in_flight().await >= 1.0).await;
    stack.inject(&[]);

    until("all questions are answered", async || in_flight().await == 0.0).await;
}

#[tokio::test]
async fn a_database_that_hangs_opens_the_breaker_and_the_snapshot_answers_until_it_is_back() {
    let (_folder, stack, edge) = in_folder().await;
    stack.inject(&[(FaultKind::Latency, "database", 500.0)]);
    // All instances share this process's counters, so the refusals are counted, not the states.
    let open = "seawall_circuit_breaker_rejections_total{name=\"database\",reason=\"circuit_open\"}";
    let admin = stack.at(Role::Catalog, 1).admin;
    let mut cities = data::cities().chunks(8);

    until("a breaker before the database is open", async || {
        let asked: Vec<_> =
            cities.next().unwrap().iter().map(|city| (city, tokio::spawn(item(edge, city.id)))).collect();
        for (city, answer) in asked {
            let answer = answer.await.unwrap();
            assert_eq!((answer.status, answer.json()), (200, serde_json::to_value(city).unwrap()), "{answer:?}");
        }
        get(admin, "/metrics").await.text().contains(open)
    })
    .await;
    let degraded = get(edge, "/catalog/search?q=berlin").await;
    assert_eq!((degraded.status, degraded.header("x-seawall-degraded")), (200, "snapshot"));
    assert_eq!(degraded.json()["items"][0]["id"], 2_950_159);

    stack.inject(&[]);
    until("the database answers again", async || {
        let answer = item(edge, cities.next().unwrap()[0].id).await;
        answer.status == 200 && answer.header("x-seawall-degraded").is_empty() && answer.header("x-cache") == "miss"
    })
    .await;
}

#[tokio::test]
async fn without_a_database_recommendations_are_what_is_popular() {
    let (_folder, stack, edge) = in_folder().await;
    assert_eq!(get(edge, "/recommendations/ann").await.status, 200);

    stack.inject(&[(FaultKind::Error, "database", 1.0)]);
    let answer = get(edge, "/recommendations/bob").await;

    assert_eq!((answer.status, answer.header("x-seawall-degraded")), (200, "popular"), "{answer:?}");
    assert_eq!(answer.json()["basis"], "popular");
}

#[tokio::test]
async fn without_database_and_cache_recommendations_come_from_the_catalog() {
    let (_folder, stack, edge) = in_folder().await;
    stack.inject(&[(FaultKind::Error, "database", 1.0), (FaultKind::Error, "cache", 1.0)]);

    let answer = get(edge, "/recommendations/bob").await;

    assert_eq!((answer.status, answer.header("x-seawall-degraded")), (200, "catalog"), "{answer:?}");
    assert_eq!(answer.json()["items"][0]["item"]["id"], data::cities()[0].id);
}

#[tokio::test]
async fn a_cache_that_does_not_answer_is_bypassed() {
    let (_folder, stack, edge) = in_folder().await;
    stack.inject(&[(FaultKind::Error, "cache", 1.0)]);

    let answer = get(edge, "/catalog/items/1796236").await;

    assert_eq!((answer.status, answer.header("x-cache")), (200, "bypass"), "{answer:?}");
    assert_eq!(answer.header("x-seawall-degraded"), "");
}

#[tokio::test]
async fn without_a_service_the_gateway_answers_with_what_it_answered_last() {
    let (_folder, mut stack, _) = in_folder().await;
    let gateway = stack.at(Role::Gateway, 1).service;
    let known = get(gateway, "/catalog/items/1796236").await;
    assert_eq!(get(gateway, "/recommendations/ann").await.status, 200);
    assert_eq!(get(gateway, "/catalog/popular").await.status, 200);
    for number in 1..=2 {
        stack.kill(Role::Recommendation, number);
    }

    let stale = get(gateway, "/recommendations/ann").await;
    assert_eq!((stale.status, stale.header("x-seawall-degraded")), (200, "gateway-cache"), "{stale:?}");
    assert_eq!((stale.header("x-cache"), stale.header("age")), ("stale", "0"));
    let stranger = get(gateway, "/recommendations/bob?limit=3").await;
    assert_eq!((stranger.status, stranger.header("x-seawall-degraded")), (200, "catalog"), "{stranger:?}");
    assert_eq!((&stranger.json()["user"], &stranger.json()["basis"]), (&json!("bob"), &json!("popular")));
    assert_eq!(stranger.json()["items"].as_array().unwrap().len(), 3);

    for number in 1..=3 {
        stack.kill(Role::Catalog, number);
    }
    let stale = get(gateway, "/catalog/items/1796236").await;
    assert_eq!((stale.status, stale.header("x-seawall-degraded")), (200, "gateway-cache"), "{stale:?}");
    assert_eq!(stale.json(), known.json());
    let unknown = get(gateway, "/catalog/items/745044").await;
    assert_eq!((unknown.status, unknown.header("content-type")), (502, "application/problem+json"), "{unknown:?}");
}

#[tokio::test]
async fn an_edge_without_gateways_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.start(Role::Edge, 1).await;

    let answer = get(stack.at(Role::Edge, 1).service, "/catalog/popular").await;

    assert_problem(&answer, 502, "no instance of gateway is up");
    assert_eq!(answer.header("x-served-by"), "edge/1");
}

#[tokio::test]
async fn more_than_an_edge_can_do_is_shed_at_once_with_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.set_capacity(20.0);
    for (role, count) in [(Role::State, 1), (Role::Catalog, 1), (Role::Gateway, 1), (Role::Edge, 1)] {
        stack.start(role, count).await;
    }
    let edge = stack.at(Role::Edge, 1).service;

    let burst: Vec<_> = (0..100).map(|_| tokio::spawn(get(edge, "/catalog/popular"))).collect();
    let mut shed = 0_usize;
    for answer in burst {
        let answer = answer.await.unwrap();
        if answer.status == 200 {
            continue;
        }
        assert_eq!((answer.status, answer.header("content-type")), (503, "application/problem+json"), "{answer:?}");
        // Spread around a second, in whole seconds.
        assert!(["1", "2"].contains(&answer.header("retry-after")), "{answer:?}");
        assert_eq!(answer.json()["pattern"], json!("load_shedder"));
        shed = shed.saturating_add(1);
    }

    assert!((50..100).contains(&shed), "{shed}");
    let metrics = get(stack.at(Role::Edge, 1).admin, "/metrics").await;
    assert!(metrics.text().contains("seawall_load_shedder_rejections_total{name=\"edge\",reason=\"overloaded\"}"));
}

#[tokio::test]
async fn no_more_calls_than_it_has_places_for_are_under_way_to_one_service() {
    let (_folder, stack, _) = in_folder().await;
    let gateway = stack.at(Role::Gateway, 1);
    stack.inject(&["catalog/1", "catalog/2", "catalog/3"].map(|instance| (FaultKind::Hang, instance, 0.0)));

    let calls: Vec<_> = (0..80).map(|_| tokio::spawn(get(gateway.service, "/catalog/popular"))).collect();

    until("one finds no place", async || {
        let metrics = get(gateway.admin, "/metrics").await;
        metrics.text().contains("seawall_bulkhead_rejections_total{name=\"catalog\",reason=\"bulkhead_full\"}")
    })
    .await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_instance_that_drains_is_not_ready_and_finishes_what_it_has() {
    let (_folder, mut stack, _) = in_folder().await;
    stack.inject(&[(FaultKind::Latency, "catalog/1", 300.0)]);
    let catalog = stack.at(Role::Catalog, 1).service;

    let under_way = tokio::spawn(get(catalog, "/catalog/popular"));
    until("the request is under way", async || {
        let metrics = get(catalog, "/metrics").await;
        metrics.text().contains("four_plane_in_flight{service=\"catalog\",instance=\"catalog/1\"} 1")
    })
    .await;
    stack.drain(Role::Catalog, 1).await;

    assert_eq!(under_way.await.unwrap().status, 200);
    assert!(tokio::net::TcpStream::connect(catalog).await.is_err());
}

#[tokio::test]
async fn an_instance_that_hangs_does_not_answer_its_probes_either() {
    let (_folder, stack, _) = in_folder().await;
    let catalog = stack.at(Role::Catalog, 1).service;
    stack.inject(&[(FaultKind::Hang, "catalog/1", 0.0)]);

    let probe = tokio::spawn(get(catalog, "/health/live"));
    let other = get(stack.at(Role::Catalog, 2).service, "/health/live").await;
    assert_eq!(other.status, 200);
    assert!(!probe.is_finished());

    stack.inject(&[]);
    assert_eq!(probe.await.unwrap().status, 200);
}
