//! Runs a program and makes one system call of a kind fail: the kernel notifies the supervisor before it executes one
//! (`SECCOMP_RET_USER_NOTIF`, seccomp_unotify(2)). The program, its threads and its children run as usual; no
//! privileges are needed.

use std::collections::BTreeMap;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::marker::MARK;

/// System calls that fail together.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Name in the counts.
    pub name: &'static str,
    /// Their numbers.
    pub calls: &'static [libc::c_long],
    /// The error that they return.
    pub error: i32,
}

/// Result of a run.
#[derive(Debug)]
pub struct Run {
    /// Exit status; `None` if the run was killed at its time limit.
    pub status: Option<ExitStatus>,
    /// Calls of each number, once counting began.
    pub calls: BTreeMap<libc::c_long, u64>,
}

/// Callbacks between the start of a program and its end.
pub trait Meanwhile {
    /// Called every few milliseconds.
    fn tick(&mut self, child: &Child, since: Duration);
}

impl Meanwhile for () {
    fn tick(&mut self, _: &Child, _: Duration) {}
}

/// The supervisor's mode.
#[derive(Clone, Copy, Debug)]
pub enum Watch<'a> {
    /// Nothing: the program runs alone.
    Nothing,
    /// Counts these calls.
    Count(&'a [Kind]),
    /// Fails this call of the kind, counted from 1.
    Fail(&'a Kind, u64),
}

/// Runs the command to its end, within `timeout`.
pub fn run(mut command: Command, watch: Watch<'_>, timeout: Duration, meanwhile: &mut dyn Meanwhile) -> Result<Run> {
    let (calls, fail) = match watch {
        Watch::Nothing => (Vec::new(), None),
        Watch::Count(kinds) => (kinds.iter().flat_map(|kind| kind.calls).copied().collect(), None),
        Watch::Fail(kind, nth) => (kind.calls.to_vec(), Some((nth, kind.error))),
    };
    let listener = match calls[..] {
        [] => None,
        _ => Some(listen(&mut command, &calls)?),
    };
    let mut child = command.spawn().context("start the program")?;
    // After the fork, as the program holds the other end as well.
    let listener = listener.map(Pending::receive).transpose()?;
    let start = Instant::now();
    let mut counted = Counted {
        fail,
        all: 0,
        calls: BTreeMap::new(),
        counts: false,
    };
    let status = loop {
        match &listener {
            Some(listener) => counted.serve(listener)?,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
        if let Some(status) = child.try_wait().context("wait for the program")? {
            break Some(status);
        }
        meanwhile.tick(&child, start.elapsed());
        if start.elapsed() > timeout {
            // The program may just have ended, which is no error.
            let _ = child.kill();
            drop(listener);
            child.wait().context("wait for the program")?;
            break None;
        }
    };
    Ok(Run {
        status,
        calls: counted.calls,
    })
}

struct Counted {
    /// The call that fails, and its error.
    fail: Option<(u64, i32)>,
    all: u64,
    calls: BTreeMap<libc::c_long, u64>,
    counts: bool,
}

impl Counted {
    /// Answers the kernel's notifications for some milliseconds.
    fn serve(&mut self, listener: &OwnedFd) -> Result<()> {
        let mut ready = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which outlives the call.
        while unsafe { libc::poll(&mut ready, 1, 5) } > 0 {
            if ready.revents & libc::POLLIN == 0 {
                // All processes with the filter have ended.
                std::thread::sleep(Duration::from_millis(1));
                break;
            }
            self.answer(listener.as_raw_fd())?;
        }
        Ok(())
    }

    fn answer(&mut self, listener: RawFd) -> Result<()> {
        // SAFETY: structures of integers; the kernel requires the first to be zeroed.
        let mut requested: libc::seccomp_notif = unsafe { zeroed() };
        // SAFETY: the kernel writes a `seccomp_notif`, the type of the argument.
        if unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV as _, &mut requested) } != 0 {
            let error = io::Error::last_os_error();
            // The calling thread was interrupted or has ended.
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => Ok(()),
                _ => Err(error).context("receive from seccomp"),
            };
        }
        // SAFETY: as above.
        let mut answer: libc::seccomp_notif_resp = unsafe { zeroed() };
        answer.id = requested.id;
        let number = libc::c_long::from(requested.data.nr);
        let error = if number == libc::SYS_getpriority && requested.data.args[0] == u64::from(MARK) {
            self.counts = true;
            Some(libc::EINVAL)
        } else if self.counts {
            self.all += 1;
            *self.calls.entry(number).or_default() += 1;
            self.fail.filter(|(nth, _)| *nth == self.all).map(|(_, error)| error)
        } else {
            None
        };
        match error {
            Some(error) => answer.error = -error,
            None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        }
        // SAFETY: the kernel reads a `seccomp_notif_resp`, the type of the argument.
        if unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND as _, &mut answer) } != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::ENOENT) {
                return Err(error).context("answer to seccomp");
            }
        }
        Ok(())
    }
}

