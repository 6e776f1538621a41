//! The pool as its callers see it, in virtual time.

mod layer;
mod lending;
mod stress;
mod support;
