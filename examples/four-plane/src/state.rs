//! Database and cache: one trait each, an embedded part and a real server behind it.
