//! Presses the page's buttons in a real browser, against a real stack, and reads off the page what the stack did.
//!
//! Needs `chromium` and `chromedriver` on the path; without them every test fails.
#![cfg(feature = "servers")]

mod browser {
    pub(crate) mod stack;
    pub(crate) mod webdriver;
}

use std::time::Duration;

use browser::stack::Stack;
use browser::webdriver::Page;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Each test has a stack and a browser of its own, which is as much as two cores carry.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Time for one status to arrive and be drawn, and for what follows at once from it.
const SOON: Duration = Duration::from_secs(15);
/// A killed instance is back by then.
const REPLACED: Duration = Duration::from_secs(50);
/// A fault of 30 s, the wait of the breakers that it opened, and the five seconds that figures look back.
const OVER: Duration = Duration::from_secs(150);

/// Runs `body` on a page that shows a running stack with traffic, then stops browser and stack, whatever came out.
async fn on_the_page<Body>(body: impl FnOnce(Page) -> Body + Send + 'static)
where
    Body: Future<Output = ()> + Send,
{
    on_the_page_of(json!({}), body).await;
}

/// The same of a stack that is configured like this.
async fn on_the_page_of<Body>(config: Value, body: impl FnOnce(Page) -> Body + Send + 'static)
where
    Body: Future<Output = ()> + Send,
{
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&config).await;
    let page = Page::open(stack.page()).await;

    let shown = page.clone();
    let outcome = tokio::spawn(async move {
        shown.wait("traffic flows", "q('#verdict').dataset.level === 'good' && number('#answer-rate') > 0", SOON).await;
        assert_eq!(shown.number("window.loaded = 7").await, 7);
        body(shown.clone()).await;
        assert_eq!(shown.number("window.loaded").await, 7, "the page was not loaded again");
    })
    .await;

    let errors = page.console_errors().await;
    let last = page.text("#last-fault-result").await;
    page.close().await;
    stack.stop().await;
    assert!(outcome.is_ok(), "the page's last result was: {last}");
    assert_eq!(errors, Vec::<String>::new(), "the console stays free of errors");
}

#[tokio::test]
async fn a_killed_instance_is_replaced_and_nobody_notices() {
    on_the_page(|page| async move {
        let old = page.number("q('[data-instance=\"catalog/1\"]').dataset.pid").await;
        assert_eq!(page.text("#kill-target option:checked").await, "catalog/1");

        let retried = page.figure("service", "retried").await;

        page.press("#kill-button").await;
        page.wait(
            "the kill has a result",
            "q('#last-fault-result').matches('[data-kind=kill]:not([data-state=running])')",
            REPLACED,
        )
        .await;

        assert_eq!(page.data("#last-fault-result", "state").await, "done");
        let new = page.number("q('[data-instance=\"catalog/1\"]').dataset.pid").await;
        assert_ne!(new, old, "catalog/1 has a new process");
        assert_eq!(page.number("q('#last-fault-result').dataset.newPid").await, new);
        assert_eq!(page.data("[data-instance=\"catalog/1\"]", "health").await, "pass");
        assert_eq!(page.number("q('#last-fault-result').dataset.failed").await, 0, "no answer failed");
        page.wait("the restart is counted", "q('[data-instance=\"catalog/1\"]').dataset.restarts === '1'", SOON).await;
        page.wait("the events tell it", "q('#events').textContent.includes('catalog/1')", SOON).await;
        // An instance that fails costs retries, as one that is killed does, but for certain.
        let fails = r#"{"kind": "error", "target": "catalog/1", "value": 1, "seconds": 3}"#;
        page.number(&format!("(fetch('control/faults', {{method: 'POST', body: '{fails}'}}), 1)")).await;
        page.wait("retries are counted", &format!("amount('service', 'retried') > {retried}"), SOON).await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_database_opens_a_breaker_fallbacks_answer_and_it_closes_again() {
    on_the_page(|page| async move {
        let degraded = page.count("#degraded-total").await;

        page.press("#slow-button").await;
        page.wait(
            "the fault is listed",
            "q('#faults [data-fault]') !== null && q('#faults').textContent.includes('database')",
            SOON,
        )
        .await;
        page.wait("the state plane is slow", "amount('state', 'p99') >= 400", SOON).await;
        page.wait("questions wait there", "amount('state', 'in-flight') > 0", SOON).await;
        page.wait("a breaker opens", "q('[data-breaker][data-state=open]') !== null", REPLACED).await;
        page.wait("its plane shows it", "/^[1-9][0-9]* open$/.test(figure('state', 'breakers'))", SOON).await;
        page.wait(
            "the slow database has a result",
            "q('#last-fault-result').matches('[data-kind=latency]:not([data-state=running])')",
            OVER,
        )
        .await;

        assert_eq!(page.data("#last-fault-result", "state").await, "done");
        assert_ne!(page.data("#last-fault-result", "breakerClosed").await, "");
        assert!(page.number("q('#last-fault-result').dataset.degraded").await > 0, "fallbacks answered");
        assert!(page.count("#degraded-total").await > degraded, "the total of degraded answers has grown");
        assert_eq!(page.number("document.querySelectorAll('[data-breaker]:not([data-state=closed])').length").await, 0);
        assert_eq!(page.text("#fault-count").await, "0");
        page.wait("its plane shows no open one", "/^[1-9][0-9]* closed$/.test(figure('state', 'breakers'))", SOON)
            .await;
        page.wait("the state plane is fast", "amount('state', 'p99') < 400", SOON).await;
    })
    .await;
}

#[tokio::test]
async fn five_times_the_capacity_is_shed_and_the_rest_answered() {
    // Less than the machine can do beside a browser, so that it is the declared capacity that is exceeded.
    let small = json!({"capacity": {"edge": 60}, "load": 40});
    on_the_page_of(small, |page| async move {
        let (rate, shed) = (page.figure("edge", "rate").await, page.figure("edge", "shed").await);

        page.press("#overload-button").await;
        page.wait("something is shed", "number('#shed-total') > 0", REPLACED).await;
        page.wait("its plane shows it", &format!("amount('edge', 'shed') > {shed}"), SOON).await;
        page.wait("some wait for a worker", "amount('edge', 'waiting') > 0", SOON).await;
        page.wait("more is asked for", &format!("amount('edge', 'rate') > 2 * {rate}"), SOON).await;
        page.wait(
            "requests are under way of a limit",
            r"/^[1-9][0-9]* \/ [1-9][0-9,]*$/.test(figure('edge', 'in-flight'))",
            SOON,
        )
        .await;
        page.wait(
            "the overload has a result",
            "q('#last-fault-result').matches('[data-kind=overload]:not([data-state=running])')",
            OVER,
        )
        .await;

        assert_eq!(page.data("#last-fault-result", "state").await, "done");
        let result = async |name: &str| page.number(&format!("q('#last-fault-result').dataset.{name}")).await;
        assert!(result("shed").await > 0, "the excess was refused");
        // To the load, a refusal without `Retry-After` is a failure.
        assert_eq!(result("failed").await, 0, "each with 503 and the time to come back");
        assert!(result("goodputPercent").await >= 90, "the rest fills the capacity");
        assert!((1..=400).contains(&result("slowerPercent").await), "and is not four times slower");
        assert!(page.count("#shed-total").await > 0);
    })
    .await;
}

#[tokio::test]
async fn a_fault_can_be_cancelled_from_the_page() {
    on_the_page(|page| async move {
        page.press("#slow-button").await;
        page.wait("the fault is listed", "q('#faults [data-fault] button') !== null", SOON).await;

        page.press("#faults [data-fault] button").await;

        page.wait(
            "the fault is gone",
            "q('#faults [data-fault]') === null && q('#fault-count').textContent === '0'",
            SOON,
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_is_broken_from_elsewhere_is_shown_like_what_is_broken_here() {
    on_the_page(|page| async move {
        for target in ["database", "catalog", "cache"] {
            let fault = format!(r#"{{"kind": "latency", "target": "{target}", "value": 40, "seconds": 600}}"#);
            page.number(&format!("(fetch('control/faults', {{method: 'POST', body: '{fault}'}}), 1)")).await;
        }

        page.wait("the faults are listed", "document.querySelectorAll('#faults [data-fault]').length === 3", SOON)
            .await;
        page.wait("one is the cache's", "q('#faults').textContent.includes('cache: +40 ms')", SOON).await;
        page.wait(
            "its result runs",
            "q('#last-fault-result').matches('[data-kind=latency][data-state=running]')",
            SOON,
        )
        .await;
        page.number(
            "(fetch('control/faults', {method: 'POST', body: '{\"kind\": \"kill\", \"target\": \"catalog/2\"}'}), 1)",
        )
        .await;
        page.wait(
            "the kill has a result",
            "q('#last-fault-result').matches('[data-kind=kill][data-state=done]')",
            REPLACED,
        )
        .await;
        assert_eq!(page.data("#last-fault-result", "target").await, "catalog/2");
        assert_eq!(page.data("#earlier-results li", "kind").await, "latency", "which still runs");
        assert_eq!(page.number("document.querySelectorAll('#earlier-results li').length").await, 3, "one line each");
    })
    .await;
}

#[tokio::test]
async fn every_plane_shows_figures_and_no_width_overflows() {
    on_the_page(|page| async move {
        let planes = ["edge", "service", "state", "control"];
        for plane in planes {
            for figure in ["rate", "p50", "p99", "errors", "shed", "retried", "breakers"] {
                let shown = format!("/[0-9]/.test(figure('{plane}', '{figure}'))");
                page.wait(&format!("{plane} shows {figure}"), &shown, SOON).await;
            }
        }
        for plane in planes {
            let limited = format!(r"/^[0-9,]+ \/ [1-9][0-9,]*$/.test(figure('{plane}', 'in-flight'))");
            page.wait(&format!("{plane} shows what is in flight of its limit"), &limited, SOON).await;
        }
        for width in [1440, 1024, 700, 360] {
            page.resize(width).await;

            let drawn = page.number("document.documentElement.scrollWidth").await;

            assert!(drawn <= width, "{width} pixels wide, {drawn} drawn");
            let cut = "[...document.querySelectorAll('.tile')].filter((tile) => { const [number, small] = \
                       tile.querySelector('dd').children; number.firstElementChild.textContent = number.textContent.endsWith('/s') ? '12,345' : '994 ms'; \
                       if (small.firstElementChild) small.firstElementChild.textContent = '99,999'; \
                       return number.scrollWidth > number.clientWidth || small.scrollWidth > small.clientWidth; }).length";
            assert_eq!(page.number(cut).await, 0, "figures of five digits fit at {width}");
            let above = "q('#overload-button').getBoundingClientRect().bottom <= q('#figure').getBoundingClientRect().top";
            assert_eq!(page.number(above).await, 1, "what breaks is above what is broken at {width}");
        }
        let unnamed = "[...document.querySelectorAll('button')].filter((button) => !(button.textContent.trim() || button.ariaLabel)).length";
        assert_eq!(page.number(unnamed).await, 0, "every button has a name");
    })
    .await;
}

#[tokio::test]
async fn a_control_plane_that_is_gone_is_told_at_once() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&json!({})).await;
    let page = Page::open(stack.page()).await;

    let shown = page.clone();
    let outcome = tokio::spawn(async move {
        shown.wait("the page is live", "document.documentElement.dataset.link === 'live'", SOON).await;

        stack.stop().await;

        let told = "!q('#stale').hidden && q('#stale').textContent.includes('does not answer')";
        shown.wait("the page says so", told, SOON).await;
    })
    .await;

    page.close().await;
    assert!(outcome.is_ok(), "what went wrong is told above");
}
