use std::fmt;

/// What is kept of a request so that it can be sent again.
///
/// A service takes its request by value, so what a second attempt needs must be put aside before the first. This trait
/// says how much that is, and whether anything is kept at all:
///
/// - [`CloneRequest`], the default, keeps a clone. For requests whose clone is a copy or a reference count it costs next
///   to nothing; for others take one of the following.
/// - [`Rebuild`] keeps what a closure picks (a key, a path), and builds the request anew when, and only when, there is a
///   second attempt.
/// - `seawall-http` keeps the head and as much of the body as goes by, up to a limit.
/// - What keeps `None` is sent once.
pub trait Replay<Req> {
    /// The request as the service under the retry takes it: `Req`, or `Req` with a body that is recorded.
    type Request;
    /// What is kept while an attempt runs.
    type Kept;

    /// Takes the request before the first attempt. Kept is `None`: it cannot be sent again.
    fn keep(&self, request: Req) -> (Self::Request, Option<Self::Kept>);

    /// The request of one more attempt, after `previous_attempts` that the other side may have seen: 0 where it makes good
    /// for the first, which it has not. The place to say so in a header. `None`: it has turned out that it cannot be sent
    /// again.
    fn again(&self, kept: &mut Self::Kept, previous_attempts: u32) -> Option<Self::Request>;
}

/// Keeps a clone of every request.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CloneRequest;

impl<Req: Clone> Replay<Req> for CloneRequest {
    type Request = Req;
    type Kept = Req;

    #[inline]
    fn keep(&self, request: Req) -> (Req, Option<Req>) {
        let kept = request.clone();
        (request, Some(kept))
    }

    fn again(&self, kept: &mut Req, _: u32) -> Option<Req> {
        Some(kept.clone())
    }
}

/// Keeps what a closure picks of a request, and builds the request anew from it. The request is never cloned.
///
/// ```
/// use seawall_backoff_with_jitter::{Rebuild, Replay};
///
/// struct Search {
///     city: std::sync::Arc<str>,
///     attempt: u32,
/// }
///
/// let replay = Rebuild::new(
///     |search: &Search| Some(search.city.clone()),
///     |city: &std::sync::Arc<str>, previous| Some(Search { city: city.clone(), attempt: previous + 1 }),
/// );
/// let (first, mut kept) = replay.keep(Search { city: "Lisbon".into(), attempt: 1 });
/// let second = replay.again(kept.as_mut().unwrap(), 1).unwrap();
/// assert_eq!((&*second.city, first.attempt, second.attempt), ("Lisbon", 1, 2));
/// ```
#[derive(Copy, Clone)]
pub struct Rebuild<K, B> {
    keep: K,
    build: B,
}

impl<K, B> Rebuild<K, B> {
    /// `keep` picks what is needed, or `None` where a request must not be sent again; `build` makes the request of a
    /// further attempt from it and the number of attempts before, if it still can.
    pub const fn new<Req, Kept>(keep: K, build: B) -> Self
    where
        K: Fn(&Req) -> Option<Kept>,
        B: Fn(&Kept, u32) -> Option<Req>,
    {
        Self { keep, build }
    }
}

impl<K, B, Req, Kept> Replay<Req> for Rebuild<K, B>
where
    K: Fn(&Req) -> Option<Kept>,
    B: Fn(&Kept, u32) -> Option<Req>,
{
    type Request = Req;
    type Kept = Kept;

    #[inline]
    fn keep(&self, request: Req) -> (Req, Option<Kept>) {
        let kept = (self.keep)(&request);
        (request, kept)
    }

    fn again(&self, kept: &mut Kept, previous_attempts: u32) -> Option<Req> {
        (self.build)(kept, previous_attempts)
    }
}

impl<K, B> fmt::Debug for Rebuild<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuild").finish_non_exhaustive()
    }
}
