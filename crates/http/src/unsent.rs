use std::{error::Error, io};

use seawall_backoff_with_jitter::{Advice, ByClass, RetryWhen};
use seawall_core::Verdict;

/// The longest chain of causes that is looked through: a chain that ends in itself must not hang a call.
const LONGEST_CHAIN: usize = 32;

/// What is worth another attempt over HTTP: what [`ByClass`] says, and more where the client's error proves that the
/// other side has not acted on the request, which then may be repeated whatever its method.
///
/// | the client's error | advice |
/// |---|---|
/// | hyper gave the request back: its connection was closed before a byte of it was written | [`Advice::Unseen`] |
/// | HTTP/2: the stream was refused (`REFUSED_STREAM`), or lies beyond the last one of a `GOAWAY` | [`Advice::Unseen`] |
/// | no connection came about | [`Advice::Again`]: the other side may be down, so the retry waits and pays |
/// | any other, also a connection that broke later | as [`ByClass`] says |
///
/// Errors of hyper, hyper-util and h2, on which those of reqwest and tonic stand, are known with the feature `hyper`; a refused
/// connection always.
///
/// ```
/// use seawall_backoff_with_jitter::{Advice, RetryWhen};
/// use seawall_core::{Class, Verdict};
/// use seawall_http::HttpAdvice;
/// use std::io;
///
/// let advice = |kind: io::ErrorKind| {
///     HttpAdvice.advise(Verdict::new(Class::Failure), Err::<&http::Response<()>, _>(&io::Error::from(kind)))
/// };
/// assert_eq!(advice(io::ErrorKind::ConnectionRefused), Advice::Again);
/// assert_eq!(advice(io::ErrorKind::ConnectionReset), Advice::IfIdempotent);
/// ```
///
/// # Source
/// RFC 9113 §8.7 (request reliability in HTTP/2); gRPC proposal A6, "Transparent Retries".
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAdvice;

impl<Res, Err: Error + 'static> RetryWhen<Res, Err> for HttpAdvice {
    #[inline]
    fn advise(&self, verdict: Verdict, result: Result<&Res, &Err>) -> Advice {
        match result {
            Ok(_) => ByClass.advise(verdict, result),
            Err(error) => of_error(error).unwrap_or_else(|| ByClass.advise(verdict, result)),
        }
    }
}

/// Boxed errors, as tower's `Buffer` gives them.
impl<Res> RetryWhen<Res, dyn Error + Send + Sync> for HttpAdvice {
    fn advise(&self, verdict: Verdict, result: Result<&Res, &(dyn Error + Send + Sync + 'static)>) -> Advice {
        match result {
            Ok(_) => ByClass.advise(verdict, result),
            Err(error) => of_error(error).unwrap_or_else(|| ByClass.advise(verdict, result)),
        }
    }
}

/// What an error or one of its causes proves.
#[cold]
fn of_error(error: &(dyn Error + 'static)) -> Option<Advice> {
    std::iter::successors(Some(error), |error| cause(*error)).take(LONGEST_CHAIN).find_map(proof)
}

/// What stands behind an error: of what is wrapped in an `io::Error` the thing itself, which its `source` leaves out.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
}

fn proof(error: &(dyn Error + 'static)) -> Option<Advice> {
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        return Some(Advice::Again);
    }
    #[cfg(feature = "hyper")]
    return of_hyper(error);
    #[cfg(not(feature = "hyper"))]
    None
}

#[cfg(feature = "hyper")]
fn of_hyper(error: &(dyn Error + 'static)) -> Option<Advice> {
    let refused = |error: &h2::Error| {
        // A reset or a going away of our own says nothing about what the other side has done.
        error.is_remote()
            && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    };
    if error.downcast_ref().is_some_and(hyper::Error::is_canceled) || error.downcast_ref().is_some_and(refused) {
        return Some(Advice::Unseen);
    }
    let unconnected = error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect);
    unconnected.then_some(Advice::Again)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("endless")
        }
    }

    impl Error for Endless {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn a_chain_of_causes_without_an_end_proves_nothing() {
        assert_eq!(of_error(&Endless), None);
    }
}
