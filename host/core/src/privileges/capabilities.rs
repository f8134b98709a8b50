//! Capabilities of the calling thread (capabilities(7)). No C library wraps these calls for all threads, see `threads`.

use std::io;

/// Writes, searches and deletes whatever the permissions say.
pub(super) const CAP_DAC_OVERRIDE: u32 = 1;
/// Counts as the owner of any file.
pub(super) const CAP_FOWNER: u32 = 3;
/// Changes its groups.
pub(super) const CAP_SETGID: u32 = 6;
/// Becomes another user.
pub(super) const CAP_SETUID: u32 = 7;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 bits each.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Capabilities of the calling thread.
pub(super) fn permitted() -> io::Result<u64> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut words = [Word::default(); 2];
    // SAFETY: the header and the two words that its version stands for are writable.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    match result {
        0 => Ok(u64::from(words[0].permitted) | u64::from(words[1].permitted) << 32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the calling thread these capabilities and no way to more; async-signal-safe. 0, or -1 with `errno` set.
pub(super) fn limit_to(kept: u64) -> libc::c_long {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let word = |mask: u32| Word {
        effective: mask,
        permitted: mask,
        inheritable: 0,
    };
    let words = [word(kept as u32), word((kept >> 32) as u32)];
    // SAFETY: the header and the two words that its version stands for are readable.
    unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) }
}

/// Takes all but these from what the calling thread may ever get; async-signal-safe. Without `CAP_SETPCAP` nothing is
/// taken, and nothing needs to be: no program that is run gives more, as there are no new privileges.
pub(super) fn limit_bounding_set(kept: u64) {
    const NONE: libc::c_ulong = 0;
    for capability in (0..64).filter(|capability| kept >> capability & 1 == 0) {
        // SAFETY: the call takes integers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, NONE, NONE, NONE) };
        if result != 0 {
            // EINVAL: the kernel has no more of them. EPERM: see above.
            break;
        }
    }
}

/// Their names, as far as ipft keeps any.
pub(super) fn names(mask: u64) -> String {
    let known = [(CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"), (CAP_FOWNER, "CAP_FOWNER")];
    let names: Vec<&str> = known
        .iter()
        .filter(|(capability, _)| mask >> capability & 1 == 1)
        .map(|(_, name)| *name)
        .collect();
    names.join(" and ")
}
