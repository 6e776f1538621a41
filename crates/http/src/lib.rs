//! Speaks HTTP for seawall: classification, Retry-After, deadlines, and rejections as responses.
