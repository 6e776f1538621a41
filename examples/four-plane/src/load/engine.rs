//! Sends requests when they are due.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use seawall::http::CRITICALITY_HEADER;
use tokio::sync::{Semaphore, mpsc, watch};

use super::LoadOptions;
use super::mix::{Call, Mix};
use super::tally::{Ended, Ending};
use crate::client::{Client, ClientError};
use crate::{clock, data};

/// How many requests may wait for an answer.
pub const MOST_IN_FLIGHT: usize = 4_096;
/// After this a request has failed: twice what the gateway allows itself.
const LIMIT: Duration = Duration::from_secs(10);
/// So many callers with connections of their own, each request of any of them: the edge processes share a port by
/// connections, and over a pool of few, of which it prefers some, one of them would get twice what the other gets.
const CALLERS: usize = 256;
/// How many endings may wait to be counted.
const ENDINGS: usize = 1_024;

/// What the engine tells whoever counts.
#[derive(Debug, Clone)]
pub(crate) enum Happened {
    Due,
    Ended(Ended),
}

/// Sends at the rate that is set until the sender of the rate is dropped; what happens comes out of the receiver, which
/// ends after the last answer.
pub(crate) fn start(options: &LoadOptions, rate: watch::Receiver<f64>) -> mpsc::Receiver<Happened> {
    let (happened, receiver) = mpsc::channel(ENDINGS);
    let sender = Sender { url: options.url.clone(), places: Arc::new(Semaphore::new(MOST_IN_FLIGHT)), happened };
    tokio::spawn(generate(
        sender,
        Callers::new(options.seed),
        Mix::new(data::cities(), options.seed).with_criticalities(options.criticalities),
        rate,
    ));
    receiver
}

#[derive(Debug, Clone)]
struct Sender {
    url: String,
    places: Arc<Semaphore>,
    happened: mpsc::Sender<Happened>,
}

/// Whoever sends the next request.
struct Callers {
    clients: Vec<Client>,
    /// Apart from what is asked for, so that this is the same for any number of callers.
    random: SmallRng,
}

impl Callers {
    fn new(seed: u64) -> Self {
        let clients = std::iter::repeat_with(Client::new).take(CALLERS).collect();
        Self { clients, random: SmallRng::seed_from_u64(seed) }
    }

    fn next(&mut self) -> Client {
        let number = self.random.random_range(0..CALLERS);
        self.clients.get(number).cloned().unwrap_or_default()
    }
}

async fn generate(sender: Sender, mut callers: Callers, mut mix: Mix, mut rate: watch::Receiver<f64>) {
    let mut due = clock::since_start();
    loop {
        let per_second = *rate.borrow_and_update();
        if per_second > 0.0 {
            due = due.saturating_add(seconds(mix.gap(per_second)));
        }
        let wait = async {
            if per_second > 0.0 {
                let early = due.saturating_sub(clock::since_start());
                // A timer takes up to a millisecond even for no time at all: what is due is sent at once.
                if !early.is_zero() {
                    tokio::time::sleep(early).await;
                }
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            changed = rate.changed() => {
                if changed.is_err() {
                    return;
                }
                due = clock::since_start();
            }
            () = wait => {
                if sender.happened.send(Happened::Due).await.is_err() {
                    return;
                }
                tokio::spawn(sender.clone().send(callers.next(), mix.next(), due));
            }
        }
    }
}

impl Sender {
    async fn send(self, client: Client, call: Call, due: Duration) {
        let ended = match self.places.try_acquire() {
            Ok(_place) => self.exchange(&client, &call).await,
            Err(_) => (Ending::Failed, "too many waiting".to_owned()),
        };
        let micros = u64::try_from(clock::since_start().saturating_sub(due).as_micros()).unwrap_or(u64::MAX);
        let (ending, status) = ended;
        let ended = Ended { ending, status, due, micros, criticality: call.criticality };
        let _nobody_counts = self.happened.send(Happened::Ended(ended)).await;
    }

    async fn exchange(&self, client: &Client, call: &Call) -> (Ending, String) {
        let mut request =
            Request::builder().uri(format!("{}{}", self.url, call.path)).header("x-user", &call.traveller);
        if let Some(criticality) = call.criticality {
            request = request.header(CRITICALITY_HEADER, criticality);
        }
        let Ok(request) = request.body(Full::new(Bytes::new())) else {
            return (Ending::Failed, "not a URL".to_owned());
        };
        match client.request(request, LIMIT).await {
            Ok(answer) => (ending(answer.status, &answer.headers), answer.status.as_u16().to_string()),
            Err(error) => (Ending::Failed, reason(&error).to_owned()),
        }
    }
}

fn ending(status: StatusCode, headers: &HeaderMap) -> Ending {
    let refused = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
    match status {
        _ if refused && headers.contains_key(header::RETRY_AFTER) => Ending::Shed,
        status if !status.is_success() => Ending::Failed,
        _ if headers.contains_key("x-seawall-degraded") => Ending::Degraded,
        _ => Ending::Ok,
    }
}

const fn reason(error: &ClientError) -> &'static str {
    match error {
        ClientError::Url { .. } => "not a URL",
        ClientError::TimedOut { .. } => "timeout",
        ClientError::Connect(_) => "no connection",
        ClientError::Send(_) | ClientError::Body(_) => "connection broke",
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shed_only_when_it_says_when_to_come_back() {
        let mut headers = HeaderMap::new();
        assert_eq!(ending(StatusCode::SERVICE_UNAVAILABLE, &headers), Ending::Failed);
        assert_eq!(ending(StatusCode::NOT_FOUND, &headers), Ending::Failed);
        assert_eq!(ending(StatusCode::OK, &headers), Ending::Ok);

        headers.insert("x-seawall-degraded", "popular".parse().unwrap());
        assert_eq!(ending(StatusCode::OK, &headers), Ending::Degraded);

        headers.insert(header::RETRY_AFTER, "1".parse().unwrap());
        assert_eq!(ending(StatusCode::SERVICE_UNAVAILABLE, &headers), Ending::Shed);
        assert_eq!(ending(StatusCode::TOO_MANY_REQUESTS, &headers), Ending::Shed);
        assert_eq!(ending(StatusCode::BAD_GATEWAY, &headers), Ending::Failed);
    }
}
