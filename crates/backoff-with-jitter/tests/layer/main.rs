//! The retry layer as a user stacks it, in virtual time.
#![expect(clippy::disallowed_types, reason = "tests write down what happens")]

mod accounts;
mod attempts;
mod budget;
mod nested;
mod observer;
mod readiness;
mod run;
mod scripted;
mod unseen;
mod waits;
