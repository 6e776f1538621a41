//! Refuses the calls that a server cannot finish in time, and learns by itself how many that is.
