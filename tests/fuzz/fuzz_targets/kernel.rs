//! Fuzzes the files of the kernel: finding functions, listing them and the checks must not panic.
//!
//! The input is cut at each `\n==\n` into the files below. Run with `cargo xtask fuzz kernel`.

#![no_main]

use ipft_core::kernel::{Root, checks, find_functions, write_list};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

const FILES: [&str; 9] = [
    "sys/kernel/btf/vmlinux",
    "sys/kernel/btf/veth",
    "proc/kallsyms",
    "proc/kcore",
    "proc/modules",
    "proc/sys/kernel/osrelease",
    "sys/kernel/tracing/available_filter_functions",
    "sys/kernel/tracing/available_filter_functions_addrs",
    "sys/kernel/debug/kprobes/blacklist",
];

static TREE: LazyLock<PathBuf> = LazyLock::new(|| {
    let tree = std::env::temp_dir().join(format!("ipft-fuzz-{}", std::process::id()));
    for file in FILES {
        fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
    }
    tree
});

fuzz_target!(|data: &[u8]| {
    const CUT: &[u8] = b"\n==\n";
    let mut rest = Some(data);
    for file in FILES {
        let path = TREE.join(file);
        let Some(data) = rest else {
            let _ = fs::remove_file(path);
            continue;
        };
        let cut = data.windows(CUT.len()).position(|window| window == CUT);
        fs::write(path, &data[..cut.unwrap_or(data.len())]).unwrap();
        rest = cut.map(|at| &data[at + CUT.len()..]);
    }
    let root = Root::at(&*TREE);
    checks::run(&root);
    if let Ok(found) = find_functions(&root) {
        write_list(&mut std::io::sink(), &found.candidates).unwrap();
    }
});
