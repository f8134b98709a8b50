//! The system calls that remain (seccomp(2)): a list of what is allowed, in every thread. All others fail with EPERM, so
//! that a plugin that tries one goes on, and an oversight here does not kill a trace.
//!
//! What matters is what is missing: no program is run, no other process traced or signalled, no socket made or
//! connected, no code made executable, nothing loaded into the kernel, no setuid file made, and no file opened unless a
//! ring or a granted folder needs it.

use std::io;

use super::Needs;

/// When a call is allowed.
enum When {
    Always,
    /// If all of these hold.
    If(Vec<Test>),
    /// Never, and with this error: the C library does the same in an older way then.
    Fails(i32),
}

/// A test of the low 32 bits of an argument, or of its high ones: the bits of `mask` are one of `values`.
struct Test {
    argument: u32,
    high: bool,
    mask: u32,
    values: Vec<u32>,
}

struct Rule {
    call: libc::c_long,
    when: When,
}

fn low(argument: u32, mask: u32, values: impl Into<Vec<u32>>) -> Test {
    Test {
        argument,
        high: false,
        mask,
        values: values.into(),
    }
}

fn null(argument: u32) -> [Test; 2] {
    [false, true].map(|high| Test {
        argument,
        high,
        mask: u32::MAX,
        values: vec![0],
    })
}

/// `AUDIT_ARCH_*` of include/uapi/linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

const SECCOMP_SET_MODE_FILTER: u32 = 1;
const SECCOMP_GET_ACTION_AVAIL: u32 = 2;
const SECCOMP_FILTER_FLAG_TSYNC: u32 = 1;
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;

/// Allowed whatever the arguments; those that a trace makes all the time come first.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_futex,
    libc::SYS_ppoll,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_msync,
    // Descriptors that are open.
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_getdents64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_recvfrom,
    // Descriptors that lead nowhere else.
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_memfd_create,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_pselect6,
    // Metadata of a name, but not its content.
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    // The process's own threads, signals and clocks.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_nanosleep,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_umask,
    libc::SYS_setsid,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// The same under names that only old architectures have.
#[cfg(target_arch = "x86_64")]
const ALWAYS_OLD: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_select,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_access,
    libc::SYS_time,
    libc::SYS_pause,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_OLD: &[libc::c_long] = &[];

/// Names in the folders of outputs.
const NAMES: &[libc::c_long] = &[libc::SYS_linkat, libc::SYS_renameat2, libc::SYS_unlinkat];
#[cfg(target_arch = "x86_64")]
const NAMES_OLD: &[libc::c_long] = &[libc::SYS_link, libc::SYS_rename, libc::SYS_renameat, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const NAMES_OLD: &[libc::c_long] = &[libc::SYS_renameat];

/// System calls of plugins in folders that they may change.
const FOLDERS: &[libc::c_long] = &[libc::SYS_mkdirat, libc::SYS_symlinkat, libc::SYS_utimensat];

/// The flags of clone(2) that make namespaces.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// `S_ISUID` and `S_ISGID`: a file of root's that is one would outlive the trace as a way to root.
const SET_ID: u32 = 0o6000;

fn rules(needs: &Needs) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut always = |calls: &[libc::c_long]| {
        rules.extend(calls.iter().map(|&call| Rule {
            call,
            when: When::Always,
        }));
    };
    always(ALWAYS);
    always(ALWAYS_OLD);
    if needs.names() {
        always(NAMES);
        always(NAMES_OLD);
    }
    if needs.makes_folders() {
        always(FOLDERS);
    }
    if needs.accepts {
        always(&[libc::SYS_listen, libc::SYS_accept4, libc::SYS_accept]);
    }
    let process = std::process::id();
    let exec = libc::PROT_EXEC as u32;
    let mut only = |call, tests: Vec<Test>| {
        rules.push(Rule {
            call,
            when: When::If(tests),
        });
    };
    only(libc::SYS_mmap, vec![low(2, exec, [0])]);
    only(libc::SYS_mprotect, vec![low(2, exec, [0])]);
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u32;
    // A thread, and what fork(3) makes: detaching has children that close descriptors. They have these rules, too.
    only(libc::SYS_clone, vec![low(0, thread | NAMESPACES, [thread, 0])]);
    only(libc::SYS_tgkill, vec![low(0, u32::MAX, [process])]);
    only(libc::SYS_kill, vec![low(0, u32::MAX, [process])]);
    only(libc::SYS_prlimit64, vec![low(0, u32::MAX, [0])]);
    // Names of threads and of memory (PR_SET_VMA).
    only(
        libc::SYS_prctl,
        vec![low(0, u32::MAX, [libc::PR_SET_NAME as u32, 0x5356_4d41])],
    );
    // A write to a socket that is open.
    only(libc::SYS_sendto, null(4).into());
    only(libc::SYS_socketpair, vec![low(0, u32::MAX, [libc::AF_UNIX as u32])]);
    // Counters of programs and links that are open (BPF_OBJ_GET_INFO_BY_FD).
    only(libc::SYS_bpf, vec![low(0, u32::MAX, [15])]);
    only(libc::SYS_ioctl, vec![low(1, u32::MAX, ioctls(needs))]);
    only(libc::SYS_fcntl, vec![low(1, u32::MAX, fcntls())]);
    only(libc::SYS_fchmod, vec![low(1, SET_ID, [0])]);
    if needs.opens() {
        only(libc::SYS_openat, vec![low(3, SET_ID, [0])]);
        // Its arguments cannot be looked at.
        rules.push(Rule {
            call: libc::SYS_openat2,
            when: When::Fails(libc::ENOSYS),
        });
    }
    // As before.
    rules.push(Rule {
        call: libc::SYS_clone3,
        when: When::Fails(libc::ENOSYS),
    });
    rules
}

