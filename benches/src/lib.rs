//! What each layer costs, beside its peers in the same run.
