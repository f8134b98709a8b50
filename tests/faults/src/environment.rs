//! The variables of the environment that tell `faulty` what is to fail.

/// The allocation that fails, counted from 1.
pub const ALLOCATION: &str = "FAULTS_ALLOCATION";

/// The reading of a clock from which on it is wrong, counted from 1.
pub const CLOCK: &str = "FAULTS_CLOCK";

/// By how many seconds, forward or back.
pub const CLOCK_STEP: &str = "FAULTS_CLOCK_STEP";

/// A file for the number of allocations and of readings of a clock that there were.
pub const COUNTS: &str = "FAULTS_COUNTS";
