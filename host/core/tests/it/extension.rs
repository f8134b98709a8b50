//! Compiles the tests' extensions. clang is available: the workspace does not build without it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns the folder of the sources.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/extension")
}

/// Returns the object of one of the sources.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.c"));
    clang(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Returns the object of a source.
pub(crate) fn clang(source: &str) -> Vec<u8> {
    clang_with(source, &["-target", "bpf", "-O2", "-g", "-c"])
}

/// Compiles a source with these options.
pub(crate) fn clang_with(source: &str, options: &[&str]) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ipft-extension-{}-{number}", std::process::id()));
    let (text, object) = (path.with_extension("c"), path.with_extension("o"));
    std::fs::write(&text, source).expect("the source can be written");
    let mut command = Command::new(std::env::var_os("CLANG").unwrap_or_else(|| "clang".into()));
    command
        .args(options)
        .arg("-I")
        .arg(folder())
        .arg(&text)
        .arg("-o")
        .arg(&object);
    let output = command.output().expect("clang runs");
    let bytes = std::fs::read(&object);
    for file in [text, object] {
        let _ = std::fs::remove_file(file);
    }
    assert!(
        output.status.success(),
        "{source}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    bytes.expect("clang wrote an object")
}
