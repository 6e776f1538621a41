use std::{borrow::Borrow, fmt};

/// Picks the key of a [`KeyedLayer`](crate::KeyedLayer) out of a request.
///
/// Any function that borrows it is one, `Fn(&Request) -> &Key`. [`OwnedKey`] is one that makes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not borrow a `{Q}` from a `{Req}`",
    note = "a closure must name the type of its argument: `|request: &Request| …`; one that makes its keys goes to `KeyedLayer::with_owned_keys`"
)]
pub trait PickKey<Req: ?Sized, Q: ?Sized> {
    /// Shows the key of `request` to `look`.
    fn pick<T>(&self, request: &Req, look: impl FnOnce(&Q) -> T) -> T;
}

impl<F, Req: ?Sized, Q: ?Sized> PickKey<Req, Q> for F
where
    F: for<'r> Fn(&'r Req) -> &'r Q,
{
    #[inline]
    fn pick<T>(&self, request: &Req, look: impl FnOnce(&Q) -> T) -> T {
        look(self(request))
    }
}

/// A function that makes keys which no request has as they are: of two headers, say. It is called for each request.
#[derive(Clone, Copy)]
pub struct OwnedKey<F> {
    make: F,
}

impl<F> OwnedKey<F> {
    pub(crate) const fn new(make: F) -> Self {
        Self { make }
    }
}

impl<F, Req: ?Sized, K: Borrow<Q>, Q: ?Sized> PickKey<Req, Q> for OwnedKey<F>
where
    F: Fn(&Req) -> K,
{
    #[inline]
    fn pick<T>(&self, request: &Req, look: impl FnOnce(&Q) -> T) -> T {
        look((self.make)(request).borrow())
    }
}

impl<F> fmt::Debug for OwnedKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedKey").finish_non_exhaustive()
    }
}
