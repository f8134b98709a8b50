//! `cargo xtask fuzz`: runs the fuzzers of `tests/fuzz`, each on generated seeds.
//!
//! Results are in `target/fuzz`: the corpus of each target, which is kept between runs, and under `artifacts` the
//! inputs that failed. The compiler that builds ipft builds the fuzzers as well: they need only its coverage passes. A
//! sanitizer, which needs a nightly compiler, has little to find in code without `unsafe`; the compiler's own checks
//! find integer overflows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::progress::{Step, step};
use crate::{packages, plugins, workspace};

/// The programs of `tests/fuzz`.
const TARGETS: [&str; 11] = [
    "btf",
    "capture",
    "command_line",
    "component",
    "filter",
    "filter_program",
    "kernel",
    "layout",
    "lua",
    "object",
    "recording",
];

/// Coverage flags: libFuzzer looks for inputs that reach new code, and at the operands of comparisons.
const COVERAGE: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Default seconds per target.
const SECONDS: u32 = 20;
/// An input that takes longer is a finding: all of them are small.
const SLOW: u32 = 10;
/// Maximum bytes of an input; real objects of extensions have five to ten thousand, the smallest plugins a hundred.
const LONGEST: u32 = 32 << 10;
const LONGEST_COMPONENT: u32 = 256 << 10;
/// MiB of memory above which an input is a finding.
const MEMORY: u32 = 1024;

/// Runs the targets named in the arguments, or all.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut seconds = SECONDS;
    let mut targets = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let value = match argument.split_once('=') {
            Some(("--seconds", value)) => Some(value),
            None if argument == "--seconds" => Some(arguments.next().context("--seconds needs a value")?),
            _ => None,
        };
        match value {
            Some(value) => {
                seconds = value
                    .parse()
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .with_context(|| format!("--seconds: '{value}' is not a number from 1 to {}", u32::MAX))?;
            }
            None if TARGETS.contains(&argument) => targets.push(argument),
            None => bail!(
                "fuzz has no option and no target {argument}; the targets are {}",
                TARGETS.join(", ")
            ),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    packages::install(&[packages::BUILD, packages::FUZZ])?;
    let programs = build(&targets)?;
    let seeds = seeds()?;
    fuzz_all(&programs, &targets, &seeds, seconds)
}

