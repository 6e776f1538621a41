//! Keeps connections for reuse, replaces stale ones, and says why none could be had.
