//! What the time line is, event by event, and that it is what Perfetto and Chrome read.
//!
//! The expected output is in `tests/golden/plugins/timeline-*`; `BLESS=1 cargo test -p timeline` writes it anew.
