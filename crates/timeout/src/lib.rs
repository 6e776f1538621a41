//! Bounds how long a call may take, per attempt and in total, and carries the deadline on.
