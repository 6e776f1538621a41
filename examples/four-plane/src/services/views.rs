//! Views, on their way to the database: answers do not wait for them.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter};
use tokio::sync::mpsc;

use super::database::Database;
use crate::state::View;

/// Views that wait at most; of more, the newest are lost, and counted as such.
const WAITING: usize = 1024;
/// Views that are written at once at most.
const BATCH: usize = 128;
/// How long views are gathered before they are written.
const GATHERING: Duration = Duration::from_millis(100);

/// Takes views and writes them in the background.
#[derive(Clone)]
pub struct ViewLog {
    waiting: mpsc::Sender<View>,
    lost: Counter,
}

impl std::fmt::Debug for ViewLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewLog").finish_non_exhaustive()
    }
}

impl ViewLog {
    /// Into this database. The second part writes until all [`ViewLog`]s are dropped and what waits is written.
    pub fn new(database: Arc<Database>) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let lost = counter!("four_plane_views_lost_total");
        (Self { waiting: sender, lost: lost.clone() }, write(database, receiver, lost))
    }

    /// Counts a view, soon.
    pub fn record(&self, view: View) {
        if self.waiting.try_send(view).is_err() {
            self.lost.increment(1);
        }
    }
}

async fn write(database: Arc<Database>, mut receiver: mpsc::Receiver<View>, lost: Counter) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        if database.record_views(&batch).await.is_err() {
            lost.increment(u64::try_from(batch.len()).unwrap_or(u64::MAX));
        }
        batch.clear();
        tokio::time::sleep(GATHERING).await;
    }
}
