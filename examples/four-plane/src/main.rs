//! The reference stack's one binary.

fn main() {}
