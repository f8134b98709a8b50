//! `cargo xtask demo`: traces real packets, on this machine's kernel if it allows that, else in a guest.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::kernel::Kernel;
use crate::vm::Guest;
use crate::{build, packages, plugins, workspace};

const LIBRARY: &str = include_str!("../guest/lib.sh");
const SCRIPT: &str = include_str!("../guest/demo.sh");

/// The two runs of ipft: the name of its result and the command as typed.
const RUNS: [(&str, &str); 2] = [
    ("packets", "ipft 'icmp or tcp port 8000'"),
    ("function_graph", "ipft -m 0xdeadbeef -t function_graph"),
];

/// Outputs of plugins for the second run, besides its text.
const PICTURES: [&str; 2] = ["flame.svg", "report.html"];

/// The recording of the second run. The book's `docs/demo.ipft` is one.
const RECORDING: &str = "demo.ipft";

/// Traces a ping and a TCP exchange, prints the output of `ipft`, and stores it in `demo` of the target folder.
pub fn run() -> Result<()> {
    let ipft = build::release()?;
    let plugins = plugins::gallery()?;
    let folder = workspace::target().join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove the older {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    match why_not_here(&ipft)? {
        None => {
            eprintln!("xtask: this machine's kernel can trace: the demo runs here, in network namespaces of its own");
            packages::install(&[packages::NATIVE])?;
            trace_here(&ipft, &plugins, &folder)?;
        }
        Some(reason) => {
            let kernel = Kernel::V6_12;
            eprintln!("xtask: this machine's kernel cannot trace. `ipft doctor` says why:\n");
            for line in reason.lines() {
                eprintln!("    {line}");
            }
            eprintln!("\nxtask: so the demo runs in a guest, with Linux {}", kernel.series());
            trace_in_guest(kernel, &ipft, &folder)?;
        }
    }
    print(&folder)
}

/// Returns the reason why ipft cannot trace on this kernel, from its own message; `None` if it can.
fn why_not_here(ipft: &Path) -> Result<Option<String>> {
    let requested = Command::new(ipft).arg("doctor").stdin(Stdio::null()).output();
    let answer = requested.with_context(|| format!("run {} doctor", ipft.display()))?;
    if answer.status.success() {
        return Ok(None);
    }
    ensure!(
        answer.status.code() == Some(1),
        "`ipft doctor` failed: {}\n{}",
        answer.status,
        String::from_utf8_lossy(&answer.stderr)
    );
    let words = [answer.stdout, answer.stderr].map(|text| String::from_utf8_lossy(&text).trim_end().to_owned());
    let mut reason = words.join("\n").trim_matches('\n').to_owned();
    if reason.is_empty() {
        reason = format!("(nothing: {})", answer.status);
    }
    Ok(Some(reason))
}

/// Returns the program and its arguments that run the demo's script on this kernel. Network, mounts and processes are
/// in new namespaces, which the kernel cleans up in any case: they end with their first process, which ends with this
/// one.
pub fn native_command() -> [&'static str; 10] {
    [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
}

fn trace_here(ipft: &Path, plugins: &Path, folder: &Path) -> Result<()> {
    let (library, script) = (folder.join("lib.sh"), folder.join("demo.sh"));
    fs::write(&library, LIBRARY).with_context(|| format!("write {}", library.display()))?;
    fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
    let bin = ipft.parent().context("find the folder of ipft")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let [program, arguments @ ..] = native_command();
    let mut command = Command::new(program);
    // `ip netns` and iptables keep their files below /run.
    command
        .args(arguments)
        .args(["sh", "-c", r#"mount -t tmpfs tmpfs /run && exec bash "$@""#, "sh"])
        .args([&*script, &library, folder, plugins])
        .env("PATH", format!("{}:/usr/sbin:/sbin:{path}", bin.display()));
    let status = command.status().with_context(|| format!("run {program}"))?;
    ensure!(status.success(), "the demo failed ({status})");
    for file in [library, script] {
        fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    }
    Ok(())
}

fn trace_in_guest(kernel: Kernel, ipft: &Path, folder: &Path) -> Result<()> {
    let script = folder.join("demo.sh");
    fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
    let guest = Guest::new(kernel).ipft(ipft).file(&script).out(folder);
    let code = guest.pass_through(["bash", "demo.sh", "/guest/lib.sh", "/out", "/guest/share/ipft/plugins"])?;
    fs::remove_file(&script).with_context(|| format!("remove {}", script.display()))?;
    ensure!(code == 0, "the demo failed in the guest (exit code {code})");
    Ok(())
}

fn print(folder: &Path) -> Result<()> {
    let mut to = io::stdout().lock();
    for (name, command) in RUNS {
        let path = folder.join(format!("{name}.txt"));
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            text.contains(&b'\n'),
            "ipft showed nothing: {} is empty",
            path.display()
        );
        let written = writeln!(to, "$ {command}")
            .and_then(|()| to.write_all(&text))
            .and_then(|()| writeln!(to));
        match written {
            // `cargo xtask demo | head` is fine: the results are on disk.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            other => other.context("print the results")?,
        }
    }
    drop(to);
    for picture in PICTURES {
        let path = filled(folder, picture)?;
        eprintln!("xtask: a plugin drew {}", path.display());
    }
    let recording = filled(folder, RECORDING)?;
    eprintln!(
        "xtask: the second run as a recording, which `ipft replay` draws in any other way: {}",
        recording.display()
    );
    for (name, command) in RUNS {
        eprintln!(
            "xtask: `{command}` is kept in {}",
            folder.join(format!("{name}.txt")).display()
        );
    }
    Ok(())
}

/// Returns the path of a result, which must not be empty.
fn filled(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let found = fs::metadata(&path).with_context(|| format!("find {}", path.display()))?;
    ensure!(found.len() > 0, "nothing was written to {}", path.display());
    Ok(path)
}
