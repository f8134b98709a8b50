//! Checks whether tracefs is readable, and if not, why. Imports `kernel` alone.

use super::super::{Root, tracefs};
use super::privileges::{self, CAP_DAC_READ_SEARCH};
use super::{Check, read};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The file that tracefs has if the kernel can trace functions.
pub(super) const FUNCTIONS: &str = "available_filter_functions";

pub(super) fn tracing(root: &Root) -> Check {
    const NAME: &str = "tracefs";
    let error = match tracefs::file(root, FUNCTIONS) {
        Ok(path) => match fs::File::open(&path) {
            Ok(_) => return Check::ok(NAME, path.parent().unwrap_or(&path).display().to_string()),
            Err(error) => error,
        },
        Err((_, error)) => error,
    };
    if error.kind() == io::ErrorKind::PermissionDenied {
        return denied(root);
    }
    if tracefs::file(root, "trace").is_ok() {
        return Check::failure(
            NAME,
            "tracefs is mounted, but this kernel cannot trace functions",
            "use a kernel that is built with CONFIG_DYNAMIC_FTRACE=y and CONFIG_FUNCTION_TRACER=y",
        );
    }
    if !root.path(tracefs::MOUNT_POINTS[0]).exists() {
        return Check::failure(
            NAME,
            "this kernel has no tracefs: /sys/kernel/tracing does not exist",
            "use a kernel that is built with CONFIG_FTRACE=y, and see that /sys is mounted",
        );
    }
    let remedy = "mount -t tracefs tracefs /sys/kernel/tracing";
    Check::failure(NAME, "tracefs is not mounted", remedy)
}

/// The mode forbids it, which a capability passes, or something does that no capability passes.
fn denied(root: &Root) -> Check {
    const NAME: &str = "tracefs";
    let status = read(root, "/proc/self/status").unwrap_or_default();
    let is_root = status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if is_root || privileges::passes_modes(root) {
        return Check::failure(
            NAME,
            "not allowed to read tracefs, and it is not the mode of /sys/kernel/tracing that forbids it",
            "see what does: kernel lockdown (/sys/kernel/security/lockdown), or a security module such as SELinux or \
             AppArmor (dmesg)",
        );
    }
    let mode = fs::metadata(root.path(tracefs::MOUNT_POINTS[0])).map_or_else(
        |_| String::new(),
        |folder| {
            format!(
                " (its mode is {:04o}, its owner the user id {})",
                folder.permissions().mode() & 0o7777,
                folder.uid()
            )
        },
    );
    Check::failure(
        NAME,
        format!("not allowed to read /sys/kernel/tracing{mode}"),
        format!(
            "run ipft as root, or give it {}; or let a group read it: mount -o remount,mode=0750,gid=GROUP \
             /sys/kernel/tracing",
            CAP_DAC_READ_SEARCH.name
        ),
    )
}
