//! Environment variables that configure the faults of `faulty`.

/// The allocation that fails, counted from 1.
pub const ALLOCATION: &str = "FAULTS_ALLOCATION";

/// The first clock reading that is off, counted from 1.
pub const CLOCK: &str = "FAULTS_CLOCK";

/// Offset in seconds, forward or back.
pub const CLOCK_STEP: &str = "FAULTS_CLOCK_STEP";

/// A file for the counts of allocations and clock readings.
pub const COUNTS: &str = "FAULTS_COUNTS";