/// The ioctls of terminals, pipes and perf events. None that types into a terminal (TIOCSTI, TIOCLINUX).
fn ioctls(needs: &Needs) -> Vec<u32> {
    /// `PERF_EVENT_IOC_DISABLE`, and `TCGETS2`.
    const OTHERS: [u32; 2] = [0x2401, 0x802c_542a];
    /// `TCSETS` and `TCSETS2`: the modes of a terminal that is drawn on.
    const MODES: [u32; 2] = [libc::TCSETS as u32, 0x402c_542b];
    let named = [
        libc::TCGETS,
        libc::TIOCGWINSZ,
        libc::FIONREAD,
        libc::FIONBIO,
        libc::FIOCLEX,
        libc::FIONCLEX,
    ];
    let modes = MODES.into_iter().filter(|_| needs.terminal);
    (named.into_iter().map(|request| request as u32))
        .chain(OTHERS)
        .chain(modes)
        .collect()
}

/// None that sends a signal to another process (F_SETOWN).
fn fcntls() -> Vec<u32> {
    let commands = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETLK,
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_OFD_GETLK,
        libc::F_OFD_SETLK,
        libc::F_OFD_SETLKW,
        libc::F_GETPIPE_SZ,
        libc::F_SETPIPE_SZ,
        libc::F_ADD_SEALS,
        libc::F_GET_SEALS,
    ];
    commands.map(|command| command as u32).into()
}

/// Returns whether the kernel filters system calls of this architecture.
pub(super) fn is_available() -> bool {
    let action = SECCOMP_RET_ERRNO;
    // SAFETY: the call reads one integer.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0u32, &raw const action) } == 0;
    known && ARCHITECTURE.is_some()
}

