//! Visits the places where something can fail, one run per place, and counts the results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::environment;
use crate::scenario::{self, Expected, Left, Outcome, Scenario};
use crate::supervisor::{self, Kind, Meanwhile, Watch};

/// A run that takes longer has hung.
const TIMEOUT: Duration = Duration::from_secs(30);

/// System calls that fail, each with an error from its man page.
pub const KINDS: [Kind; 20] = [
    kind("read", &[libc::SYS_read, libc::SYS_pread64, libc::SYS_readv], libc::EIO),
    kind(
        "read, interrupted",
        &[libc::SYS_read, libc::SYS_pread64, libc::SYS_readv],
        libc::EINTR,
    ),
    kind(
        "write",
        &[libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev],
        libc::ENOSPC,
    ),
    kind(
        "write, interrupted",
        &[libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev],
        libc::EINTR,
    ),
    kind("open", OPEN, libc::EMFILE),
    kind("open, denied", OPEN, libc::EACCES),
    kind(
        "stat",
        &[libc::SYS_statx, libc::SYS_fstat, libc::SYS_newfstatat],
        libc::EIO,
    ),
    kind("seek", &[libc::SYS_lseek], libc::ESPIPE),
    kind("truncate", &[libc::SYS_ftruncate], libc::EIO),
    kind("sync", &[libc::SYS_fsync, libc::SYS_fdatasync], libc::EIO),
    kind("rename, link", RENAME, libc::EACCES),
    kind("unlink", UNLINK, libc::EACCES),
    kind("make folder", MKDIR, libc::ENOSPC),
    kind(
        "mmap",
        // Not brk, which reports failure differently; the allocator then uses mmap.
        &[libc::SYS_mmap, libc::SYS_mremap],
        libc::ENOMEM,
    ),
    kind("mprotect", &[libc::SYS_mprotect], libc::ENOMEM),
    kind("new thread or process", CLONE, libc::EAGAIN),
    kind("poll", POLL, libc::ENOMEM),
    kind("poll, interrupted", POLL, libc::EINTR),
    kind("new descriptor", DESCRIPTOR, libc::EMFILE),
    kind(
        "fcntl, ioctl",
        &[libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_flock],
        libc::EINVAL,
    ),
];

const fn kind(name: &'static str, calls: &'static [libc::c_long], error: i32) -> Kind {
    Kind { name, calls, error }
}

// System calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
mod calls {
    pub(super) const OPEN: &[libc::c_long] = &[libc::SYS_open, libc::SYS_openat, libc::SYS_openat2];
    pub(super) const RENAME: &[libc::c_long] = &[
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_link,
        libc::SYS_linkat,
    ];
    pub(super) const UNLINK: &[libc::c_long] = &[libc::SYS_unlink, libc::SYS_unlinkat];
    pub(super) const MKDIR: &[libc::c_long] = &[libc::SYS_mkdir, libc::SYS_mkdirat];
    pub(super) const CLONE: &[libc::c_long] = &[libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork, libc::SYS_vfork];
    pub(super) const POLL: &[libc::c_long] = &[
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
    ];
    pub(super) const DESCRIPTOR: &[libc::c_long] = &[
        libc::SYS_pipe,
        libc::SYS_pipe2,
        libc::SYS_eventfd2,
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_dup,
        libc::SYS_epoll_create1,
        libc::SYS_memfd_create,
    ];
}

#[cfg(not(target_arch = "x86_64"))]
mod calls {
    pub(super) const OPEN: &[libc::c_long] = &[libc::SYS_openat, libc::SYS_openat2];
    pub(super) const RENAME: &[libc::c_long] = &[libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat];
    pub(super) const UNLINK: &[libc::c_long] = &[libc::SYS_unlinkat];
    pub(super) const MKDIR: &[libc::c_long] = &[libc::SYS_mkdirat];
    pub(super) const CLONE: &[libc::c_long] = &[libc::SYS_clone, libc::SYS_clone3];
    pub(super) const POLL: &[libc::c_long] = &[libc::SYS_ppoll, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
    pub(super) const DESCRIPTOR: &[libc::c_long] = &[
        libc::SYS_pipe2,
        libc::SYS_eventfd2,
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_dup,
        libc::SYS_epoll_create1,
        libc::SYS_memfd_create,
    ];
}

use calls::{CLONE, DESCRIPTOR, MKDIR, OPEN, POLL, RENAME, UNLINK};

/// The kind of fault.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// One allocation fails.
    Allocation,
    /// All clock readings from one on are off by this many seconds.
    Clock(i64),
    /// One system call fails.
    Call(Kind),
}

/// All faults.
pub fn faults() -> Vec<Fault> {
    // A day back, and further ahead than any timeout.
    let mut faults = vec![Fault::Allocation, Fault::Clock(-86_400), Fault::Clock(1 << 40)];
    faults.extend(KINDS.map(Fault::Call));
    faults
}

