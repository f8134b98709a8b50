//! Faults on purpose: runs ipft again and again, each time with another allocation, system call or clock that fails, and
//! checks what it makes of it.
//!
//! Nothing of this is in ipft. `faulty` ([`marker`], [`environment`]) is ipft's main function with an allocator and a
//! clock that can fail; [`supervisor`] makes system calls fail from outside, as the kernel would; [`scenario`] says what
//! is run and what is right; [`walk`] goes through the places, one run for each, and counts.

pub mod environment;
pub mod live;
pub mod marker;
pub mod scenario;
pub mod supervisor;
pub mod walk;
