//! Requests of our own at a steady rate, beside the built-in load: their answers are seen one by one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use crate::{
    data,
    verify::{
        stack::Stack,
        web::{Answer, Web},
    },
};

/// One request and what came of it.
#[derive(Debug)]
pub(super) struct Sample {
    /// Nothing when the connection broke or no answer came.
    pub(super) answer: Option<Answer>,
}

impl Sample {
    /// Answered, and with success: what our own requests ask for exists.
    pub(super) fn is_served(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.status.is_success())
    }

    pub(super) fn is_refused(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The source that the answer came from when it was not the one asked for.
    pub(super) fn degraded(&self) -> Option<&str> {
        self.answer.as_ref()?.header("x-seawall-degraded")
    }
}

/// Requests that go on until they are stopped or dropped, each sent at its time whether or not the one before was answered.
#[derive(Debug)]
pub(super) struct Traffic {
    stop: Arc<Notify>,
    samples: JoinHandle<Vec<Sample>>,
}

impl Traffic {
    /// Asks the edge for `path(0)`, `path(1)`, …, one `every` so often.
    pub(super) fn start(stack: &Stack, every: Duration, path: impl Fn(usize) -> String + Send + 'static) -> Self {
        Self::with_method(Method::GET, stack, every, path)
    }

    /// The same by another method, without a body.
    pub(super) fn with_method(
        method: Method,
        stack: &Stack,
        every: Duration,
        path: impl Fn(usize) -> String + Send + 'static,
    ) -> Self {
        let (web, edge) = (stack.web.clone(), stack.ready().edge.clone());
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let samples = tokio::spawn(async move {
            let mut pace = tokio::time::interval(every);
            let mut asked = JoinSet::new();
            for number in 0.. {
                tokio::select! {
                    _ = pace.tick() => { asked.spawn(ask(method.clone(), web.clone(), format!("{edge}{}", path(number)))); }
                    () = stopped.notified() => break,
                }
            }
            asked.join_all().await
        });
        Self { stop, samples }
    }

    /// Sends no more and waits for the answers that are missing.
    pub(super) async fn stop(mut self) -> anyhow::Result<Vec<Sample>> {
        self.stop.notify_one();
        Ok((&mut self.samples).await?)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.samples.abort();
    }
}

async fn ask(method: Method, web: Web, url: String) -> Sample {
    Sample { answer: web.send(method, &url, Bytes::new()).await.ok() }
}

/// Items in an order that visits each once before any again, away from the popular ones that a cache holds.
pub(super) fn uncached_item(number: usize) -> String {
    let cities = data::cities();
    let id = cities.iter().rev().cycle().nth(number.checked_rem(cities.len()).unwrap_or_default()).map(|city| city.id);
    format!("/catalog/items/{}", id.unwrap_or_default())
}

/// How many requests were sent, how many of them were served, and what came of the others.
pub(super) fn served(samples: &[Sample]) -> String {
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| !sample.is_served()) {
        let what = sample.answer.as_ref().map_or_else(|| "no answer".to_owned(), |answer| answer.status.to_string());
        let count = others.entry(what).or_default();
        *count = count.saturating_add(1);
    }
    let served = samples.iter().filter(|sample| sample.is_served()).count();
    let others: Vec<_> = others.iter().map(|(what, count)| format!(", {count} {what}")).collect();
    format!("{served} of {} requests served{}", samples.len(), others.concat())
}

#[cfg(test)]
impl Sample {
    /// A request answered with a status and headers after so many milliseconds.
    pub(super) fn scripted(status: StatusCode, headers: &[(&'static str, &'static str)], milliseconds: u64) -> Self {
        Self { answer: Some(Answer::scripted(status, headers, milliseconds)) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_item_comes_once_before_any_comes_again() {
        let all = data::cities().len();

        let visited: HashSet<_> = (0..all).map(uncached_item).collect();

        assert_eq!(visited.len(), all);
        assert_eq!(uncached_item(all), uncached_item(0));
    }

    #[test]
    fn an_error_and_a_lost_request_are_not_served() {
        assert!(Sample::scripted(StatusCode::OK, &[], 1).is_served());
        assert!(!Sample::scripted(StatusCode::NOT_FOUND, &[], 1).is_served());
        assert!(!Sample::scripted(StatusCode::BAD_GATEWAY, &[], 1).is_served());
        assert!(!Sample { answer: None }.is_served());
    }
}
