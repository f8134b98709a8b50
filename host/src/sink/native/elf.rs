//! What a file says of itself in its first bytes: whether the dynamic linker of this machine can load it.
//!
//! The dynamic linker would refuse it, too, but each C library in its own words, some of which name the wrong thing.

use object::elf;

use super::error::Problem;

/// Bytes of an ELF header.
pub(super) const HEADER: usize = 64;

/// What code for this machine has in `e_machine`.
const MACHINE: elf::Machine = if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64
} else {
    elf::EM_X86_64
};

/// Whether the file that begins like this is native code, and no component.
pub fn is_elf(start: &[u8]) -> bool {
    start.starts_with(&elf::ELFMAG)
}

/// Refuses what is no shared library for this machine. `header`: the first [`HEADER`] bytes, or all that there are.
pub(super) fn check(header: &[u8]) -> Result<(), Problem> {
    if !is_elf(header) {
        return Err(Problem::NoLibrary("it does not begin as one (ELF)"));
    }
    let Some(header) = header.first_chunk::<HEADER>() else {
        return Err(Problem::NoLibrary("it ends within its header"));
    };
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[4] != elf::ELFCLASS64.0 || header[5] != elf::ELFDATA2LSB.0 || half(18) != MACHINE.0 {
        return Err(Problem::Machine);
    }
    match elf::FileType(half(16)) {
        elf::ET_DYN => Ok(()),
        elf::ET_REL => Err(Problem::NoLibrary("it is an object file; link it with cc -shared")),
        elf::ET_EXEC => Err(Problem::NoLibrary("it is a program")),
        _ => Err(Problem::NoLibrary("it is ELF of another kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shared_library_of_this_machine_is_taken() {
        let mut good = std::fs::read("/proc/self/exe").unwrap();
        good.truncate(HEADER);
        good[16..18].copy_from_slice(&elf::ET_DYN.0.to_le_bytes());
        check(&good).unwrap();
        let error = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            check(&bytes).unwrap_err().to_string()
        };
        assert!(error(0, 0).contains("does not begin"));
        assert!(error(4, 1).contains("another kind of machine"));
        assert!(error(5, 2).contains("another kind of machine"));
        assert!(error(18, 8).contains("another kind of machine"));
        assert!(error(16, 1).contains("object file"));
        assert!(error(16, 2).contains("a program"));
        assert!(error(16, 4).contains("another kind"));
        for length in 0..HEADER {
            check(&good[..length]).unwrap_err();
        }
    }
}
