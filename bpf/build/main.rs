//! Compiles the CO-RE programs with clang, so that plain `cargo build` is enough, finds the operands in them that user
//! space replaces, translates `wire.h` for `wire.rs`, and collects the headers for extensions in C.
//!
//! The headers come from two places: `bpf/bpf_helpers.h` and its companions from libbpf (through `libbpf-sys`, which
//! names its include folder), `linux/bpf.h` and `linux/ptrace.h` from the system's kernel headers.

mod layout;
mod places;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use layout::Defines;
use places::Places;

/// Object, source, whether its programs are sessions, and how they read an sk_buff (`READS` in `core/kernel.h`).
/// Kernels with sessions or tracing-multi links handle all faults.
const PROGRAMS: [(&str, &str, bool, &str); 8] = [
    ("kprobe", "kprobe", false, "BY_LOADS"),
    ("kprobe_by_helper", "kprobe", false, "BY_HELPER"),
    ("kprobe_session", "kprobe", true, "BY_LOADS"),
    ("ftrace", "ftrace", false, "BY_LOADS"),
    ("ftrace_alone", "ftrace", false, "BY_LOADS_ALONE"),
    ("ftrace_by_helper", "ftrace", false, "BY_HELPER"),
    ("fentry_multi", "fentry_multi", false, "BY_LOADS"),
    ("fentry_session", "fentry_multi", true, "BY_LOADS"),
];

/// Returns whether a program sends no event for an entry.
fn is_silent(program: &str) -> bool {
    program.starts_with("ipft_silent_") || program == "ipft_function_return"
}

/// Returns a clang command with the flags that all programs share.
struct Compiler {
    clang: PathBuf,
    arguments: Vec<String>,
}

impl Compiler {
    fn new() -> Self {
        let libbpf = env::var("DEP_BPF_INCLUDE").expect("libbpf-sys names its include folder");
        let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target's architecture");
        let target_arch = match arch.as_str() {
            "x86_64" => "x86",
            other => panic!("ipft-bpf: no calling convention is known for {other}: src/arch/ has no header for it"),
        };
        let mut arguments: Vec<String> = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror"]
            .map(String::from)
            .into();
        arguments.push(format!("-D__TARGET_ARCH_{target_arch}"));
        arguments.push("-Isrc".into());
        arguments.push(format!("-I{libbpf}"));
        arguments.push(format!("-I/usr/include/{arch}-linux-gnu"));
        Compiler {
            clang: env::var_os("CLANG").unwrap_or_else(|| "clang".into()).into(),
            arguments,
        }
    }

    fn run(&self, arguments: &[String]) -> Output {
        let mut command = Command::new(&self.clang);
        command.args(&self.arguments).args(arguments);
        match command.output() {
            Ok(output) if output.status.success() => output,
            Ok(output) => panic!(
                "ipft-bpf: {command:?} failed: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => panic!(
                "ipft-bpf: cannot run {}: {error}; install clang (Debian: apt-get install clang) or name it in CLANG",
                self.clang.display()
            ),
        }
    }

    fn compile(&self, source: &str, object: &Path, defines: &[String]) {
        let mut arguments = vec!["-c".into(), source.into(), "-o".into(), object.display().to_string()];
        arguments.extend_from_slice(defines);
        self.run(&arguments);
    }

    /// Returns the layout of `wire.h`, as Rust, and its `#define`s.
    fn layout(&self, out: &Path) -> (String, Defines) {
        let source = "src/core/layout.c";
        let object = out.join("layout.o");
        self.compile(source, &object, &[]);
        let object = fs::read(object).expect("the compiler has written the object");
        let defines = self.run(&["-E".into(), "-dM".into(), source.into()]).stdout;
        let defines = Defines::parse(&String::from_utf8(defines).expect("wire.h is text"));
        (layout::of_types(&object) + &defines.to_rust(), defines)
    }

    /// Lists every file that `src/headers.h` includes, except the compiler's own.
    fn headers(&self) -> Vec<PathBuf> {
        let output = self.run(&["-M".into(), "src/headers.h".into()]);
        // A make rule: `headers.o: src/headers.h FILE... \`.
        let rule = String::from_utf8(output.stdout).expect("paths of headers are text");
        rule.split_whitespace()
            .filter(|word| word.starts_with('/') && !word.contains("/lib/clang/"))
            .map(PathBuf::from)
            .collect()
    }
}

