use seawall_core::Timestamp;

/// Puts a call's deadline where layers further in, and the other side, find it: the seam to a protocol.
///
/// What it writes, the environment's [`Attributes`](seawall_core::Attributes) read back as
/// [`CallContext::deadline`](seawall_core::CallContext::deadline), so that a retry inside never waits past it and a
/// timeout inside never allows more. `seawall-http` writes an extension and a header.
///
/// Any `Fn(&mut Request, Timestamp)` is one:
///
/// ```
/// use seawall_core::{CallContext, Env, Timestamp};
/// use seawall_timeout::{TimeoutConfig, TimeoutLayer};
/// use std::time::Duration;
///
/// struct Query {
///     text: &'static str,
///     deadline: Option<Timestamp>,
/// }
///
/// fn read(query: &Query) -> CallContext {
///     query.deadline.map_or_else(CallContext::new, |deadline| CallContext::new().with_deadline(deadline))
/// }
///
/// let env = Env::new().with_attributes(read);
/// let layer = TimeoutLayer::with_env(TimeoutConfig::total(Duration::from_secs(5))?, env)
///     .with_carry(|query: &mut Query, deadline| query.deadline = Some(deadline));
/// # let _ = layer;
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
pub trait CarryDeadline<Req: ?Sized> {
    /// Writes `deadline` into `request`. Not called for a call without one.
    fn carry(&self, request: &mut Req, deadline: Timestamp);

    /// Writes the end of a total timeout into `request`, so that a timeout further in that is cut by it can say so:
    /// [`CallContext::deadline_is_total`](seawall_core::CallContext::deadline_is_total). By default a deadline like others.
    fn carry_total(&self, request: &mut Req, end: Timestamp) {
        self.carry(request, end);
    }
}

/// The default: the deadline is not given on, so a retry inside may wait past it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct NotCarried;

impl<Req: ?Sized> CarryDeadline<Req> for NotCarried {
    #[inline]
    fn carry(&self, _: &mut Req, _: Timestamp) {}
}

impl<F: Fn(&mut Req, Timestamp), Req: ?Sized> CarryDeadline<Req> for F {
    #[inline]
    fn carry(&self, request: &mut Req, deadline: Timestamp) {
        self(request, deadline);
    }
}