/// The descriptor to which the program sends its listener.
struct Pending {
    ours: OwnedFd,
    _theirs: OwnedFd,
}

/// Installs a filter in the command that notifies before these calls.
fn listen(command: &mut Command, calls: &[libc::c_long]) -> Result<Pending> {
    let mut ends = [0; 2];
    // SAFETY: the array has two descriptors.
    if unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
            ends.as_mut_ptr(),
        )
    } != 0
    {
        return Err(io::Error::last_os_error()).context("make a pair of sockets");
    }
    // SAFETY: both were just created and have no other owner.
    let [ours, theirs] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let program = filter(calls);
    let socket = theirs.as_raw_fd();
    // SAFETY: between fork and exec it makes only system calls, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            let listener = install(&program)?;
            send(socket, listener)
        });
    }
    Ok(Pending { ours, _theirs: theirs })
}

/// Builds a filter that notifies for these calls and for the mark.
fn filter(calls: &[libc::c_long]) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // `struct seccomp_data`: the number, the architecture, the instruction pointer, the arguments (little-endian).
    let mut program = vec![step(LOAD, 0, 0, 0)];
    for call in calls {
        program.push(step(EQUAL, 0, 1, *call as u32));
        program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.extend([
        step(EQUAL, 0, 3, libc::SYS_getpriority as u32),
        step(LOAD, 0, 0, 16),
        step(EQUAL, 0, 1, MARK),
        step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    program
}

fn install(program: &[libc::sock_filter]) -> io::Result<RawFd> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the arguments are integers; the flag forbids gaining privileges by exec.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel reads the program, which outlives the call.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &program,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener as RawFd)
}

/// Size of a control message with one descriptor.
#[repr(C, align(8))]
struct Carried([u8; 32]);

/// Returns a message with one byte and space for a descriptor.
fn message(part: &mut libc::iovec, carried: &mut Carried) -> libc::msghdr {
    // SAFETY: a structure of integers and pointers, for which zero is valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = carried.0.as_mut_ptr().cast();
    // SAFETY: it only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
    message
}

fn send(socket: RawFd, descriptor: RawFd) -> io::Result<()> {
    let mut byte = 0u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut carried = Carried([0; 32]);
    let message = message(&mut part, &mut carried);
    // SAFETY: the message has space for one header with a descriptor, so there is a first one.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        if libc::sendmsg(socket, &message, 0) != 1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

impl Pending {
    fn receive(self) -> Result<OwnedFd> {
        let mut byte = 0u8;
        let mut part = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let mut carried = Carried([0; 32]);
        let mut message = message(&mut part, &mut carried);
        // SAFETY: the message's parts outlive the call and have the given sizes.
        let received = unsafe {
            libc::recvmsg(
                self.ours.as_raw_fd(),
                &mut message,
                libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT,
            )
        };
        // SAFETY: the kernel filled in the message.
        let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        if received != 1 || header.is_null() {
            bail!("the program did not send its seccomp listener");
        }
        // SAFETY: the header exists; with SCM_RIGHTS it carries a descriptor, which this process now owns.
        Ok(unsafe { OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()) })
    }
}
