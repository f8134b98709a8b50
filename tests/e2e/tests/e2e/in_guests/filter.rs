//! Filters in kernels: linked with a program that builds the frame of `bpf/src/filter/frame.h`, their instructions give
//! the verdict of the compiler's interpreter for each packet, and for packets in tunnels. That libpcap gives the same
//! is tested in `tests/filter`.

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
    tunnel: Option<Tunnel>,
}

/// What is around a packet.
#[derive(Clone, Copy)]
enum Tunnel {
    Vxlan,
    Geneve,
    Gre,
    /// One that only the kernel's offsets tell.
    Other,
}

impl Tunnel {
    const ALL: [Tunnel; 4] = [Tunnel::Vxlan, Tunnel::Geneve, Tunnel::Gre, Tunnel::Other];

    /// Returns the headers before the packet inside, from that of Ethernet on.
    fn headers(self) -> Vec<u8> {
        let ipv4 = |words: u8, protocol: u8| {
            let mut header = vec![0; 14 + usize::from(words) * 4];
            header[12] = 0x08;
            header[14] = 0x40 | words;
            header[23] = protocol;
            header
        };
        let udp = |port: u16| [&[0x12, 0x34], &port.to_be_bytes()[..], &[0; 4]].concat();
        match self {
            Tunnel::Vxlan => [ipv4(5, 17), udp(4789), vec![0x08, 0, 0, 0, 0, 0, 5, 0]].concat(),
            Tunnel::Geneve => {
                let mut header = vec![0; 14 + 40];
                header[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
                header[20] = 17;
                // Two words of options.
                let geneve = [2, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 2, 3, 1, 4, 5, 6, 7];
                [header, udp(6081), geneve.to_vec()].concat()
            }
            // With a key and a sequence number, behind a header with options.
            Tunnel::Gre => [ipv4(6, 47), vec![0x30, 0, 0x65, 0x58, 0, 0, 0, 1, 0, 0, 0, 2]].concat(),
            Tunnel::Other => [ipv4(5, 17), udp(9999), vec![0xff; 8]].concat(),
        }
    }
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
        let headers = self.tunnel.map(Tunnel::headers).unwrap_or_default();
        let inside = u8::try_from(headers.len()).expect("headers are short");
        let captured = u32::try_from(bytes.len()).expect("packets are short") + u32::from(inside);
        let has_offsets = matches!(self.tunnel, Some(Tunnel::Other));
        let mut record = Vec::new();
        record.extend(captured.to_ne_bytes());
        record.extend((*length + u32::from(inside)).to_ne_bytes());
        record.extend([0; 4]);
        record.extend([u8::from(self.accelerated), inside, has_offsets.into(), 0]);
        record.extend(headers);
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
        let all = Tunnel::ALL;
        let tunnel = (random.percent(40)).then(|| all[random.below(all.len() as u64) as usize]);
        let tunnel = tunnel.filter(|tunnel| frame.bytes.len() + tunnel.headers().len() <= LONGEST);
        // The tag of a packet inside is always taken out of its bytes.
        let accelerated = is_tagged && (tunnel.is_some() || random.percent(50));
        packets.push(Packet {
            frame,
            accelerated,
            tunnel,
        });
    }
    packets
}

fn verdict(filter: &Filter, packet: &Packet) -> u8 {
    // What is inside is found by its type, behind a tag.
    if packet.tunnel.is_some() && packet.frame.bytes.len() < 20 {
        return (-1_i8).cast_unsigned();
    }
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
        fs::write(folder.join(format!("{number}.inner.o")), filter.inner_object())?;
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
