//! Privileges of ipft after attaching, on every kernel: the content of `/proc/PID/status`, and the abilities of a
//! native plugin that acts like an attacker.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::Recording;
use xtask::kernel::Kernel;
use xtask::workspace;

/// A few functions on the packets' way.
const FEW: &str = "^(ip_output|ip_finish_output2|ip_rcv|ip_local_deliver|icmp_rcv)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        let escape = escape(kernel)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/count.lua");
        let files: [&Path; 2] = [&escape, &script];
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/privileges.sh"));
        guest::run(&format!("privileges-{}", kernel.series()), kernel, &files, &script)
    })
}

/// The attacker, compiled.
fn escape(kernel: Kernel) -> Result<std::path::PathBuf> {
    let root = workspace::root();
    let folder = workspace::target().join(format!("escape-{}", kernel.series()));
    std::fs::create_dir_all(&folder).context("make a folder for the plugin")?;
    let output = folder.join("escape.so");
    let ran = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-I"])
        .arg(root.join("sdk/native"))
        .arg("-o")
        .arg(&output)
        .arg(root.join("tests/e2e/native/escape.c"))
        .output()
        .context("run the C compiler")?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(output)
}

/// Returns the attacker's results.
fn done(kernel: Kernel, run: &str) -> Vec<String> {
    let said = left(kernel).text(&format!("{run}.err"));
    assert_eq!(left(kernel).exit(run), 0, "{run}: {said}");
    let tried = left(kernel).text(&format!("{run}.txt"));
    assert!(tried.contains("execute refused") || run == "kept", "{tried}");
    assert!(tried.lines().count() > 15, "{tried}");
    let done = tried.lines().filter_map(|line| line.strip_suffix(" done"));
    done.map(str::to_owned).collect()
}

/// Returns a field of the threads' status, one value per thread.
fn status(kernel: Kernel, run: &str, field: &str) -> Vec<String> {
    let text = left(kernel).text(&format!("{run}.status"));
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let values: Vec<_> = values.map(|value| value.trim().to_owned()).collect();
    assert!(values.len() >= 3, "{field} of the threads: {values:?}");
    values
}

/// Asserts the value for every thread.
fn assert_status(kernel: Kernel, run: &str, field: &str, expected: &str) {
    let values = status(kernel, run, field);
    assert!(
        values.iter().all(|value| value == expected),
        "{run}, {field}: {values:?}"
    );
}

const NONE: &str = "0000000000000000";

fn no_thread_has_a_capability(kernel: Kernel) {
    for run in ["plain", "ring"] {
        for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_status(kernel, run, field, NONE);
        }
        assert_status(kernel, run, "NoNewPrivs", "1");
        assert_status(kernel, run, "Seccomp", "2");
    }
    let said = left(kernel).text("plain.err");
    assert!(said.contains("Privileges from now on: no capabilities"), "{said}");
}

fn native_plugin_can_open_and_run_nothing(kernel: Kernel) {
    assert_eq!(done(kernel, "plain"), [""; 0]);
}

fn ring_goes_on_and_only_its_folder_is_open(kernel: Kernel) {
    let files = left(kernel).text("files");
    assert!(files.contains("trace.000000.ipft"), "{files}");
    let done = done(kernel, "ring");
    if kernel == Kernel::V5_10 {
        // Without Landlock, a process that may create files may create any.
        assert!(
            done.iter()
                .all(|what| what.starts_with("read-") || what.starts_with("write-")),
            "{done:?}"
        );
    } else {
        assert_eq!(done, [""; 0]);
    }
}

fn folder_of_another_user_costs_one_capability(kernel: Kernel) {
    assert_eq!(done(kernel, "other"), [""; 0]);
    // CAP_DAC_OVERRIDE.
    assert_status(kernel, "other", "CapEff", "0000000000000002");
    assert_status(kernel, "other", "CapBnd", "0000000000000002");
    let files = left(kernel).text("files");
    for name in ["out.pcapng", "trace.ipft"] {
        assert!(files.lines().any(|line| line == name), "no {name} in {files}");
    }
}

fn keep_privileges_keeps_them(kernel: Kernel) {
    let done = done(kernel, "kept");
    for what in ["read-secret", "socket", "execute"] {
        assert!(done.iter().any(|each| each == what), "no {what} in {done:?}");
    }
    assert_status(kernel, "kept", "NoNewPrivs", "0");
}

