//! However long a trace is, the aggregate takes no more memory than it was allowed.
//!
//! Measured as the peak of a whole process, of the optimised program: fifty million events take an unoptimised one too
//! long.

use std::process::Command;

/// What the program allows.
const MAX_MEMORY: f64 = (64 << 20) as f64;

/// What the process needs besides: the buffer in front of the output, texts of functions, a batch of events.
const BESIDES: f64 = (4 << 20) as f64;

/// The peak of the memory that a scenario takes, in bytes.
fn peak(scenario: &str, events: usize) -> f64 {
    let program = xtask::build::bench_sinks().expect("the program can be built");
    let output = Command::new(program)
        .args([scenario, &events.to_string()])
        .output()
        .expect("the program can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("it prints text");
    xtask::bench::Measured::parse(&said).expect("it prints the peak").bytes
}

#[test]
fn fifty_million_events_take_no_more_memory_than_is_allowed() {
    const EVENTS: usize = 50_000_000;
    let peak = peak("aggregate-bounded", EVENTS);
    assert!(peak < MAX_MEMORY + BESIDES, "{peak} bytes");
    // Nor much less, or packets would have been printed early for nothing. These are graphs, whose packets may take as
    // much again to print as they take to keep, so half is what they are kept in.
    assert!(peak > 0.9 * MAX_MEMORY / 2.0, "{peak} bytes");
}

#[test]
fn neither_do_as_many_packets_of_one_event() {
    let peak = peak("aggregate-short-bounded", 10_000_000);
    assert!(peak < MAX_MEMORY + BESIDES, "{peak} bytes");
}
