//! Tests of the privileges of `ipft replay`, `ipft plugin run` and `ipft plugin check` while plugins run: a native
//! plugin acts like an attacker, and `/proc/PID/status` is read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn ipft(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipft"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The attacker, compiled.
static ESCAPE: LazyLock<(tempfile::TempDir, String)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("escape.so");
    let ran = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-I"])
        .arg(project("sdk/native"))
        .arg("-o")
        .arg(&output)
        .arg(project("tests/e2e/native/escape.c"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let path = output.to_str().unwrap().to_owned();
    (folder, path)
});

fn recording() -> String {
    project("tests/fixtures/recording-1.0/function.ipft")
        .to_str()
        .unwrap()
        .to_owned()
}

/// Results of the attacker.
fn done(arguments: &[&str]) -> Vec<String> {
    let ran = ipft(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let tried = String::from_utf8(ran.stdout).unwrap();
    assert!(tried.lines().count() > 15, "{tried}");
    let done = tried.lines().filter_map(|line| line.strip_suffix(" done"));
    done.map(str::to_owned).collect()
}

#[test]
fn plugin_in_a_replay_can_open_and_run_nothing() {
    if !ipft_core::privileges::forecast().seccomp {
        return;
    }
    let (recording, escape) = (recording(), ESCAPE.1.as_str());
    assert_eq!(done(&["replay", &recording, "--plugin", escape]), [""; 0]);
    assert_eq!(done(&["plugin", "run", escape, &recording]), [""; 0]);
    let lines = tempfile::NamedTempFile::new().unwrap();
    let ran = ipft(&["replay", &recording, "-o", "jsonl"])
        .stdout(lines.reopen().unwrap())
        .status()
        .unwrap();
    assert!(ran.success());
    let lines = lines.path().to_str().unwrap();
    assert_eq!(done(&["plugin", "run", escape, lines]), [""; 0]);
}

#[test]
fn keep_privileges_keeps_them_in_a_replay() {
    let (recording, escape) = (recording(), ESCAPE.1.as_str());
    for arguments in [
        ["replay", "--keep-privileges", &recording, "--plugin", escape].as_slice(),
        &["plugin", "run", "--keep-privileges", escape, &recording],
    ] {
        let done = done(arguments);
        for what in ["read-public", "execute", "unix-socket"] {
            assert!(done.iter().any(|each| each == what), "no {what} in {done:?}");
        }
    }
}

#[test]
fn output_beside_a_plugin_is_written_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, copy, ring) = (path("out.txt"), path("copy.ipft"), path("ring.ipft"));
    let recording = recording();
    let ran = ipft(&["replay", &recording, "--plugin", &ESCAPE.1, "--plugin-out", &out])
        .args(["--record", &copy, "-v"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("Privileges from now on: no capabilities, "), "{said}");
    assert!(std::fs::read_to_string(&out).unwrap().contains("execute refused"));
    let ran = ipft(&["replay", &copy, "--record", &ring, "--record-max-size", "64K"])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(folder.path().join("ring.000000.ipft").is_file());
}

/// A plugin that never returns from its first call.
fn endless() -> Vec<u8> {
    const DESCRIPTION: &str =
        r#"{"contract":"0.1.0","name":"endless","version":"1.0.0","about":"A","license":"MIT","options":[]}"#;
    let mut bytes = wat::parse_str(
        r#"(component (core module $m (func $s (loop $l (br $l))) (start $s)) (core instance $i (instantiate $m))
           (instance $e) (export "ipft:plugin/sink@0.1.0" (instance $e)))"#,
    )
    .unwrap();
    let section = [b"\x0bipft-plugin", DESCRIPTION.as_bytes()].concat();
    assert!(section.len() < 1 << 7);
    bytes.extend([0, section.len() as u8]);
    bytes.extend(section);
    bytes
}

#[test]
fn plugin_check_gives_up_all_rights() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("endless.wasm");
    std::fs::write(&plugin, endless()).unwrap();
    let mut check = ipft(&["plugin", "check", plugin.to_str().unwrap(), "--plugin-timeout", "60"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", check.id());
    let begun = Instant::now();
    let reduced = loop {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let has = |line: &str| status.lines().any(|other| other == line);
        if has("CapEff:\t0000000000000000") && has("NoNewPrivs:\t1") {
            break true;
        }
        if begun.elapsed() > Duration::from_secs(50) || check.try_wait().unwrap().is_some() {
            break false;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = check.kill();
    check.wait().unwrap();
    assert!(reduced, "it has kept rights");
}