impl Fault {
    /// Returns the name in the counts.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Allocation => "allocation",
            Fault::Clock(step) if *step < 0 => "clock, set back",
            Fault::Clock(_) => "clock, set ahead",
            Fault::Call(kind) => kind.name,
        }
    }

    /// Returns whether the fault leaves the allocator without memory.
    fn is_memory(&self) -> bool {
        match self {
            Fault::Allocation => true,
            Fault::Clock(_) => false,
            Fault::Call(kind) => kind.error == libc::ENOMEM,
        }
    }
}

/// Limits of the walk.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the first `n` places of each.
    pub most: u64,
    /// Only every n-th place.
    pub step: u64,
    /// Start no further run after this time.
    pub time: Duration,
    /// Only scenarios and faults whose name contains this.
    pub only: Option<String>,
}

/// Results of the walk.
#[derive(Debug, Default)]
pub struct Report {
    /// By scenario and fault.
    pub counts: BTreeMap<(usize, usize), Counts>,
    /// Failures in words, with the command that reproduces them.
    pub wrong: Vec<String>,
    /// Runs skipped for lack of time.
    pub left_out: u64,
    scenarios: Vec<&'static str>,
}

/// Results of the runs with one fault in one scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Number of places.
    pub places: u64,
    /// Runs that ended with exit code 0 and complete output.
    pub unharmed: u64,
    /// Runs that ended with exit code 1 and a message.
    pub failed: u64,
    /// Runs that the allocator aborted.
    pub aborted: u64,
    /// Runs that were wrong.
    pub wrong: u64,
}

impl Counts {
    /// Returns the number of runs.
    pub fn runs(&self) -> u64 {
        self.unharmed + self.failed + self.aborted + self.wrong
    }

    fn add(&mut self, other: &Counts) {
        self.places += other.places;
        self.unharmed += other.unharmed;
        self.failed += other.failed;
        self.aborted += other.aborted;
        self.wrong += other.wrong;
    }
}

/// Shared state of all runs.
pub struct Walk<'a> {
    /// The faulty ipft.
    pub faulty: &'a Path,
    /// Working folder.
    pub folder: &'a Path,
    /// Callbacks during a run.
    pub meanwhile: &'a (dyn Fn() -> Box<dyn Meanwhile> + Sync),
    /// Checks what a run leaves on the machine, besides files.
    pub check: &'a (dyn Fn() -> Result<(), String> + Sync),
    /// Number of parallel runs.
    pub threads: usize,
}

struct Job {
    scenario: usize,
    fault: usize,
    nth: u64,
}

