//! The few kernel calls of attaching that libbpf-rs does not make as the backends need them: kprobes by address and
//! offset, links on raw file descriptors, and programs that are loaded from patched instructions.
//!
//! Everything here is a thin, safe wrapper: it owns what it opens and turns a failure into the kernel's error code.
//! All attachments are file descriptors, so the kernel removes them when the process ends, however it ends.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::{bpf_insn, bpf_link_create_opts, bpf_prog_load_opts};

/// Takes over a file descriptor that libbpf returned, or the error that it returned as a negative number.
fn owned(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel just returned this descriptor; it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// Creates a ring buffer of this size.
pub(super) fn ring_buffer(bytes: u32) -> io::Result<OwnedFd> {
    // SAFETY: the name outlives the call, and null options are allowed.
    owned(unsafe {
        libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_RINGBUF,
            c"ipft_ring".as_ptr(),
            0,
            0,
            bytes,
            std::ptr::null(),
        )
    })
}

/// The kernel counts how often programs run while this is open (5.8 and later, with CAP_SYS_ADMIN).
pub(super) fn count_runs() -> io::Result<OwnedFd> {
    // SAFETY: the call takes an integer.
    owned(unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) })
}

/// Returns how often a program ran while the kernel counted.
pub(super) fn runs(program: BorrowedFd<'_>) -> u64 {
    // SAFETY: all-zero is valid for this struct of integers, and asks for no optional arrays.
    let mut info: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes; a kernel with a shorter struct leaves the rest zero.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut size) };
    if result == 0 { info.run_cnt } else { 0 }
}

/// Location of a kprobe.
#[derive(Clone, Copy, Debug)]
pub(super) enum KprobeTarget<'a> {
    /// A symbol.
    Symbol(&'a str),
    /// An address in kernel text.
    Address(u64),
}

/// A perf event of the kprobe kind, not yet connected to a program. `pmu` is the type in
/// `/sys/bus/event_source/devices/kprobe/type`.
pub(super) fn open_kprobe(pmu: u32, target: KprobeTarget<'_>, is_return: bool) -> io::Result<OwnedFd> {
    let name = match target {
        KprobeTarget::Symbol(name) => Some(CString::new(name)?),
        KprobeTarget::Address(_) => None,
    };
    // SAFETY: all-zero is a valid perf_event_attr, which is plain data.
    let mut attr: libbpf_sys::perf_event_attr = unsafe { std::mem::zeroed() };
    attr.size = size_of::<libbpf_sys::perf_event_attr>() as u32;
    attr.type_ = pmu;
    // Bit 0 of `config` says return (/sys/bus/event_source/devices/kprobe/format/retprobe).
    attr.config = is_return.into();
    // The unions hold kprobe_func and probe_offset, or a null pointer and kprobe_addr (perf_event_open(2)).
    match target {
        KprobeTarget::Symbol(_) => {
            attr.__bindgen_anon_3.config1 = name.as_ref().map_or(0, |name| name.as_ptr() as u64);
        }
        KprobeTarget::Address(address) => attr.__bindgen_anon_4.config2 = address,
    }
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    // SAFETY: `attr` and the name that it points to outlive the call; the kernel copies both.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            -1, // all threads
            0,  // a kprobe fires on every CPU, whichever is named
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    owned(fd as i32)
}

/// Connects a program to a perf event with the ioctl, as kernels without perf links need it.
pub(super) fn set_perf_program(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
    const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
    // SAFETY: both descriptors are open, and these ioctls take integers.
    let result = unsafe {
        match libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()) {
            0 => libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0),
            failed => failed,
        }
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// All-zero options with their size set, as libbpf wants them.
fn link_options() -> bpf_link_create_opts {
    // SAFETY: all-zero is valid for this struct of integers and nullable pointers.
    let mut options: bpf_link_create_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of::<bpf_link_create_opts>() as _;
    options
}

/// A link from a program to a perf event, with a cookie (5.15 and later). The event must be enabled afterwards.
pub(super) fn link_perf(program: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> io::Result<OwnedFd> {
    const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
    let mut options = link_options();
    options.__bindgen_anon_1.perf_event.bpf_cookie = cookie;
    // SAFETY: `options` is initialised and outlives the call.
    let link = owned(unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            event.as_raw_fd(),
            libbpf_sys::BPF_PERF_EVENT,
            &raw const options,
        )
    })?;
    // SAFETY: the event is open, and this ioctl takes an integer.
    if unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(link)
}

