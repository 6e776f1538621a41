//! A whole stack, started to be measured or tested.
