//! The reference stack: edge, service, state and control planes around seawall's layers, each instance a process of its
//! own.
//!
//! `four-plane run` is the parent: it starts every instance as a child process, watches it, and serves the control plane
//! and its page. `four-plane instance` is such a child. The two talk in JSON lines over the child's pipes, see [`link`].

pub mod chaos;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
pub mod data;
pub mod link;
pub mod load;
pub mod page;
pub mod run;
pub mod say;
pub mod score;
pub mod services;
pub mod state;
pub mod supervisor;
pub mod trial;
pub mod verify;
