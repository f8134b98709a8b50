//! Fault injection: runs ipft again and again, each time with another failing allocation, system call or clock, and
//! checks the result.
//!
//! ipft itself contains none of this. `faulty` ([`marker`], [`environment`]) is ipft's main function with an allocator
//! and a clock that can fail; [`supervisor`] makes system calls fail from outside, like the kernel; [`scenario`]
//! defines the runs and the correct results; [`walk`] visits the places, one run per place, and counts.

pub mod environment;
pub mod live;
pub mod marker;
pub mod scenario;
pub mod supervisor;
pub mod walk;