/// Returns the name by which an `#include` finds the header.
fn include_name(header: &Path) -> String {
    let path = header.to_str().expect("paths of headers are text");
    let parts = ["/linux-gnu/", "-linux-gnu/", "/usr/include/", "/include/"];
    let name = parts
        .iter()
        .find_map(|part| path.split_once(part).map(|(_, name)| name));
    name.unwrap_or_else(|| panic!("ipft-bpf: {path} is in no include folder"))
        .to_owned()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Generates a `Code` for an object. Programs that follow packets look at few marks, and have no places for them.
fn code(path: &Path, defines: &Defines, follow: bool) -> String {
    let object = fs::read(path).expect("the compiler has written the object");
    let Places { masks, marks } = match follow {
        true => Places::default(),
        false => places::find(&object, defines, is_silent),
    };
    let packed = packed(path, &object);
    format!("Code {{ packed: {packed}, masks: &{masks:?}, marks: &{marks:?} }}")
}

/// Compresses an object and generates a `Packed` for it.
fn packed(path: &Path, object: &[u8]) -> String {
    // A quarter of the size; level 19 takes ten times as long for another sixth.
    const LEVEL: i32 = 9;

    let compressed = with_suffix(path, ".zst");
    let bytes = zstd::bulk::compress(object, LEVEL).expect("zstd takes any object");
    fs::write(&compressed, bytes).expect("OUT_DIR is writable");
    format!(
        "Packed {{ bytes: include_bytes!({compressed:?}), size: {} }}",
        object.len()
    )
}

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed=src");

    let compiler = Compiler::new();
    let (layout, defines) = compiler.layout(&out);
    fs::write(out.join("wire_layout.rs"), layout).expect("OUT_DIR is writable");

    for (object, source, session, reads) in PROGRAMS {
        for (suffix, extension, follow) in [
            ("bpf.o", 0, 0),
            ("extension.bpf.o", 1, 0),
            ("follow.bpf.o", 0, 1),
            ("follow.extension.bpf.o", 1, 1),
        ] {
            // Extensions and filters are functions of their own.
            if reads == "BY_LOADS_ALONE" && (extension, follow) != (0, 0) {
                continue;
            }
            let defines_of_object = [
                format!("-DSESSION={}", u8::from(session)),
                format!("-DEXTENSION={extension}"),
                format!("-DREADS={reads}"),
                format!("-DFOLLOW={follow}"),
            ];
            let source = format!("src/program/{source}.bpf.c");
            let object = out.join(format!("{object}.{suffix}"));
            compiler.compile(&source, &object, &defines_of_object);
            fs::write(with_suffix(&object, ".rs"), code(&object, &defines, follow == 1)).expect("OUT_DIR is writable");
        }
    }
    let following = |reads| {
        [
            "-DSESSION=0",
            "-DEXTENSION=0",
            "-DFOLLOW=1",
            &format!("-DREADS={reads}"),
        ]
        .map(String::from)
    };
    for (name, source, defines) in [
        ("license", "license", [].as_slice()),
        ("dropped", "dropped", &following("BY_HELPER")),
        ("decided", "decided", &following("BY_HELPER")),
        ("drops", "drops", &following("BY_LOADS")),
        ("drops_by_helper", "drops", &following("BY_HELPER")),
    ] {
        let path = out.join(format!("{name}.bpf.o"));
        compiler.compile(&format!("src/program/{source}.bpf.c"), &path, defines);
        let object = fs::read(&path).expect("the compiler has written the object");
        fs::write(with_suffix(&path, ".rs"), packed(&path, &object)).expect("OUT_DIR is writable");
    }

    let mut list = String::from("&[\n");
    for header in compiler.headers() {
        writeln!(list, "({:?}, include_str!({header:?})),", include_name(&header)).expect("a String takes all");
    }
    list.push(']');
    fs::write(out.join("headers.rs"), list).expect("OUT_DIR is writable");
}