/// Events of a kprobe-multi link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MultiKind {
    /// Entries.
    Entry,
    /// Returns.
    Return,
    /// Both, with a session between them.
    Session,
}

/// One link for many functions, by address. `cookies`, if there are any, belong to the addresses, one each.
pub(super) fn link_kprobe_multi(
    program: BorrowedFd<'_>,
    addresses: &[u64],
    cookies: Option<&[u64]>,
    kind: MultiKind,
) -> io::Result<OwnedFd> {
    let mut options = link_options();
    if let Some(cookies) = cookies {
        if cookies.len() != addresses.len() {
            return Err(io::Error::other("each function needs one cookie"));
        }
        options.__bindgen_anon_1.kprobe_multi.cookies = cookies.as_ptr();
    }
    options.__bindgen_anon_1.kprobe_multi.addrs = addresses.as_ptr();
    options.__bindgen_anon_1.kprobe_multi.cnt = u32::try_from(addresses.len()).map_err(io::Error::other)?;
    if kind == MultiKind::Return {
        options.__bindgen_anon_1.kprobe_multi.flags = libbpf_sys::BPF_F_KPROBE_MULTI_RETURN;
    }
    let attach_type = match kind {
        MultiKind::Session => libbpf_sys::BPF_TRACE_KPROBE_SESSION,
        MultiKind::Entry | MultiKind::Return => libbpf_sys::BPF_TRACE_KPROBE_MULTI,
    };
    // SAFETY: `options` and the slices it points to outlive the call; the kernel copies them.
    owned(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, attach_type, &raw const options) })
}

/// A program of instructions that libbpf has relocated.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawProgram<'a> {
    /// Its name, of which the kernel keeps 15 bytes.
    pub(super) name: &'a CStr,
    /// Its type (`BPF_PROG_TYPE_*`).
    pub(super) kind: u32,
    /// The instructions.
    pub(super) instructions: &'a [bpf_insn],
    /// What it is attached to (`BPF_TRACE_*`); 0 if its type says enough.
    pub(super) attach_type: u32,
    /// The function's id in its BTF; 0 for a program that is not for one function.
    pub(super) btf_id: u32,
    /// The BTF of the function's module, or none for vmlinux.
    pub(super) module_btf: Option<BorrowedFd<'a>>,
}

impl RawProgram<'_> {
    /// Loads the program.
    pub(super) fn load(&self) -> io::Result<OwnedFd> {
        // SAFETY: all-zero is valid for this struct of integers and nullable pointers.
        let mut options: bpf_prog_load_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of::<bpf_prog_load_opts>() as _;
        options.expected_attach_type = self.attach_type;
        options.attach_btf_id = self.btf_id;
        options.attach_btf_obj_fd = self.module_btf.map_or(0, |fd| fd.as_raw_fd() as u32);
        // SAFETY: name, licence and instructions outlive the call; the kernel copies them.
        owned(unsafe {
            libbpf_sys::bpf_prog_load(
                self.kind,
                self.name.as_ptr(),
                c"GPL".as_ptr(),
                self.instructions.as_ptr(),
                self.instructions.len() as _,
                &raw mut options,
            )
        })
    }
}

/// Loads a tracing program of two instructions and no maps, for many functions, and gives it back: whether the kernel
/// knows the attach type.
pub(super) fn try_tracing_program(attach_type: u32) -> io::Result<()> {
    let instruction = |code: u32| bpf_insn {
        code: code as u8,
        ..bpf_insn::default()
    };
    let program = RawProgram {
        name: c"ipft_try",
        kind: libbpf_sys::BPF_PROG_TYPE_TRACING,
        instructions: &[
            // r0 = 0
            instruction(libbpf_sys::BPF_ALU64 | libbpf_sys::BPF_MOV | libbpf_sys::BPF_K),
            instruction(libbpf_sys::BPF_JMP | libbpf_sys::BPF_EXIT),
        ],
        attach_type,
        btf_id: 0,
        module_btf: None,
    };
    program.load().map(drop)
}

/// The BTF objects of the loaded modules, as far as the kernel hands them out.
#[derive(Debug, Default)]
pub(super) struct ModuleBtfs {
    known: HashMap<String, OwnedFd>,
    /// The reason why a descriptor was refused.
    refused: Option<io::Error>,
}

