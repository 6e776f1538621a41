//! The built-in load.
