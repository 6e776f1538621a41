//! The pool beside deadpool: taking a connection and giving it back, alone and in a crowd.

use std::{convert::Infallible, sync::Arc};

use seawall::pool::{Manager, Pool, PoolConfig};
use tokio::runtime::{Builder, Runtime};

use super::{Row, Side, layer_row};
use crate::operation::{Operation, built};

/// Connections that the crowd shares.
const CONNECTIONS: usize = 10;
/// How many want one at once.
const CROWD: u64 = 64;

/// Connections to nothing.
struct Nowhere;

impl Manager for Nowhere {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn check(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }
}

impl deadpool::managed::Manager for Nowhere {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

/// A pool, whoever made it.
trait Lends: Clone + Send + Sync + 'static {
    /// Takes a connection, yields if `hold`, and gives it back.
    fn lend(&self, hold: bool) -> impl Future<Output = ()> + Send;
}

impl Lends for Pool<Nowhere> {
    async fn lend(&self, hold: bool) {
        let connection = self.get().await;
        if hold {
            tokio::task::yield_now().await;
        }
        drop(std::hint::black_box(connection));
    }
}

impl Lends for deadpool::managed::Pool<Nowhere> {
    async fn lend(&self, hold: bool) {
        let connection = self.get().await;
        if hold {
            tokio::task::yield_now().await;
        }
        drop(std::hint::black_box(connection));
    }
}

/// One caller, or a crowd of them, on a runtime of their own.
struct Lending<P> {
    pool: P,
    runtime: Arc<Runtime>,
    crowd: bool,
}

impl<P: Lends> Lending<P> {
    fn boxed(pool: impl FnOnce() -> P, crowd: bool) -> Box<dyn Operation> {
        let runtime = Arc::new(built(Builder::new_current_thread().enable_time().build()));
        let _context = runtime.enter();
        Box::new(Self { pool: pool(), runtime: Arc::clone(&runtime), crowd })
    }
}

impl<P: Lends> Operation for Lending<P> {
    fn run(&mut self, iterations: u64) {
        let (tasks, hold) = if self.crowd { (CROWD, true) } else { (1, false) };
        let each = iterations.div_ceil(tasks);
        self.runtime.block_on(async {
            let callers: Vec<_> = (0..tasks)
                .map(|_| {
                    let pool = self.pool.clone();
                    tokio::spawn(async move {
                        for _ in 0..each {
                            pool.lend(hold).await;
                        }
                    })
                })
                .collect();
            for caller in callers {
                built(caller.await);
            }
        });
    }

    fn share(&self) -> Box<dyn Operation> {
        let runtime = Arc::new(built(Builder::new_current_thread().enable_time().build()));
        Box::new(Self { pool: self.pool.clone(), runtime, crowd: self.crowd })
    }
}

fn ours() -> Pool<Nowhere> {
    built(Pool::with_config(Nowhere, PoolConfig::new().with_max(CONNECTIONS)))
}

fn theirs() -> deadpool::managed::Pool<Nowhere> {
    built(deadpool::managed::Pool::builder(Nowhere).max_size(CONNECTIONS).build())
}

pub(super) fn rows() -> Vec<Row> {
    let row = |name, ours, theirs| {
        let peer = Side { name: "deadpool", make: theirs };
        Row { over_bare_call: false, ..layer_row(name, "own", ours, vec![peer]) }.allocating()
    };
    vec![
        row("pool/get-return", || Lending::boxed(ours, false), || Lending::boxed(theirs, false)),
        row("pool/64-over-10", || Lending::boxed(ours, true), || Lending::boxed(theirs, true)),
    ]
}
