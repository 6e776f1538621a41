#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| seawall_fuzz::told_headers(value));
