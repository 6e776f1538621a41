use tower_service::Service;

/// Compiles where `service` can be called with a `Request`, and says what is missing where it cannot.
///
/// `service.oneshot(request)` only says that there is no such method, or that its bounds are not met. This shows which:
/// an error that cannot carry a rejection, a classifier that does not know the response, a service that must be cloned and
/// cannot be. It does nothing when it runs.
///
/// ```
/// use seawall_core::{WrapError, check};
/// # use seawall_core::{Admission, CallContext, Gate, GateLayer, NoWait, Outcome, Timestamp};
/// # struct Open;
/// # impl Gate for Open {
/// #     type Ticket = ();
/// #     type Wait = NoWait;
/// #     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> { Admission::Admitted(()) }
/// #     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
/// # }
/// use tower::{Layer, service_fn};
///
/// let client = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id) });
/// let service = GateLayer::<Open>::new(Open).layer(WrapError::new(client));
/// check::<u32, _>(&service);
/// ```
///
/// Without `WrapError` it does not compile: "`std::io::Error` cannot carry a seawall rejection", and what to do about it.
///
/// ```compile_fail,E0277
/// use seawall_core::check;
/// # use seawall_core::{Admission, CallContext, Gate, GateLayer, NoWait, Outcome, Timestamp};
/// # struct Open;
/// # impl Gate for Open {
/// #     type Ticket = ();
/// #     type Wait = NoWait;
/// #     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> { Admission::Admitted(()) }
/// #     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
/// # }
/// use tower::{Layer, service_fn};
///
/// let client = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id) });
/// let service = GateLayer::<Open>::new(Open).layer(client);
/// check::<u32, _>(&service);
/// ```
pub const fn check<Request, S: Service<Request>>(service: &S) {
    let _ = service;
}
