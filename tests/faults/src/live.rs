//! Additions for a live trace: packets with a mark, and a check of what is attached in the kernel.
//!
//! For guests only: any other program that attaches something would disturb the check.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::supervisor::{Kind, Meanwhile};

/// System calls that only a trace makes.
pub const KINDS: [Kind; 3] = [
    Kind {
        name: "bpf",
        calls: &[libc::SYS_bpf],
        error: libc::ENOMEM,
    },
    Kind {
        name: "bpf, denied",
        calls: &[libc::SYS_bpf],
        error: libc::EPERM,
    },
    Kind {
        name: "perf_event_open",
        calls: &[libc::SYS_perf_event_open],
        error: libc::EMFILE,
    },
];

/// Sends packets with the mark 1 to this machine itself, repeatedly.
pub struct Packets(UdpSocket);

impl Packets {
    /// Sends packets to a closed port.
    pub fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("make a socket")?;
        let mark: u32 = 1;
        // SAFETY: the kernel reads the four bytes of an integer that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MARK,
                (&raw const mark).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error()).context("mark packets, which only root can");
        }
        Ok(Packets(socket))
    }
}

impl Meanwhile for Packets {
    fn tick(&mut self, _: &Child, _: Duration) {
        // The error of a closed port is reported at the next packet.
        let _ = self.0.send_to(b"packet", "127.0.0.1:9");
    }
}

/// Describes what is attached in the kernel.
pub fn attached() -> String {
    let lines = |path: &str| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    format!(
        "{} BPF programs, {} BPF links, {} kprobes, {} functions in ftrace",
        count(PROGRAMS),
        count(LINKS),
        lines("/sys/kernel/tracing/kprobe_events") + lines("/sys/kernel/debug/kprobes/list"),
        lines("/sys/kernel/tracing/enabled_functions")
    )
}

/// Waits until the attachments are as given. The kernel frees unreferenced objects with a delay.
pub fn check(before: &str) -> Result<(), String> {
    let mut now = String::new();
    for _ in 0..200 {
        now = attached();
        if now == before {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("it left {now}; before, there were {before}"))
}

/// Commands of bpf(2) that return the next id.
const PROGRAMS: libc::c_int = 11;
const LINKS: libc::c_int = 31;

/// Counts the objects.
fn count(command: libc::c_int) -> usize {
    // `union bpf_attr` begins with the id to start after, and the id found.
    let mut attributes = [0u32; 3];
    let mut count = 0;
    loop {
        // SAFETY: the kernel reads and writes as many bytes as the given size.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attributes.as_mut_ptr(),
                size_of_val(&attributes) as libc::c_uint,
            )
        };
        if result != 0 {
            return count;
        }
        count += 1;
        attributes = [attributes[1], 0, 0];
    }
}
