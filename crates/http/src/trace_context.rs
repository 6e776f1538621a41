/// A caller's place in a distributed trace.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TraceParent {
    /// The whole trace; never zero.
    pub trace_id: u128,
    /// The caller's span; never zero.
    pub parent_id: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

/// Reads a `traceparent`. `None` means that a new trace has to be started. Versions that are not known yet are read by
/// their first four fields.
///
/// ```
/// let parent = seawall_http::parse_traceparent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
/// assert!(parent.sampled);
/// ```
///
/// # Source
/// W3C Trace Context level 1, §3.2.
pub fn parse_traceparent(value: &[u8]) -> Option<TraceParent> {
    let (version, rest) = value.split_first_chunk::<2>()?;
    let (trace_id, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<32>()?;
    let (parent_id, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
    let (flags, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<2>()?;
    let version = hex(version)?;
    let known = version == 0;
    if version == 0xff || (known && !rest.is_empty()) || (!rest.is_empty() && rest.first() != Some(&b'-')) {
        return None;
    }
    let parent = TraceParent {
        trace_id: hex(trace_id)?,
        parent_id: u64::try_from(hex(parent_id)?).ok()?,
        sampled: hex(flags)? & 1 == 1,
    };
    (parent.trace_id != 0 && parent.parent_id != 0).then_some(parent)
}

/// Lower-case digits only, as the specification demands.
fn hex(digits: &[u8]) -> Option<u128> {
    let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(digits).ok().filter(|_| lower)?;
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_version_that_is_not_known_yet_is_read_and_the_one_that_is_forbidden_is_not() {
        let fields = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let reads = |text: String| parse_traceparent(text.as_bytes()).is_some();

        assert!(reads(format!("cc-{fields}")) && reads(format!("cc-{fields}-what-comes")));
        assert!(!reads(format!("ff-{fields}")) && !reads(format!("ff-{fields}-what-comes")));
        assert!(!reads(format!("00-{fields}-what-comes")) && !reads(format!("cc-{fields}.")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_traceparent(&value);
        }

        #[test]
        fn what_is_written_is_read_back(trace_id in 1_u128.., parent_id in 1_u64.., sampled in any::<bool>()) {
            let text = format!("00-{trace_id:032x}-{parent_id:016x}-{:02x}", u8::from(sampled));

            prop_assert_eq!(parse_traceparent(text.as_bytes()), Some(TraceParent { trace_id, parent_id, sampled }));
        }
    }
}
