//! The pool as its callers see it, in virtual time.

mod layer;
mod lending;
mod lifetime;
mod operations;
mod returning;
mod stress;
mod support;
mod upkeep;
