//! System calls for attaching, and the programs: two instructions each.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libbpf_sys::bpf_insn;

fn owned(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel just returned this descriptor; it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// How a program is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) kind: libbpf_sys::bpf_prog_type,
    pub(crate) attach_type: u32,
    /// The program's return value.
    pub(crate) returns: i32,
    /// The function's BTF id, for a program that serves one function.
    pub(crate) btf_id: u32,
    /// The BTF of the function's module; `None` for vmlinux.
    pub(crate) module: Option<BorrowedFd<'a>>,
}

/// Loads `return returns;`.
pub(crate) fn load(load: Load<'_>) -> io::Result<OwnedFd> {
    let instruction = |code: u32, imm| {
        let mut instruction = bpf_insn {
            code: code as u8,
            imm,
            ..bpf_insn::default()
        };
        instruction.set_dst_reg(0);
        instruction
    };
    let program = [
        instruction(
            libbpf_sys::BPF_ALU64 | libbpf_sys::BPF_MOV | libbpf_sys::BPF_K,
            load.returns,
        ),
        instruction(libbpf_sys::BPF_JMP | libbpf_sys::BPF_EXIT, 0),
    ];
    // SAFETY: all-zero is valid for this struct of integers and nullable pointers.
    let mut options: libbpf_sys::bpf_prog_load_opts = unsafe { zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_prog_load_opts>() as _;
    options.expected_attach_type = load.attach_type;
    options.attach_btf_id = load.btf_id;
    options.attach_btf_obj_fd = load.module.map_or(0, |module| module.as_raw_fd() as u32);
    // SAFETY: everything that it points to outlives the call; the kernel copies it.
    owned(unsafe {
        libbpf_sys::bpf_prog_load(
            load.kind,
            c"floor".as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as _,
            &raw mut options,
        )
    })
}

/// Creates one kprobe-multi or session link for all of the addresses.
pub(crate) fn link_kprobe_multi(program: BorrowedFd<'_>, attach_type: u32, addresses: &[u64]) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is valid for this struct of integers and nullable pointers.
    let mut options: libbpf_sys::bpf_link_create_opts = unsafe { zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_link_create_opts>() as _;
    options.__bindgen_anon_1.kprobe_multi.addrs = addresses.as_ptr();
    options.__bindgen_anon_1.kprobe_multi.cnt = addresses.len() as u32;
    // SAFETY: `options` and the addresses outlive the call; the kernel copies them.
    owned(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, attach_type, &raw const options) })
}

/// Creates one tracing-multi link (7.x) for all of the ids, which must share a BTF. libbpf does not know the call.
pub(crate) fn link_tracing_multi(program: BorrowedFd<'_>, attach_type: u32, ids: &[u32]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
        ids: u64,
        cookies: u64,
        cnt: u32,
        padding: u32,
    }
    const BPF_LINK_CREATE: libc::c_long = 28;
    let attributes = Attributes {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type,
        flags: 0,
        ids: ids.as_ptr() as u64,
        cookies: 0,
        cnt: ids.len() as u32,
        padding: 0,
    };
    // SAFETY: `attributes` and the ids outlive the call; the kernel copies them.
    let link = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if link < 0 {
        return Err(io::Error::last_os_error());
    }
    owned(link as i32)
}

/// Attaches an fentry or fexit program to the function that it was loaded for.
pub(crate) fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: a tracing program is attached without a name.
    owned(unsafe { libbpf_sys::bpf_raw_tracepoint_open(ptr::null(), program.as_raw_fd()) })
}

const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// Opens a perf kprobe at an address, with the program. It uses the old ioctl, which every kernel has.
pub(crate) fn attach_kprobe(pmu: u32, address: u64, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is valid for this struct of integers.
    let mut attributes: libbpf_sys::perf_event_attr = unsafe { zeroed() };
    attributes.size = size_of::<libbpf_sys::perf_event_attr>() as u32;
    attributes.type_ = pmu;
    attributes.__bindgen_anon_4.config2 = address;
    // SAFETY: `attributes` outlives the call. All threads, as seen from CPU 0: a kprobe fires on each.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            -1,
            0,
            -1,
            8, /* CLOEXEC */
        )
    };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = owned(event as i32)?;
    // SAFETY: both are open, and these ioctls take integers.
    let result = unsafe {
        match libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()) {
            0 => libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0),
            failed => failed,
        }
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(event)
}

/// Returns the BTF of every module that has one, by the module's name.
pub(crate) fn module_btfs() -> HashMap<String, OwnedFd> {
    let mut found = HashMap::new();
    let mut id = 0;
    // SAFETY: `id` is writable; the call fails after the last id.
    while unsafe { libbpf_sys::bpf_btf_get_next_id(id, &raw mut id) } == 0 {
        // SAFETY: the call takes an integer.
        let Ok(btf) = owned(unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) }) else {
            continue;
        };
        let mut name = [0u8; 64];
        // SAFETY: all-zero is valid for this struct of integers.
        let mut info: libbpf_sys::bpf_btf_info = unsafe { zeroed() };
        info.name = name.as_mut_ptr() as u64;
        info.name_len = name.len() as u32;
        let mut size = size_of::<libbpf_sys::bpf_btf_info>() as u32;
        // SAFETY: `info` is writable for `size` bytes and names a buffer with its length.
        let failed = unsafe { libbpf_sys::bpf_btf_get_info_by_fd(btf.as_raw_fd(), &raw mut info, &raw mut size) };
        if failed == 0
            && let Ok(name) = CStr::from_bytes_until_nul(&name)
        {
            found.insert(name.to_string_lossy().into_owned(), btf);
        }
    }
    found
}

/// Raises the limits of open files and of locked memory (which maps and programs are charged to before 5.11), as far as
/// allowed.
pub(crate) fn raise_limits() {
    for (resource, limit) in [
        (libc::RLIMIT_NOFILE, 1 << 20),
        (libc::RLIMIT_MEMLOCK, libc::RLIM_INFINITY),
    ] {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: `limit` outlives the call. If it fails, the call that needs the limit reports it.
        unsafe { libc::setrlimit(resource, &raw const limit) };
    }
}

/// Blocks SIGINT and SIGTERM, for [`wait_for`]. Background jobs of a script ignore SIGINT from the start, and an
/// ignored signal cannot be waited for, so this restores the default action.
pub(crate) fn block_signals() -> libc::sigset_t {
    // SAFETY: all-zero is a valid signal set, which the calls fill.
    unsafe {
        let mut signals: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut signals);
        for signal in [libc::SIGINT, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut());
        signals
    }
}

/// Waits for one of the signals.
pub(crate) fn wait_for(signals: &libc::sigset_t) {
    let mut signal = 0;
    // SAFETY: both pointers are valid.
    unsafe { libc::sigwait(signals, &raw mut signal) };
}
