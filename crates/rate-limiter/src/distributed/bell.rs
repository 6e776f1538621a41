#![expect(
    clippy::disallowed_types,
    reason = "taken once for each time that the driver sleeps, by no call that goes on at once"
)]

use std::{
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use seawall_core::{
    replace_waker,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// Wakes the one task that listens. A ring that nobody has heard is heard by the next who listens.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    listener: Mutex<Waker>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { rung: AtomicBool::new(false), listener: Mutex::new(Waker::noop().clone()) }
    }

    pub(crate) fn ring(&self) {
        // SeqCst here and in `poll_rung`: either the ring is seen there, or the waker is here.
        if !self.rung.swap(true, SeqCst) {
            let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listener.wake();
        }
    }

    pub(crate) fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        let replaced = replace_waker(&mut self.listener.lock().unwrap_or_else(PoisonError::into_inner), cx.waker());
        drop(replaced);
        if self.rung.swap(false, SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        task::Wake,
    };

    use loom::{sync::Arc, thread};

    use super::*;

    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn whoever_listens_while_it_rings_hears_it_or_is_woken() {
        loom::model(|| {
            let bell = Arc::new(Bell::new());
            let other = Arc::clone(&bell);
            let rings = thread::spawn(move || other.ring());
            let count = std::sync::Arc::new(Count(AtomicU32::new(0)));
            let waker = Waker::from(std::sync::Arc::clone(&count));
            let heard = pin!(std::future::poll_fn(|cx| bell.poll_rung(cx))).poll(&mut Context::from_waker(&waker));
            rings.join().unwrap();
            assert!(heard.is_ready() || count.0.load(Relaxed) == 1, "the ring is lost");
        });
    }
}
