//! Filters in kernels: linked with a program that builds the frame of `bpf/src/filter/frame.h`, their instructions give
//! the verdict of the compiler's interpreter for each packet. That libpcap gives the same is tested in `tests/filter`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use filter_oracle::packets::{self, Frame};
use filter_oracle::random::Random;
use filter_oracle::{TestNames, expressions};
use ipft_core::filter::{self, Filter, Verdict};
use ipft_e2e::{compiler, guest};
use xtask::kernel::Kernel;
use xtask::workspace;

/// As in `native/filter.bpf.c`.
const PACKETS: usize = 10_000;
const LONGEST: usize = 496;

/// Each so many expressions of the table are tried.
const STEP: usize = 5;

/// A packet, and whether its first VLAN tag is not in its bytes but beside them.
struct Packet {
    frame: Frame,
    accelerated: bool,
}

impl Packet {
    /// Returns what the filter sees: without `vlan` in it, no accelerated tag.
    fn seen_by(&self, filter: &Filter) -> Frame {
        let Frame { bytes, length } = &self.frame;
        let (mut bytes, mut length) = (bytes.clone(), *length);
        if self.accelerated && !filter.has_vlan() {
            bytes.drain(12..16);
            length -= 4;
        }
        Frame { bytes, length }
    }

    fn record(&self) -> Vec<u8> {
        let Frame { bytes, length } = &self.frame;
        let captured = u32::try_from(bytes.len()).expect("packets are short");
        let mut record = Vec::new();
        record.extend(captured.to_ne_bytes());
        record.extend(length.to_ne_bytes());
        record.extend([0; 4]);
        record.extend([u8::from(self.accelerated), 0, 0, 0]);
        record.extend(bytes);
        // What lies behind the packet is nothing.
        record.resize(16 + LONGEST, 0xa5);
        record
    }
}

fn packets() -> Vec<Packet> {
    let mut random = Random::new(0x00f1_17e5);
    let mut packets = Vec::new();
    while packets.len() < PACKETS {
        let frame = packets::frame(&mut random);
        // A gate has whole Ethernet headers, and tags.
        if !(18..=LONGEST).contains(&frame.bytes.len()) {
            continue;
        }
        let is_tagged = matches!(frame.bytes[12..14], [0x81, 0x00] | [0x88, 0xa8]);
        let accelerated = is_tagged && random.percent(50);
        packets.push(Packet { frame, accelerated });
    }
    packets
}

fn verdict(filter: &Filter, packet: &Packet) -> u8 {
    let Frame { bytes, length } = packet.seen_by(filter);
    let result: i8 = match filter.judge(&bytes, length) {
        Verdict::Match => 1,
        Verdict::NoMatch => 0,
        Verdict::OutOfReach => -1,
    };
    result.cast_unsigned()
}

/// Returns the folder with everything that the guests need, and the number of filters.
fn inputs() -> Result<(PathBuf, usize)> {
    let folder = workspace::target().join("e2e/filter-inputs");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let headers = folder.join("headers");
    for (name, text) in ipft_bpf::HEADERS {
        let path = headers.join(name);
        fs::create_dir_all(path.parent().context("headers are in folders")?)?;
        fs::write(path, text)?;
    }
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("native");
    let source = fs::read_to_string(native.join("filter.bpf.c"))?;
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf/src");
    let include = |path: &Path| format!("-I{}", path.display());

    let packets = packets();
    let records: Vec<u8> = packets.iter().flat_map(Packet::record).collect();
    fs::write(folder.join("packets"), records)?;
    let mut programs: BTreeMap<String, usize> = BTreeMap::new();
    let mut jobs = Vec::new();
    for (number, expression) in expressions::table().step_by(STEP).enumerate() {
        let Ok(filter) = filter::compile(expression, &TestNames) else {
            continue;
        };
        let bytes = filter.prefix().saturating_sub(14).next_multiple_of(8);
        let (mac, vlan, length) = (filter.has_mac(), filter.has_vlan(), filter.has_length());
        let uses = format!(
            "-DUSES_BYTES={bytes} -DUSES_MAC={} -DUSES_VLAN={} -DUSES_LENGTH={}",
            u8::from(mac),
            u8::from(vlan),
            u8::from(length)
        );
        let next = programs.len();
        let program = *programs.entry(uses).or_insert(next);
        fs::write(folder.join(format!("{number}.o")), filter.object())?;
        let expected: Vec<u8> = packets.iter().map(|packet| verdict(&filter, packet)).collect();
        fs::write(folder.join(format!("{number}.expected")), expected)?;
        jobs.push(format!("{number}\t{program}\t{expression}\n"));
    }
    fs::write(folder.join("jobs"), jobs.concat())?;
    for (uses, number) in programs {
        let (headers, own) = (include(&headers), include(&own));
        let mut flags = vec![
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", &own, &headers,
        ];
        flags.extend(uses.split(' '));
        // As in `core/kernel.h`.
        for (reads, flag) in [("loads", "-DREADS=1"), ("helper", "-DREADS=3")] {
            let flags = [flags.as_slice(), &[flag]].concat();
            compiler::compile(&folder, &format!("program-{number}-{reads}.o"), &source, &flags)?;
        }
    }
    let runner = Command::new("gcc")
        .args(["-O2", "-Wall", "-Werror", "-static", "-o"])
        .arg(folder.join("filterrun"))
        .arg(native.join("filterrun.c"))
        .output()
        .context("run gcc")?;
    ensure!(runner.status.success(), "{}", String::from_utf8_lossy(&runner.stderr));
    Ok((folder, jobs.len()))
}

fn filters_judge_as_the_interpreter_does(kernel: Kernel) {
    static INPUTS: OnceLock<Result<(PathBuf, usize), String>> = OnceLock::new();
    let inputs = INPUTS.get_or_init(|| inputs().map_err(|error| format!("{error:#}")));
    let (folder, count) = inputs.as_ref().expect("the inputs can be made");
    assert!(*count >= 100, "only {count} filters");
    let name = format!("filter-{}", kernel.series());
    let reads = if kernel == Kernel::V5_10 { "helper" } else { "loads" };
    let script = format!("READS={reads}\n{}", include_str!("../../../guest/filter.sh"));
    let left = guest::run(&name, kernel, &[folder], &script).expect("the script runs");
    assert_eq!(left.text("failures"), "");
    assert_eq!(left.text("summary"), format!("{count} filters\n"));
}

ipft_e2e::on_kernels!(
    [on_5_10: V5_10, on_7_2: V7_2],
    filters_judge_as_the_interpreter_does,
);
