//! What each seawall layer costs per call, beside its peers in the same run.
//!
//! `cargo run --release -p seawall-benches -- --json` prints the rows; `cargo bench -p seawall-benches` runs the same
//! functions under criterion.
pub mod bars;
pub mod instructions;
pub mod lateness;
pub mod measure;
pub mod operation;
pub mod overload;
pub mod report;
pub mod rows;
