//! Loads compiled functions into the kernel, and says which line of a script its verifier refuses. Imports nothing of
//! the crate.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use lua_bpf::Program;

/// Bytes of the verifier's log. Older kernels refuse more than 2^24 - 1.
const LOG: usize = (1 << 24) - 1;

/// The reason why the kernel does not load a program.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The process may not.
    #[error("not permitted to load a program; run ipft as root, or with CAP_BPF and CAP_NET_ADMIN")]
    Permission,
    /// The verifier refuses it.
    #[error("{file}:{line}: the kernel's verifier refuses this: {reason}\n    {text}")]
    Refused {
        /// The script.
        file: String,
        /// The line that it is about.
        line: u32,
        /// The line's text.
        text: String,
        /// The verifier's last words.
        reason: String,
        /// All its words.
        log: String,
    },
    /// Something else.
    #[error("cannot load the program: {0}")]
    Other(io::Error),
}

/// Loads a program of a socket. `file`: the script, for messages.
pub(super) fn load(program: &Program, file: &str) -> Result<OwnedFd, LoadError> {
    let error = match try_load(program, None) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    if error.raw_os_error() == Some(libc::EPERM) {
        return Err(LoadError::Permission);
    }
    // Again with a log, which takes time and memory.
    let mut log = vec![0; LOG];
    match try_load(program, Some(&mut log)) {
        Ok(loaded) => Ok(loaded),
        Err(_) => {
            let log = CStr::from_bytes_until_nul(&log).map_or_else(|_| log.as_slice(), CStr::to_bytes);
            Err(refused(program, file, &String::from_utf8_lossy(log)).unwrap_or(LoadError::Other(error)))
        }
    }
}

fn try_load(program: &Program, log: Option<&mut [u8]>) -> io::Result<OwnedFd> {
    let words = program
        .code
        .iter()
        .map(|instruction| u64::from_ne_bytes(instruction.bytes()));
    let instructions: Vec<u64> = words.collect();
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        // A signal may interrupt the verifier.
        attempts: 5,
        ..Default::default()
    };
    if let Some(log) = log {
        options.log_level = 1;
        options.log_size = u32::try_from(log.len()).unwrap_or(0);
        options.log_buf = log.as_mut_ptr().cast();
    }
    // SAFETY: an instruction has the size of a u64 and no stricter alignment; instructions, name, licence and log outlive
    // the call, and the kernel writes at most `log_size` bytes of the log.
    let result = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SOCKET_FILTER,
            c"ipft_script".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr().cast(),
            instructions.len() as _,
            &raw mut options,
        )
    };
    match result {
        // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
        descriptor @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Finds the line of the script that the verifier's log ends with; none if the log is empty.
pub(super) fn refused(program: &Program, file: &str, log: &str) -> Option<LoadError> {
    let statistics = [
        "processed ",
        "verification time",
        "stack depth",
        "mark_precise",
        "max_states",
    ];
    let lines = || log.lines().rev().map(str::trim);
    let reason = lines().find(|line| !line.is_empty() && !statistics.iter().any(|word| line.starts_with(word)))?;
    // Each instruction that it looks at begins with its index: `12: (85) call 1`.
    let index = lines().find_map(|line| {
        let (index, rest) = line.split_once(": ")?;
        rest.starts_with('(').then(|| index.parse::<usize>().ok())?
    });
    let index = index.unwrap_or(0);
    let line = program.lines.iter().rev().find(|line| line.instruction <= index);
    let line = line.or(program.lines.first())?;
    Some(LoadError::Refused {
        file: file.to_owned(),
        line: line.line,
        text: line.text.trim().to_owned(),
        reason: reason.to_owned(),
        log: log.to_owned(),
    })
}
