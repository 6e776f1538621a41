use crate::{Degraded, Flaw};

/// Says in a response that it is not the service's own, or that its fallback failed.
///
/// Any `Fn(&mut Response, &Degraded)` is one; `seawall-http` writes `x-seawall-degraded` and `age`.
pub trait Mark<Res, F> {
    /// Marks an alternative's answer.
    fn degraded(&self, response: &mut Res, degraded: &Degraded);

    /// Notes on the service's own bad response how its alternative failed, so that neither is lost.
    fn failed(&self, response: &mut Res, error: F) {
        let _ = (response, error);
    }

    /// Notes on the service's own bad response that its alternative came to nothing good either.
    fn flawed(&self, response: &mut Res, flaw: Flaw) {
        let _ = (response, flaw);
    }
}

/// The default: responses are left as they are. Observer and figures hear of degraded answers all the same.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmarked;

impl<Res, F> Mark<Res, F> for Unmarked {
    #[inline]
    fn degraded(&self, _: &mut Res, _: &Degraded) {}
}

impl<G: Fn(&mut Res, &Degraded), Res, F> Mark<Res, F> for G {
    #[inline]
    fn degraded(&self, response: &mut Res, degraded: &Degraded) {
        self(response, degraded);
    }
}
