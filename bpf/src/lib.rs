//! The kernel side of ipft.