/// Runs as many targets at the same time as there are CPUs: a fuzzer uses one. All run, also after a find.
fn fuzz_all(programs: &Path, targets: &[&str], seeds: &Path, seconds: u32) -> Result<()> {
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next().copied();
    let finds = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    if let Err(error) = fuzz(&programs.join(target), target, seeds, seconds) {
                        finds
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let finds = finds.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(finds.is_empty(), "{}", finds.join("\n"));
    Ok(())
}

/// Paths.
fn folder() -> PathBuf {
    workspace::target().join("fuzz")
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Builds the targets; returns their folder.
fn build(targets: &[&str]) -> Result<PathBuf> {
    // With --target, build scripts and procedural macros are built without coverage.
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--release", "--target", &machine])
        .arg("--manifest-path")
        .arg(workspace::root().join("tests/fuzz/Cargo.toml"))
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env("CARGO_TARGET_DIR", folder())
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    step("build the fuzzers").run(cargo)?;
    Ok(folder().join(machine).join("release"))
}

/// Generates the seeds: the objects of the tests' extensions, their `.BTF` sections, and a plugin, from all available
/// compilers; a kernel and recordings of the repository; and a command line.
fn seeds() -> Result<PathBuf> {
    let seeds = folder().join("seeds");
    if seeds.is_dir() {
        fs::remove_dir_all(&seeds).with_context(|| format!("remove {}", seeds.display()))?;
    }
    for target in TARGETS {
        made(seeds.join(target))?;
    }
    let sources = workspace::root().join("host/core/tests/extension");
    let step = step("make seeds");
    let list = fs::read_dir(&sources).with_context(|| format!("read {}", sources.display()))?;
    for entry in list {
        let source = entry.with_context(|| format!("read {}", sources.display()))?.path();
        if source.extension().is_some_and(|extension| extension == "c") {
            seed(&step, &source, &seeds)?;
        }
    }
    drop(step);
    let plugin = plugins::of_tests()?.join("counting.wasm");
    let seed = seeds.join("component").join("counting");
    fs::copy(&plugin, &seed).with_context(|| format!("copy {}", plugin.display()))?;
    let kernel = workspace::root().join("tests/fuzz/seeds/kernel/small");
    fs::copy(&kernel, seeds.join("kernel").join("small")).with_context(|| format!("copy {}", kernel.display()))?;
    let line = seeds.join("command_line").join("trace");
    fs::write(&line, "-m\n0xdeadbeef\n--pcapng\nf.pcapng").with_context(|| format!("write {}", line.display()))?;
    filters(&seeds)?;
    expressions(&seeds)?;
    let recordings = workspace::root().join("tests/fixtures/recording-1.0");
    let list = fs::read_dir(&recordings).with_context(|| format!("read {}", recordings.display()))?;
    for entry in list {
        let entry = entry.with_context(|| format!("read {}", recordings.display()))?;
        let seed = seeds.join("recording").join(entry.file_name());
        fs::copy(entry.path(), seed).with_context(|| format!("copy {}", entry.path().display()))?;
    }
    Ok(seeds)
}

/// Writes the filters of the tests, alone and with the beginning of a TCP packet.
fn filters(seeds: &Path) -> Result<()> {
    const FRAME: &[u8] = b"\n\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0E\0\0\x28\0\x01\x40\0\x40\x06\0\0\
        \x0a\0\0\x01\x0a\0\0\x02\x04\0\0\x50\0\0\0\x01\0\0\0\0\x50\x02\xff\xff\0\0\0\0";
    let list = workspace::root().join("tests/filter/src/expressions.txt");
    let list = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    for (number, filter) in list.lines().filter(|line| !line.starts_with('#')).enumerate() {
        let whole = [filter.as_bytes(), FRAME].concat();
        for (target, bytes) in [("filter", filter.as_bytes()), ("filter_program", &whole)] {
            let path = seeds.join(target).join(number.to_string());
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Writes expressions and a script in Lua, with the fields that the target has.
fn expressions(seeds: &Path) -> Result<()> {
    const TEXTS: [&str; 4] = [
        "skb.len > 5 and skb.next.name == 'eth0' or not (ntoh(skb.protocol) // 3 == skb.bits)",
        "cast('sk_buff', skb.head + skb.words[2]).len & bit.band(skb.len, 0xff) << 3 ~ -skb.head[skb.len]",
        "mac(skb.head) == '02:00:00:00:00:01' and ipv4(skb.len) ~= '10.0.0.1'",
        "function module(skb) local s = 0 for i = 1, 3 do s = s + i if s > 3 then break end end return { s = s } end",
    ];
    for (number, text) in TEXTS.iter().enumerate() {
        let path = seeds.join("lua").join(number.to_string());
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn seed(step: &Step, source: &Path, seeds: &Path) -> Result<()> {
    let name = source.file_stem().unwrap_or_default();
    let object = seeds.join("object").join(name);
    let types = seeds.join("layout").join(name);
    let mut clang = Command::new("clang");
    clang
        .args(["-target", "bpf", "-O2", "-g", "-c"])
        .arg(source)
        .arg("-o")
        .arg(&object);
    step.run(clang)?;
    let mut objcopy = Command::new("llvm-objcopy");
    objcopy
        .arg(format!("--dump-section=.BTF={}", types.display()))
        .args([object.as_path(), Path::new("/dev/null")]);
    step.run(objcopy)?;
    // The first byte says where in the rest one BTF ends and a split one begins: at its end.
    let bytes = fs::read(&types).with_context(|| format!("read {}", types.display()))?;
    let path = seeds.join("btf").join(name);
    fs::write(&path, [&[u8::MAX], &bytes[..]].concat()).with_context(|| format!("write {}", path.display()))
}

/// Runs one target, and prints how many inputs it tried.
fn fuzz(program: &Path, target: &str, seeds: &Path, seconds: u32) -> Result<()> {
    let corpus = made(folder().join("corpus").join(target))?;
    let artifacts = made(folder().join("artifacts").join(target))?;
    let temporary = made(folder().join("tmp").join(target))?;
    let longest = if target == "component" {
        LONGEST_COMPONENT
    } else {
        LONGEST
    };
    let step = step(format!("fuzz {target} for {seconds} s"));
    let output = Command::new(program)
        .args([&corpus, &seeds.join(target)])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-max_len={longest}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-verbosity=0", "-print_final_stats=1"])
        // A target that ends like a fuzzer cannot clean up itself.
        .env("TMPDIR", &temporary)
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    drop(step);
    fs::remove_dir_all(&temporary).with_context(|| format!("remove {}", temporary.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "the fuzzer {target} stopped ({}); the input is in {}, and {} INPUT repeats it\n{said}",
            output.status,
            artifacts.display(),
            program.display()
        );
    }
    let tried = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .context("the fuzzer ended without saying what it did")?;
    println!("{target}: {} inputs in {seconds} s, no find", tried.trim());
    Ok(())
}