/// Filters in every thread. They must have given up new privileges.
pub(super) fn install(needs: &Needs) -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut filter = compile(architecture, &rules(needs));
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program and its instructions outlive the call, and the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        // The number of a thread that cannot take it, because it has a filter that others have not.
        1.. => Err(io::Error::other(format!("thread {result} has another filter"))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The filter, in classic BPF (linux/filter.h).
fn compile(architecture: u32, rules: &[Rule]) -> Vec<libc::sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const EQUALS: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // Offsets in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const ARGUMENTS: u32 = 16;
    let refuse = SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let plain = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let jump = |k, jt: usize, jf: usize| libc::sock_filter {
        code: EQUALS,
        jt: jt as u8,
        jf: jf as u8,
        k,
    };
    let mut filter = vec![
        plain(LOAD, ARCHITECTURE),
        jump(architecture, 1, 0),
        plain(RETURN, refuse),
        plain(LOAD, NUMBER),
    ];
    for rule in rules {
        let mut body = Vec::new();
        match &rule.when {
            When::Always => {}
            When::Fails(errno) => body.push(plain(RETURN, SECCOMP_RET_ERRNO | *errno as u32)),
            When::If(tests) => {
                for test in tests {
                    let half = if test.high { 4 } else { 0 };
                    body.push(plain(LOAD, ARGUMENTS + 8 * test.argument + half));
                    body.push(plain(AND, test.mask));
                    let count = test.values.len();
                    for (index, &value) in test.values.iter().enumerate() {
                        // Past the other values and the refusal, or on to the next.
                        body.push(jump(value, count - index, 0));
                    }
                    body.push(plain(RETURN, refuse));
                }
            }
        }
        if !matches!(rule.when, When::Fails(_)) {
            body.push(plain(RETURN, SECCOMP_RET_ALLOW));
        }
        filter.push(jump(rule.call as u32, 0, body.len()));
        filter.extend(body);
    }
    filter.push(plain(RETURN, refuse));
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does, on a call with these arguments.
    fn run(filter: &[libc::sock_filter], call: libc::c_long, arguments: [u64; 6]) -> u32 {
        let load = |offset: u32| match offset {
            0 => call as u32,
            4 => ARCHITECTURE.unwrap(),
            _ => (arguments[(offset as usize - 16) / 8] >> (8 * (offset % 8))) as u32,
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = &filter[at];
            at += 1;
            match step.code {
                0x20 => accumulator = load(step.k),
                0x54 => accumulator &= step.k,
                0x15 if accumulator == step.k => at += usize::from(step.jt),
                0x15 => at += usize::from(step.jf),
                _ => return step.k,
            }
        }
    }

    fn verdict(needs: &Needs, call: libc::c_long, arguments: [u64; 6]) -> Option<i32> {
        let filter = compile(ARCHITECTURE.unwrap(), &rules(needs));
        assert!(filter.len() < 4096, "the kernel takes so many (BPF_MAXINSNS)");
        match run(&filter, call, arguments) {
            SECCOMP_RET_ALLOW => None,
            refused => Some((refused & 0xffff) as i32),
        }
    }

    #[test]
    fn call_that_a_trace_makes_is_allowed() {
        let none = Needs::default();
        for call in [libc::SYS_read, libc::SYS_ppoll, libc::SYS_futex, libc::SYS_waitid] {
            assert_eq!(verdict(&none, call, [0; 6]), None, "{call}");
        }
        let threads = [
            u64::from(libc::CLONE_THREAD as u32 | libc::CLONE_VM as u32),
            0,
            0,
            0,
            0,
            0,
        ];
        assert_eq!(verdict(&none, libc::SYS_clone, threads), None);
        assert_eq!(
            verdict(&none, libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]),
            None
        );
        assert_eq!(verdict(&none, libc::SYS_clone3, [0; 6]), Some(libc::ENOSYS));
        let own = [u64::from(std::process::id()), 0, 0, 0, 0, 0];
        assert_eq!(verdict(&none, libc::SYS_tgkill, own), None);
        assert_eq!(verdict(&none, libc::SYS_bpf, [15, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn call_that_an_attacker_makes_is_refused() {
        let none = Needs::default();
        let refused = Some(libc::EPERM);
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_mount,
            libc::SYS_init_module,
            libc::SYS_io_uring_setup,
            libc::SYS_process_vm_writev,
            libc::SYS_setuid,
            libc::SYS_linkat,
        ] {
            assert_eq!(verdict(&none, call, [0; 6]), refused, "{call}");
        }
        // A namespace, a signal to another process, a new program or map, code, a key press.
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        assert_eq!(
            verdict(&none, libc::SYS_clone, first(libc::CLONE_NEWUSER as u64)),
            refused
        );
        assert_eq!(verdict(&none, libc::SYS_kill, first(1)), refused);
        assert_eq!(verdict(&none, libc::SYS_bpf, first(5)), refused);
        assert_eq!(verdict(&none, libc::SYS_mmap, [0, 4096, 7, 0x22, 0, 0]), refused);
        assert_eq!(verdict(&none, libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0, 0]), refused);
        assert_eq!(verdict(&none, libc::SYS_sendto, [3, 0, 0, 0, 1 << 32, 0]), refused);
        assert_eq!(verdict(&none, libc::SYS_fchmod, [3, 0o4755, 0, 0, 0, 0]), refused);
    }

    #[test]
    fn terminal_that_is_drawn_on_has_modes() {
        let terminal = Needs {
            terminal: true,
            ..Needs::default()
        };
        let ioctl = |needs: &Needs, request| verdict(needs, libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
        for modes in [libc::TCSETS, 0x402c_542b] {
            assert_eq!(ioctl(&terminal, modes), None);
            assert_eq!(ioctl(&Needs::default(), modes), Some(libc::EPERM));
        }
        for allowed in [libc::TCGETS, libc::TIOCGWINSZ] {
            assert_eq!(ioctl(&terminal, allowed), None);
        }
        for refused in [libc::TIOCSTI, libc::TIOCSCTTY, libc::TIOCSPGRP, libc::TIOCSWINSZ] {
            assert_eq!(ioctl(&terminal, refused), Some(libc::EPERM));
        }
    }

    #[test]
    fn ring_opens_files_and_none_that_is_setuid() {
        let needs = Needs {
            folders: vec![super::super::Folder {
                path: ".".into(),
                used: super::super::FolderUse::Ring,
            }],
            ..Needs::default()
        };
        let open = |mode| verdict(&needs, libc::SYS_openat, [0, 0, 0x41, mode, 0, 0]);
        assert_eq!(open(0o600), None);
        assert_eq!(open(0o4755), Some(libc::EPERM));
        assert_eq!(verdict(&needs, libc::SYS_openat2, [0; 6]), Some(libc::ENOSYS));
        assert_eq!(verdict(&needs, libc::SYS_linkat, [0; 6]), None);
    }
}