impl Walk<'_> {
    fn recording(&self) -> PathBuf {
        self.folder.join("trace.ipft")
    }

    /// Runs a scenario with the fault at this place; without one, counts all places.
    fn run(&self, scenario: &Scenario, fault: Option<(&Fault, u64)>, faults: &[Fault]) -> Result<(Left, Vec<u64>)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let folder = self
            .folder
            .join(format!("run-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let out = folder.join("out");
        fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
        let file = |name: &str| File::create(folder.join(name)).with_context(|| format!("make {name}"));
        let counts = folder.join("counts");
        let mut command = Command::new(self.faulty);
        command
            .args(scenario.words(&self.recording(), &out))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(file("stdout")?)
            .stderr(file("stderr")?);
        let kinds: Vec<Kind> = (faults.iter())
            .filter_map(|fault| match fault {
                Fault::Call(kind) => Some(*kind),
                Fault::Allocation | Fault::Clock(_) => None,
            })
            .collect();
        let watch = match fault {
            None => {
                command.env(environment::COUNTS, &counts);
                Watch::Count(&kinds)
            }
            Some((Fault::Allocation, nth)) => {
                command.env(environment::ALLOCATION, nth.to_string());
                Watch::Nothing
            }
            Some((Fault::Clock(step), nth)) => {
                command.env(environment::CLOCK, nth.to_string());
                command.env(environment::CLOCK_STEP, step.to_string());
                Watch::Nothing
            }
            Some((Fault::Call(kind), nth)) => Watch::Fail(kind, nth),
        };
        let run = supervisor::run(command, watch, TIMEOUT, &mut *(self.meanwhile)())?;
        let read = |name: &str| fs::read(folder.join(name)).with_context(|| format!("read {name}"));
        let left = Left {
            status: run.status,
            stdout: read("stdout")?,
            stderr: String::from_utf8_lossy(&read("stderr")?).into_owned(),
            folder: out,
        };
        let counted = fs::read_to_string(&counts).unwrap_or_default();
        let mut counted = counted.split(' ').map(|number| number.parse().unwrap_or(0));
        let (allocations, readings) = (counted.next().unwrap_or(0), counted.next().unwrap_or(0));
        let calls = |kind: &Kind| kind.calls.iter().filter_map(|call| run.calls.get(call)).sum();
        let places = (faults.iter())
            .map(|fault| match fault {
                Fault::Allocation => allocations,
                Fault::Clock(_) => readings,
                Fault::Call(kind) => calls(kind),
            })
            .collect();
        Ok((left, places))
    }

    /// Runs these scenarios with these faults.
    pub fn walk(&self, scenarios: &[Scenario], faults: &[Fault], options: &Options) -> Result<Report> {
        scenario::record(&self.recording())?;
        let mut report = Report {
            scenarios: scenarios.iter().map(|scenario| scenario.name).collect(),
            ..Report::default()
        };
        let only = |scenario: &Scenario, fault: &Fault| {
            options
                .only
                .as_ref()
                .is_none_or(|only| format!("{}: {}", scenario.name, fault.name()).contains(only.as_str()))
        };
        let mut expected = Vec::new();
        let mut jobs = Vec::new();
        // The fewest places first, so that a time limit cuts off the longest walks.
        for (index, scenario) in scenarios.iter().enumerate() {
            if !faults.iter().any(|fault| only(scenario, fault)) {
                expected.push(None);
                continue;
            }
            // The first run of a plugin fills the cache, which is another path.
            remove(&self.run(scenario, None, faults)?.0)?;
            let (left, places) = self.run(scenario, None, faults)?;
            let right = Some(scenario.expect(&left).map_err(anyhow::Error::msg)?);
            remove(&left)?;
            for number in (0..faults.len()).filter(|number| only(scenario, &faults[*number])) {
                let places = places[number];
                report.counts.entry((index, number)).or_default().places = places;
                // Different places in each scenario, and at least one.
                let first = 1 + (index + number) as u64 % options.step.min(places).max(1);
                let nth = (first..=places.min(options.most)).step_by(options.step.max(1) as usize);
                jobs.extend(nth.map(|nth| Job {
                    scenario: index,
                    fault: number,
                    nth,
                }));
            }
            expected.push(right);
        }
        jobs.sort_by_key(|job| job.nth);
        let begin = Instant::now();
        let report = Mutex::new(report);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|_| {
                    scope.spawn(|| {
                        self.work(
                            scenarios,
                            faults,
                            &expected,
                            &jobs,
                            &next,
                            begin + options.time,
                            &report,
                        )
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => anyhow::bail!("a thread of the walk panicked"),
            })
        })?;
        Ok(report.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    #[allow(clippy::too_many_arguments, reason = "what the threads of one walk share")]
    fn work(
        &self,
        scenarios: &[Scenario],
        faults: &[Fault],
        expected: &[Option<Expected>],
        jobs: &[Job],
        next: &AtomicUsize,
        until: Instant,
        report: &Mutex<Report>,
    ) -> Result<()> {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (scenario, fault) = (&scenarios[job.scenario], &faults[job.fault]);
            let Some(expected) = &expected[job.scenario] else {
                continue;
            };
            if Instant::now() > until {
                report.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).left_out += 1;
                continue;
            }
            let (left, _) = self.run(scenario, Some((fault, job.nth)), faults)?;
            let judged = scenario
                .judge(&left, expected, fault.is_memory())
                .and_then(|outcome| (self.check)().map(|()| outcome));
            let mut report = report.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let counts = report.counts.entry((job.scenario, job.fault)).or_default();
            match judged {
                Ok(Outcome::Unharmed) => counts.unharmed += 1,
                Ok(Outcome::Failed) => counts.failed += 1,
                Ok(Outcome::Aborted) => counts.aborted += 1,
                Err(_) => counts.wrong += 1,
            }
            match judged {
                Ok(_) => remove(&left)?,
                Err(what) => report.wrong.push(format!(
                    "{}: {} {}: {what} (in {})\n    {}",
                    scenario.name,
                    fault.name(),
                    job.nth,
                    left.folder.display(),
                    left.stderr.trim().replace('\n', "\n    ")
                )),
            }
        }
        Ok(())
    }
}

/// Removes the files of a correct run.
fn remove(left: &Left) -> Result<()> {
    let folder = left.folder.parent().unwrap_or(&left.folder);
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

impl Report {
    /// Formats the counts as tables in Markdown: by fault, and by scenario.
    pub fn tables(&self, faults: &[Fault]) -> String {
        let mut text = String::new();
        let mut table = |title: &str, rows: Vec<(&str, Counts)>| {
            let _ = writeln!(
                text,
                "| {title} | places | runs | no harm | failed and said so | aborted | wrong |"
            );
            let _ = writeln!(text, "|---|---|---|---|---|---|---|");
            for (name, counts) in rows {
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {} | {} | {} | {} |",
                    counts.places,
                    counts.runs(),
                    counts.unharmed,
                    counts.failed,
                    counts.aborted,
                    counts.wrong
                );
            }
            text.push('\n');
        };
        let sum = |wanted: &dyn Fn(&(usize, usize)) -> bool| {
            let mut sum = Counts::default();
            self.counts
                .iter()
                .filter(|(key, _)| wanted(key))
                .for_each(|(_, counts)| sum.add(counts));
            sum
        };
        table(
            "what fails",
            faults
                .iter()
                .enumerate()
                .map(|(index, fault)| (fault.name(), sum(&|key| key.1 == index)))
                .filter(|(_, counts)| counts.places > 0)
                .collect(),
        );
        table(
            "what is run",
            self.scenarios
                .iter()
                .enumerate()
                .map(|(index, name)| (*name, sum(&|key| key.0 == index)))
                .chain([("all", sum(&|_| true))])
                .collect(),
        );
        text
    }
}
