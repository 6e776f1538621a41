//! Limits how many calls one dependency may hold at once, so that it cannot take the rest down.
