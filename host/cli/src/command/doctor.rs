//! `ipft doctor`: reports what works on this machine, and how to fix the rest.
//!
//! The checks are those before a trace; each backend is tried on one function.

use std::io::{self, Write};

use ipft_core::event::Tracer;
use ipft_core::kernel::checks::{self, Status};
use ipft_core::kernel::{self, Root};
use ipft_core::privileges;
use ipft_core::probe::{self, BACKENDS, Buffer, Progress, Request};

/// Writes the report. Returns whether packets can be traced on this machine.
pub fn examine(root: &Root, out: &mut impl Write) -> io::Result<bool> {
    let checks = checks::run(root);
    for check in &checks {
        line(out, check.status, check.name, &check.found)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "       {remedy}")?;
        }
    }
    writeln!(out)?;
    if let Some(failure) = checks.iter().find(|check| check.status == Status::Failure) {
        writeln!(out, "Packets cannot be traced here: {}.", failure.found)?;
        return Ok(false);
    }
    let found = match kernel::find_functions(root) {
        Ok(found) => found,
        Err(error) => {
            line(out, Status::Failure, "functions", &error.to_string())?;
            return Ok(false);
        }
    };
    let count = format!("{} take a packet and can be traced", found.candidates.len());
    line(out, Status::Ok, "functions", &count)?;
    for module in &found.missing {
        line(out, Status::Warning, &module.name, &module.reason.to_string())?;
    }

    let (buffer, name) = if probe::has_ring_buffer(root) {
        (Buffer::Ring { bytes: 4096, count: 1 }, "BPF ring buffer")
    } else {
        (
            Buffer::Perf {
                pages: 8,
                sample_period: 1,
                wakeup_events: 1,
            },
            "perf buffer (BPF ring buffers came with 5.8; on PREEMPT_RT, probes can use them from 6.12 on)",
        )
    };
    line(out, Status::Ok, "buffer", name)?;
    let in_force = privileges::forecast();
    let (status, remedy) = match in_force.remedy() {
        None => (Status::Ok, None),
        remedy => (Status::Warning, remedy),
    };
    line(out, status, "privileges after attaching", &in_force.describe())?;
    if let Some(remedy) = remedy {
        writeln!(out, "       {remedy}")?;
    }

    let targets = probe::targets(&found.candidates, 0, &[], false);
    let mut works = false;
    let mut working = Vec::new();
    for backend in BACKENDS {
        let trial = |tracer| {
            let request = Request {
                root,
                targets: targets.clone(),
                tracer,
                mark: 1,
                mask: u32::MAX,
                following: None,
                buffer: &buffer,
                extension: None,
                record_bytes: 0,
                max_events_per_second: 0,
                contexts: None,
                fields: 0,
                progress: &Progress::default(),
                maps: probe::Maps::from([]),
            };
            probe::try_out(backend, &request)
        };
        let trials = (trial(Tracer::Function), trial(Tracer::FunctionGraph));
        if trials.0.is_ok() {
            working.push(backend);
        }
        match trials {
            (Ok(()), Ok(())) => {
                works = true;
                line(out, Status::Ok, backend.name(), backend.description())?;
            }
            (Ok(()), Err(error)) => {
                works = true;
                line(
                    out,
                    Status::Warning,
                    backend.name(),
                    &format!("entries only: {}", first_line(&error)),
                )?;
            }
            (Err(error), _) => line(out, Status::Warning, backend.name(), &first_line(&error))?,
        }
    }
    let hot = found
        .candidates
        .iter()
        .filter(|function| kernel::is_hot(function))
        .count();
    if let Some(backend) = probe::mixed(&working) {
        let found = format!(
            "{hot} functions that most packets pass are attached by ftrace, others by {}",
            backend.name()
        );
        line(out, Status::Ok, "default for function", &found)?;
    }
    writeln!(out)?;
    if works {
        writeln!(out, "Packets can be traced here.")?;
    } else {
        writeln!(out, "Packets cannot be traced here: no backend works.")?;
    }
    Ok(works)
}

fn line(out: &mut impl Write, status: Status, name: &str, found: &str) -> io::Result<()> {
    let mark = match status {
        Status::Ok => "ok",
        Status::Warning => "--",
        Status::Failure => "FAIL",
    };
    writeln!(out, "{mark:>4}  {name}: {found}")
}

/// The verifier's log is part of a failed trace's message.
fn first_line(error: &probe::ProbeError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
