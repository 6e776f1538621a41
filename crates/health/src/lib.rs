//! Runs health checks in the background, acts on what they find, and answers probes at once.
