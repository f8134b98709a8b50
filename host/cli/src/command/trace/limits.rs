//! The limits of resources that a trace raises.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Locked memory (which BPF maps are counted as before 5.11) and open files (one or two per function) without limit,
/// as far as we may.
pub(super) fn raise_limits() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Without the right to raise it, later failures say what is missing.
    let _ = setrlimit(Resource::Memlock, unlimited);
    let files = getrlimit(Resource::Nofile);
    let enough = files.maximum.map_or(1 << 20, |maximum| maximum.max(1 << 16));
    if setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(enough),
            maximum: Some(enough),
        },
    )
    .is_err()
    {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files.maximum,
                ..files
            },
        );
    }
}
