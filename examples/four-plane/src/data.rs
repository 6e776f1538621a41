//! The world's cities.
