//! Resource limits that a trace raises.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limits of locked memory (which BPF maps are charged to before 5.11) and of open files (one or two per
/// function), as far as allowed.
pub(super) fn raise_limits() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Without the privilege, later failures report what is missing.
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
