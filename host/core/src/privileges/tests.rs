use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

/// Set in a copy of the test program that gives up its privileges.
const CHILD: &str = "IPFT_PRIVILEGES_TEST_CHILD";

/// Runs the named test again in a process of its own, where it finds [`CHILD`] set. What it printed.
fn child(test: &str, folder: &std::path::Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(CHILD, folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// The lines of `/proc/self/task/*/status` that begin with `name`.
fn status(name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().trim().to_owned()
        })
        .collect()
}

#[test]
fn every_thread_loses_its_capabilities() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let said = child("privileges::tests::every_thread_loses_its_capabilities", folder.path());
        assert!(said.contains("all is well"), "{said}");
        return;
    };
    let stop = std::sync::Arc::new(std::sync::Barrier::new(4));
    for _ in 0..3 {
        let stop = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || stop.wait());
    }
    // These functions read files of /proc.
    let needs = Needs {
        folders: vec![
            Folder {
                path: PathBuf::from("/proc"),
                used: FolderUse::Granted { write: false },
            },
            Folder {
                path: PathBuf::from(folder),
                used: FolderUse::Name(PathBuf::from("x")),
            },
        ],
        ..Needs::default()
    };
    let in_force = reduce(&needs).unwrap();
    assert_eq!(in_force.capabilities, 0);
    let effective = status("CapEff");
    assert!(effective.len() >= 4, "{effective:?}");
    assert!(effective.iter().all(|mask| mask == "0000000000000000"), "{effective:?}");
    assert!(status("NoNewPrivs").iter().all(|value| value == "1"));
    if in_force.seccomp {
        assert!(status("Seccomp").iter().all(|value| value == "2"));
        assert!(Command::new("/bin/true").status().is_err());
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
    }
    // Later threads have no more.
    std::thread::spawn(|| assert!(std::fs::write("/dev/null", "x").is_err() || forecast().landlock.is_none()))
        .join()
        .unwrap();
    stop.wait();
    println!("all is well");
}

#[test]
fn description_says_what_is_missing() {
    let all = InForce {
        user: None,
        capabilities: 0,
        landlock: Some(6),
        seccomp: true,
    };
    assert_eq!(
        all.describe(),
        "no capabilities, no new privileges, files limited by Landlock (ABI 6), system calls filtered by seccomp"
    );
    let few = InForce {
        user: None,
        capabilities: 1 << 1,
        landlock: None,
        seccomp: false,
    };
    let few = InForce {
        user: Some(User {
            name: "trace".to_owned(),
            uid: 998,
            gid: 997,
        }),
        ..few
    };
    let said = few.describe();
    assert!(said.starts_with("user trace (uid 998, gid 997), only "), "{said}");
    assert!(said.contains("CAP_DAC_OVERRIDE"), "{said}");
    assert!(said.contains("no Landlock") && said.contains("no seccomp"), "{said}");
}