impl ModuleBtfs {
    /// Asks for all of them.
    pub(super) fn open() -> Self {
        let mut btfs = ModuleBtfs::default();
        let mut id = 0;
        // SAFETY: `id` is writable; the call fails when there is no next id.
        while unsafe { libbpf_sys::bpf_btf_get_next_id(id, &raw mut id) } == 0 {
            // SAFETY: the call takes an integer.
            let fd = match owned(unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) }) {
                Ok(fd) => fd,
                Err(error) => {
                    // A module that has gone since has no descriptor.
                    if error.raw_os_error() != Some(libc::ENOENT) {
                        btfs.refused = Some(error);
                    }
                    continue;
                }
            };
            let mut name = [0u8; 64]; // MODULE_NAME_LEN is 56 on 64-bit (include/linux/module.h)
            // SAFETY: all-zero is valid for this struct of integers; the BTF itself is not requested.
            let mut info: libbpf_sys::bpf_btf_info = unsafe { std::mem::zeroed() };
            info.name = name.as_mut_ptr() as u64;
            info.name_len = name.len() as u32;
            let mut size = size_of::<libbpf_sys::bpf_btf_info>() as u32;
            // SAFETY: `info` is writable for `size` bytes and names a buffer with its length.
            if unsafe { libbpf_sys::bpf_btf_get_info_by_fd(fd.as_raw_fd(), &raw mut info, &raw mut size) } != 0 {
                continue;
            }
            if let Ok(name) = std::ffi::CStr::from_bytes_until_nul(&name) {
                btfs.known.insert(name.to_string_lossy().into_owned(), fd);
            }
        }
        // bpf_btf_get_next_id itself needs CAP_SYS_ADMIN, and says so at the first id.
        let code = io::Error::last_os_error();
        if btfs.refused.is_none() && matches!(code.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
            btfs.refused = Some(code);
        }
        btfs.known.remove("vmlinux");
        btfs.known.remove(""); // programs' own
        btfs
    }

    /// A module's, or why there is none.
    pub(super) fn get(&self, module: &str) -> Result<BorrowedFd<'_>, String> {
        match (self.known.get(module), &self.refused) {
            (Some(fd), _) => Ok(fd.as_fd()),
            (None, None) => Err("its module has no BTF that the kernel knows".to_owned()),
            // kernel/bpf/syscall.c, bpf_btf_get_fd_by_id
            (None, Some(error)) if error.raw_os_error() == Some(libc::EPERM) => {
                Err("trampolines in modules need CAP_SYS_ADMIN; a kprobe backend sees it".to_owned())
            }
            (None, Some(error)) => Err(format!("the kernel does not hand out its module's BTF: {error}")),
        }
    }
}

/// Attaches a loaded fentry or fexit program to the function it was loaded for.
pub(super) fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: a null name is what BPF_RAW_TRACEPOINT_OPEN wants for a tracing program.
    owned(unsafe { libbpf_sys::bpf_raw_tracepoint_open(std::ptr::null(), program.as_raw_fd()) })
}

/// Attaches a loaded program to a tracepoint, with the arguments as the kernel has them.
pub(super) fn attach_raw_tracepoint(program: BorrowedFd<'_>, tracepoint: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name outlives the call, and the descriptor is open.
    owned(unsafe { libbpf_sys::bpf_raw_tracepoint_open(tracepoint.as_ptr(), program.as_raw_fd()) })
}

/// `BPF_TRACE_FENTRY_MULTI`, from 7.x's `include/uapi/linux/bpf.h`; libbpf does not know them yet.
pub(super) const BPF_TRACE_FENTRY_MULTI: u32 = 59;
/// `BPF_TRACE_FSESSION_MULTI`: entries and returns, with a session between them.
pub(super) const BPF_TRACE_FSESSION_MULTI: u32 = 61;

/// One tracing-multi link for many functions of one BTF (`struct { __aligned_u64 ids, cookies; __u32 cnt; }
/// tracing_multi` in `union bpf_attr`). `cookies` belong to the ids, one each.
pub(super) fn link_tracing_multi(
    program: BorrowedFd<'_>,
    attach_type: u32,
    ids: &[u32],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreate {
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
    if ids.len() != cookies.len() {
        return Err(io::Error::other("each function needs one cookie"));
    }
    let attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type,
        flags: 0,
        ids: ids.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        cnt: u32::try_from(ids.len()).map_err(io::Error::other)?,
        padding: 0,
    };
    // SAFETY: `attr` and the two slices it points to outlive the call; the kernel copies them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, size_of::<LinkCreate>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    owned(fd as i32)
}
