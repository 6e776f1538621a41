//! `grpc-timeout` and `x-request-timeout-ms`: any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall_http::{format_grpc_timeout, parse_grpc_timeout, parse_timeout_ms};

fuzz_target!(|value: &[u8]| {
    if let Some(timeout) = parse_grpc_timeout(value) {
        let again = parse_grpc_timeout(format_grpc_timeout(timeout).as_bytes());
        assert!(again.is_some_and(|again| again <= timeout));
    }
    if let Some(timeout) = parse_timeout_ms(value) {
        assert_eq!(Some(timeout.as_millis()), std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()));
    }
});
