//! The aggregate keeps its memory limit for traces of any length.
//!
//! Measured as the peak of a whole process, of the optimised program: an unoptimised one takes too long for fifty
//! million events.

use std::process::Command;

/// The program's memory limit.
const MAX_MEMORY: f64 = (64 << 20) as f64;

/// Additional memory of the process: the output buffer, texts of functions, a batch of events.
const BESIDES: f64 = (4 << 20) as f64;

/// Returns the peak memory of a scenario, in bytes.
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
fn fifty_million_events_stay_within_the_memory_limit() {
    const EVENTS: usize = 50_000_000;
    let peak = peak("aggregate-bounded", EVENTS);
    assert!(peak < MAX_MEMORY + BESIDES, "{peak} bytes");
    // Nor much less, or packets would have been printed early for nothing. These are graphs, which may need as much
    // memory to print as to keep, so half of it holds packets.
    assert!(peak > 0.9 * MAX_MEMORY / 2.0, "{peak} bytes");
}

#[test]
fn fifty_million_packets_stay_within_the_memory_limit() {
    let peak = peak("aggregate-short-bounded", 10_000_000);
    assert!(peak < MAX_MEMORY + BESIDES, "{peak} bytes");
}