fn user_option_leaves_another_user_without_rights(kernel: Kernel) {
    for (run, user, group) in [("user", 65534, 65534), ("given", 4242, 65534)] {
        assert_status(kernel, run, "Uid", &format!("{user}\t{user}\t{user}\t{user}"));
        assert_status(kernel, run, "Gid", &format!("{group}\t{group}\t{group}\t{group}"));
        assert_status(kernel, run, "Groups", "");
        assert_status(kernel, run, "NoNewPrivs", "1");
        let said = left(kernel).text(&format!("{run}.err"));
        assert!(said.contains(&format!("(uid {user}, gid {group}), ")), "{said}");
    }
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_status(kernel, "user", field, NONE);
    }
    // CAP_DAC_OVERRIDE, for a folder of root's.
    assert_status(kernel, "given", "CapPrm", "0000000000000002");
    assert_status(kernel, "given", "CapEff", "0000000000000002");
    assert_eq!(done(kernel, "given"), [""; 0]);
    let done = done(kernel, "user");
    if kernel == Kernel::V5_10 {
        // Without Landlock: a ring opens files, and that user opens files that are readable for all.
        assert!(
            done.iter().all(|what| what == "read-public" || what == "write-new"),
            "{done:?}"
        );
    } else {
        assert_eq!(done, [""; 0]);
    }
}

fn files_of_a_trace_belong_to_its_user(kernel: Kernel) {
    let owners = left(kernel).text("owners");
    for file in [
        "/tmp/user/out.pcapng 65534 65534 600",
        "/tmp/user/trace.000000.ipft 65534 65534 600",
        "/tmp/user/user.txt 65534 65534 600",
        "/tmp/given/out.pcapng 4242 65534 600",
        "given.txt 4242 65534 600",
    ] {
        assert!(owners.lines().any(|line| line == file), "no {file} in {owners}");
    }
}

fn user_that_is_not_there_is_a_usage_error(kernel: Kernel) {
    let said = left(kernel).text("unknown.err");
    assert_eq!(left(kernel).exit("unknown"), 2, "{said}");
    assert!(said.contains("--user nemo: no such user in /etc/passwd"), "{said}");
    let said = left(kernel).text("plain-user.err");
    assert_eq!(left(kernel).exit("plain-user"), 1, "{said}");
    assert!(
        said.contains("--user nobody: switching to another user needs root"),
        "{said}"
    );
}

/// Three pings are six packets, each of which is seen as it is sent and as it is received.
fn script_counts_every_packet_of_a_device(kernel: Kernel) {
    let said = left(kernel).text("script.err");
    assert_eq!(left(kernel).exit("script"), 0, "{said}");
    let mut lines: Vec<String> = left(kernel).text("script.out").lines().map(str::to_owned).collect();
    // A hash has no order.
    lines[2..4].sort();
    let expected = [
        "packets\t12\t0\t0",
        "bytes\t1176\tnil",
        "size\t4\t9",
        "size\t98\t12",
        "cpus\t12\t0",
        "kinds\t-6\t-6",
        "kept\tnil",
        "largest\t255",
        "elements\t256\t256",
        "arguments -x lo",
    ];
    assert_eq!(lines, expected, "{said}");
}

fn script_without_rights_says_which_it_needs(kernel: Kernel) {
    let said = left(kernel).text("plain-script.err");
    assert_eq!(left(kernel).exit("plain-script"), 1, "{said}");
    assert!(
        said.contains("count.lua:") && said.contains("run ipft as root, or with CAP_"),
        "{said}"
    );
}

fn losses_are_read_and_nothing_stays_attached(kernel: Kernel) {
    assert_eq!(left(kernel).text("killed.left"), "");
    for run in ["plain", "ring", "user", "given"] {
        let recording = Recording::read(&left(kernel).path(&format!("{run}.out"))).unwrap();
        assert!(recording.events.len() > 10, "{run}: {} events", recording.events.len());
    }
    let left = left(kernel).text("plain.left");
    assert_eq!(left, "");
}

fn doctor_says_what_will_be_in_force(kernel: Kernel) {
    let said = left(kernel).text("doctor.out");
    let line = said.lines().find(|line| line.contains("privileges after attaching"));
    let line = line.unwrap_or_else(|| panic!("not a word in {said}"));
    assert!(line.contains("no capabilities") && line.contains("seccomp"), "{line}");
    assert_eq!(line.contains("Landlock (ABI"), kernel != Kernel::V5_10, "{line}");
}

ipft_e2e::on_every_kernel!(
    doctor_says_what_will_be_in_force,
    files_of_a_trace_belong_to_its_user,
    folder_of_another_user_costs_one_capability,
    keep_privileges_keeps_them,
    losses_are_read_and_nothing_stays_attached,
    native_plugin_can_open_and_run_nothing,
    no_thread_has_a_capability,
    ring_goes_on_and_only_its_folder_is_open,
    script_counts_every_packet_of_a_device,
    script_without_rights_says_which_it_needs,
    user_option_leaves_another_user_without_rights,
    user_that_is_not_there_is_a_usage_error,
);
