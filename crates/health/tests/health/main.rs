//! Checks that run in the background, as their process and its probes see them, in virtual time.

mod lifetime;
mod presets;
mod probes;
mod runs;
mod told;
