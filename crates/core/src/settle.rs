#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use crate::{Environment, Gate, Guard, Outcome};

/// When a call that was answered has ended.
///
/// A breaker has learnt what it needs at the response's head. A permit should last until the last byte of the body:
/// `seawall-http` settles there, with the head's verdict and latency.
pub trait Settle<Res> {
    /// The response that the caller gets: one that holds the guard, where the call goes on.
    type Response<G: Gate, E: Environment>;

    /// Ends a call whose answer was judged as `outcome`, or takes its guard over with [`Guard::take`].
    fn settle<G: Gate, E: Environment>(
        guard: &mut Guard<G, E>,
        outcome: Outcome,
        response: Res,
    ) -> Self::Response<G, E>;
}

/// The default: a call ends with its response.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct AtHead;

impl<Res> Settle<Res> for AtHead {
    type Response<G: Gate, E: Environment> = Res;

    #[inline(always)]
    fn settle<G: Gate, E: Environment>(guard: &mut Guard<G, E>, outcome: Outcome, response: Res) -> Res {
        guard.settle(outcome);
        response
    }
}
