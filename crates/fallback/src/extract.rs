/// What is kept of a request for its fallback, since the service takes the request by value.
///
/// It is asked before every call, so it should be small: a key, not a body. Any `Fn(&Request) -> Kept` is one.
pub trait Extract<Req> {
    /// What is kept.
    type Kept;

    /// Picks it.
    fn extract(&self, request: &Req) -> Self::Kept;
}

/// The default: nothing is kept.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl<Req> Extract<Req> for Nothing {
    type Kept = ();

    #[inline]
    fn extract(&self, _: &Req) {}
}

impl<F: Fn(&Req) -> K, Req, K> Extract<Req> for F {
    type Kept = K;

    #[inline]
    fn extract(&self, request: &Req) -> K {
        self(request)
    }
}
