//! Stops calling a dependency that fails or is slow, and finds out carefully when it is well again.
