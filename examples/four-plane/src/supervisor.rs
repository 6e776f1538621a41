//! Starts, watches, restarts and stops the instances.
