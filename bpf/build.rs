//! Compiles the CO-RE programs with clang, so that plain `cargo build` does it all.
//!
//! The headers come from two places: `bpf/bpf_helpers.h` and its companions from libbpf (through `libbpf-sys`, which
//! names its include folder), `linux/bpf.h` and `linux/ptrace.h` from the system's kernel headers.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Object, source, and whether its programs are sessions.
const PROGRAMS: [(&str, &str, bool); 5] = [
    ("kprobe", "kprobe", false),
    ("kprobe_session", "kprobe", true),
    ("ftrace", "ftrace", false),
    ("fentry_multi", "fentry_multi", false),
    ("fentry_session", "fentry_multi", true),
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let libbpf = env::var_os("DEP_BPF_INCLUDE").expect("libbpf-sys names its include folder");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed=src");

    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target's architecture");
    let target_arch = match arch.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => panic!("ipft-bpf: no calling convention is known for {other}"),
    };

    for (object, source, session) in PROGRAMS {
        let object = out.join(format!("{object}.bpf.o"));
        let mut command = Command::new(&clang);
        command
            .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-c"])
            .arg(format!("-D__TARGET_ARCH_{target_arch}"))
            .arg(format!("-DSESSION={}", u8::from(session)))
            .arg("-I")
            .arg(&libbpf)
            .arg(format!("-I/usr/include/{arch}-linux-gnu"))
            .arg(Path::new("src").join(format!("{source}.bpf.c")))
            .arg("-o")
            .arg(&object);
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("ipft-bpf: {command:?} failed: {status}"),
            Err(error) => panic!(
                "ipft-bpf: cannot run {}: {error}; install clang (Debian: apt-get install clang) or name it in CLANG",
                clang.to_string_lossy()
            ),
        }
    }
}
