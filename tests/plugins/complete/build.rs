//! Compiles the kernel side.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/length.bpf.c");
    let object = PathBuf::from(std::env::var_os("OUT_DIR").expect("OUT_DIR")).join("length.o");
    let status = Command::new("clang")
        .args(["-target", "bpf", "-O2", "-g", "-c", "src/length.bpf.c", "-o"])
        .arg(&object)
        .status();
    let status = status.expect("run clang, which the package clang has");
    assert!(status.success(), "clang failed");
}
