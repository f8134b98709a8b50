//! The BPF programs of one trace: an object, opened, configured and loaded, with its maps. libbpf creates the maps and
//! relocates the programs; ipft loads them, without what the configuration rules out. Imports `program_key`, `link`,
//! `specialize`, `syscall` and `reason`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use ipft_bpf::wire::{self, Config, Cpu};
use libbpf_rs::{AsRawLibbpf, Map, MapCore, MapFlags, Object, ObjectBuilder, OpenObject, Program, ProgramType};
use libbpf_sys::bpf_insn;

use super::drops::DropCount;
use super::program_key::ProgramKey;
use super::specialize::{Constants, specialize};
use super::syscall::RawProgram;
use super::{Buffer, Maps, ProbeError, Request, libbpf_log, link, reason, syscall};
use crate::filter::Filter;
use crate::kernel::faults_crash;

/// Describes how to load a program.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    /// The program.
    pub(super) key: ProgramKey,
    /// The attach type to load it with, if its section does not say.
    pub(super) attach_type: Option<u32>,
    /// The kernel function to attach to, for programs that are loaded for one.
    pub(super) target: Option<String>,
    /// Whether it is of the tracing kind, if the section does not say.
    pub(super) tracing: bool,
    /// Whether only its instructions are needed: it is not loaded.
    pub(super) template: bool,
}

impl Selected {
    /// Creates a description of a program that has everything in its section.
    pub(super) fn plain(key: ProgramKey) -> Self {
        Selected {
            key,
            attach_type: None,
            target: None,
            tracing: false,
            template: false,
        }
    }

    /// Creates a description of a program whose instructions are needed, and no more.
    pub(super) fn template(key: ProgramKey) -> Self {
        Selected {
            template: true,
            ..Selected::plain(key)
        }
    }
}

/// The function of an expression, as `bpf/src/filter/select.h` declares it, and what the verifier's log calls its source.
const WHERE: (&str, &str) = ("ipft_where", "--where");

/// Returns the objects of the filters of a trace that has some.
fn filters(request: &Request<'_>) -> Option<[Vec<u8>; 3]> {
    request.following.map(|following| {
        let inner = following.inner.map(Filter::inner_object);
        let condition = match following.condition {
            Some(condition) => condition.object(WHERE.0, WHERE.1),
            None => lua_bpf::Program::always().object(WHERE.0, WHERE.1),
        };
        [
            following.filter.object(),
            inner.unwrap_or_else(Filter::no_inner_object),
            condition,
        ]
    })
}

/// Returns the name of a map without the prefix of its object, which libbpf adds to the usual sections (`.bss`).
fn shared_name(name: &str) -> &str {
    name.find('.').and_then(|dot| name.get(dot..)).unwrap_or(name)
}

/// A loaded object.
#[derive(Debug)]
pub(super) struct Programs {
    object: Object,
    /// Those that ipft has loaded itself. libbpf has loaded the others.
    own: BTreeMap<ProgramKey, OwnedFd>,
    /// The instructions of the own programs and of templates, for this trace.
    instructions: BTreeMap<ProgramKey, Vec<bpf_insn>>,
    /// The ring buffers of groups of CPUs, if there are several.
    rings: Vec<OwnedFd>,
}

/// Returns whether a map of the object is a buffer of another kind than the requested one.
fn is_other_buffer(name: &str, buffer: &Buffer) -> bool {
    let used = match buffer {
        Buffer::Ring { count: 1, .. } => "ipft_ring",
        Buffer::Ring { .. } => "ipft_rings",
        Buffer::Perf { .. } => "ipft_perf",
    };
    ["ipft_ring", "ipft_rings", "ipft_perf"].contains(&name) && name != used
}

impl Programs {
    /// Opens an object, with the mark and the extension, if there is one, in it, configures it, and loads the selected
    /// programs and the maps they use.
    pub(super) fn load(
        object: &ipft_bpf::Object,
        config: Config,
        request: &Request<'_>,
        selected: &[Selected],
    ) -> Result<Self, ProbeError> {
        let for_mark = |code: &ipft_bpf::Code| code.for_mark(request.mark, request.mask).map_err(ProbeError::Unpack);
        let filters = filters(request);
        let filters = filters.as_ref().map(<[Vec<u8>; 3]>::as_slice);
        let plain = || match filters {
            None => Programs::load_bytes(&for_mark(&object.plain)?, config, request, selected),
            Some(filters) => {
                let linked = link::link(&for_mark(&object.following)?, filters, None)?;
                Programs::load_bytes(&linked, config, request, selected)
            }
        };
        let Some(extension) = request.extension else {
            return plain();
        };
        let extensible = match filters {
            None => &object.extensible,
            Some(_) => &object.following_extensible,
        };
        // Before they are linked: an extension may have any constants.
        let linked = link::link(&for_mark(extensible)?, filters.unwrap_or_default(), Some(extension))?;
        Programs::load_bytes(&linked, config, request, selected).map_err(|error| {
            // Loading without the extension shows which side is at fault.
            match (error, plain()) {
                (ProbeError::Libbpf { log, .. }, Ok(_)) => ProbeError::Extension { log },
                (error, _) => error,
            }
        })
    }

    /// Loads the program that sees drops, which shares the maps of attached programs ([`Request::maps`]).
    pub(super) fn load_dropped(config: Config, request: &Request<'_>) -> Result<Self, ProbeError> {
        let selected = [Selected::plain(ProgramKey::Dropped)];
        let bytes = ipft_bpf::DROPPED.unpack().map_err(ProbeError::Unpack)?;
        Programs::load_bytes(&bytes, config, request, &selected)
    }

    /// Loads programs that see verdicts, which share the maps of attached programs ([`Request::maps`]).
    pub(super) fn load_decided(
        config: Config,
        request: &Request<'_>,
        keys: [ProgramKey; 2],
    ) -> Result<Self, ProbeError> {
        let bytes = ipft_bpf::DECIDED.unpack().map_err(ProbeError::Unpack)?;
        Programs::load_bytes(&bytes, config, request, &keys.map(Selected::plain))
    }

    /// Loads the program of a trace of drops, with the filter in it.
    pub(super) fn load_drops(config: Config, request: &Request<'_>) -> Result<Self, ProbeError> {
        let object = match faults_crash(request.root) {
            true => &ipft_bpf::DROPS_BY_HELPER,
            false => &ipft_bpf::DROPS,
        };
        let bytes = object.unpack().map_err(ProbeError::Unpack)?;
        let filters = filters(request);
        let linked = link::link(&bytes, filters.as_ref().map_or(&[], |filters| filters), None)?;
        Programs::load_bytes(&linked, config, request, &[Selected::plain(ProgramKey::Drop)])
    }

    fn load_bytes(
        bytes: &[u8],
        config: Config,
        request: &Request<'_>,
        selected: &[Selected],
    ) -> Result<Self, ProbeError> {
        libbpf_log::begin();
        let failed = |what: &'static str| move |error: libbpf_rs::Error| ProbeError::libbpf(what, &error);

        let mut open = ObjectBuilder::default()
            .open_memory(bytes)
            .map_err(failed("cannot open the BPF object"))?;
        let names: BTreeMap<String, &Selected> = selected.iter().map(|program| (program.key.name(), program)).collect();
        let mut by_name = names.clone();
        for mut program in open.progs_mut() {
            let Some(wanted) = by_name.remove(&*program.name().to_string_lossy()) else {
                program.set_autoload(false);
                continue;
            };
            program.set_autoload(true);
            if wanted.tracing {
                program.set_prog_type(ProgramType::Tracing);
            }
            if let Some(attach_type) = wanted.attach_type {
                // SAFETY: the pointer is that of a program of an open object. libbpf-rs knows no attach types of 7.x.
                unsafe {
                    libbpf_sys::bpf_program__set_expected_attach_type(program.as_libbpf_object().as_ptr(), attach_type)
                };
            }
            if wanted.target.is_some() {
                program
                    .set_attach_target(0, wanted.target.clone())
                    .map_err(failed("cannot set the attach target"))?;
            }
        }
        if let Some((missing, _)) = by_name.pop_first() {
            return Err(ProbeError::NoProgram(missing));
        }

        let machine = |code: Option<i32>| {
            Some(ProbeError::Machine {
                what: "cannot load the BPF programs",
                reason: reason::of_load(request.root, request.buffer, code?)?,
            })
        };
        let mut rings = Vec::new();
        for mut map in open.maps_mut() {
            let name = shared_name(&map.name().to_string_lossy()).to_owned();
            // libbpf returns a descriptor for it nevertheless, an invalid one.
            let is_unused = is_other_buffer(&name, request.buffer);
            if !is_unused && let Some((_, shared)) = request.maps.iter().find(|(shared, _)| *shared == name) {
                map.reuse_fd(shared.as_fd())
                    .map_err(failed("cannot share the BPF maps of another backend"))?;
                continue;
            }
            let result = match (name.as_str(), request.buffer) {
                (".rodata.ipft", _) => map.set_initial_value(&config.to_bytes()),
                (".bss.followed", _) if config.select_anywhere => {
                    map.set_initial_value(&ipft_bpf::wire::ANYWHERE.to_ne_bytes())
                }
                _ if is_unused => map.set_autocreate(false),
                ("ipft_ring", Buffer::Ring { bytes, .. }) => map.set_max_entries(*bytes),
                ("ipft_rings", Buffer::Ring { bytes, count }) => {
                    for _ in 0..*count {
                        let ring = syscall::ring_buffer(bytes / count).map_err(|error| {
                            machine(error.raw_os_error()).unwrap_or(ProbeError::Libbpf {
                                what: "cannot create the ring buffers",
                                code: error.raw_os_error(),
                                source: error,
                                log: String::new(),
                            })
                        })?;
                        rings.push(ring);
                    }
                    // Kernels before 5.10 compare the sizes.
                    let first = rings.first().map(|ring| map.set_inner_map_fd(ring.as_fd()));
                    first.unwrap_or(Ok(())).and_then(|()| map.set_max_entries(*count))
                }
                ("ipft_calls", _) if !selected.iter().any(|program| program.key == ProgramKey::Return) => {
                    map.set_max_entries(1)
                }
                _ => Ok(()),
            };
            result.map_err(failed("cannot configure a BPF map"))?;
        }
        let refused = |error: libbpf_rs::Error| {
            machine(reason::code(&error))
                .unwrap_or_else(|| ProbeError::libbpf("the kernel did not accept the BPF programs", &error))
        };
        prepare(&mut open).map_err(refused)?;
        let (own, instructions) = load_specialized(&mut open, &names, &config.to_bytes());
        let object = open.load().map_err(refused)?;
        let programs = Programs {
            object,
            own,
            instructions,
            rings,
        };
        programs
            .share_rings()
            .map_err(failed("cannot share the ring buffers"))?;
        Ok(programs)
    }

    /// Puts the rings of groups of CPUs into their map.
    fn share_rings(&self) -> libbpf_rs::Result<()> {
        let Some(map) = self.object.maps().find(|map| map.name() == "ipft_rings") else {
            return Ok(());
        };
        for (number, ring) in (0_u32..).zip(&self.rings) {
            map.update(&number.to_ne_bytes(), &ring.as_raw_fd().to_ne_bytes(), MapFlags::ANY)?;
        }
        Ok(())
    }

    /// Returns the maps that events come out of.
    pub(super) fn buffer_maps(&self, buffer: &Buffer) -> Vec<BorrowedFd<'_>> {
        match buffer {
            Buffer::Ring { count: 1, .. } => self.map("ipft_ring").into_iter().collect(),
            Buffer::Ring { .. } => self.rings.iter().map(AsFd::as_fd).collect(),
            Buffer::Perf { .. } => self.map("ipft_perf").into_iter().collect(),
        }
    }

    /// Returns a program of the object.
    fn find(&self, key: ProgramKey) -> Result<Program<'_>, ProbeError> {
        let name = key.name();
        (self.object.progs())
            .find(|program| program.name() == &*name)
            .ok_or(ProbeError::NoProgram(name))
    }

    /// Returns a loaded program.
    pub(super) fn program(&self, key: ProgramKey) -> Result<BorrowedFd<'_>, ProbeError> {
        if let Some(own) = self.own.get(&key) {
            return Ok(own.as_fd());
        }
        self.find(key)
            // SAFETY: the descriptor belongs to the object, which the result's lifetime borrows.
            .map(|program| unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) })
    }

    /// Returns the instructions of a program for many functions or of a template, relocated and for this trace.
    pub(super) fn instructions(&self, key: ProgramKey) -> Result<&[bpf_insn], ProbeError> {
        let instructions = self.instructions.get(&key).map(Vec::as_slice);
        instructions.ok_or_else(|| ProbeError::NoProgram(key.name()))
    }

    /// Returns the descriptors of all loaded programs.
    pub(super) fn loaded(&self) -> Vec<BorrowedFd<'_>> {
        let by_libbpf = (self.object.progs())
            .filter(|program| program.autoload())
            // SAFETY: the descriptor belongs to the object, which the result's lifetime borrows.
            .map(|program| unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) });
        self.own.values().map(AsFd::as_fd).chain(by_libbpf).collect()
    }

    /// Returns a map of the object.
    fn map(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.object.maps().find(|map| map.name() == name).map(|map| {
            // SAFETY: the descriptor belongs to the object, which the result's lifetime borrows.
            unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&map.as_fd())) }
        })
    }

    /// Returns the maps that another object's programs must share, so that both know the same packets. Maps of one
    /// object are excluded: its constants, and its open calls, which are closed by the backend that opened them.
    pub(super) fn shared_maps(&self) -> Result<Maps, ProbeError> {
        let failed = |source| ProbeError::Libbpf {
            what: "cannot share the BPF maps with another backend",
            code: None,
            source,
            log: String::new(),
        };
        let mut maps = Vec::new();
        for map in self.object.maps() {
            let name = shared_name(&map.name().to_string_lossy()).to_owned();
            if !(name.starts_with(".rodata") || name == ".kconfig" || name == "ipft_calls") {
                maps.push((name, map.as_fd().try_clone_to_owned().map_err(failed)?));
            }
        }
        Ok(maps.into())
    }

    /// Returns the counters of all CPUs. libbpf has mapped them into memory (BPF_F_MMAPABLE), so that reading them
    /// needs neither bpf(2) nor a capability: kernels before 6.0 refuse every call without CAP_BPF
    /// (`kernel.unprivileged_bpf_disabled`).
    pub(super) fn cpus(&self) -> Vec<Cpu> {
        let Some(map) = self.object.maps().find(|map| map.name() == ".bss.cpus") else {
            return Vec::new();
        };
        let cpus = words(&map).as_chunks::<{ Cpu::WORDS }>().0.iter();
        cpus.map(|cpu| Cpu::parse(cpu.each_ref().map(|word| word.load(Ordering::Relaxed))))
            .collect()
    }
}

impl Programs {
    /// Returns how many packets are followed (`ipft_followed` in `bpf/src/track/followed.h`).
    pub(super) fn followed(&self) -> u64 {
        self.counter(".bss.followed") & (ipft_bpf::wire::ANYWHERE - 1)
    }

    /// Returns how many packets the filter could not judge (`ipft_unjudged` in `bpf/src/filter/select.h`).
    pub(super) fn unjudged(&self) -> u64 {
        self.counter(".bss.unjudged")
    }

    /// Returns how often a packet was not selected because its flow is left out (`ipft_left_out` in the same file).
    pub(super) fn left_out(&self) -> u64 {
        self.counter(".bss.left_out")
    }

    /// Returns how often a packet was not selected because of the limit of packets per second
    /// (`bpf/src/filter/rate.h`).
    pub(super) fn over_rate(&self) -> u64 {
        self.counter(".bss.rate")
    }

    /// Returns how often it was not known whose a packet was (`ipft_undecided` in `bpf/src/filter/select.h`).
    pub(super) fn undecided(&self) -> u64 {
        self.counter(".bss.undecided")
    }

    /// Returns how many packets were dropped so far where and why (`ipft_drop_places` in
    /// `bpf/src/program/drops.bpf.c`).
    pub(super) fn drop_counts(&self) -> Vec<DropCount> {
        let Some(map) = self.object.maps().find(|map| map.name() == ".bss.places") else {
            return Vec::new();
        };
        let mut counts: Vec<DropCount> = Vec::new();
        // There are slots for all CPUs that there could be, so those of the others are only looked at.
        let slots = words(&map).as_chunks::<{ wire::DropPlace::WORDS }>().0.iter();
        for slot in slots.filter(|slot| slot[wire::DropPlace::COUNT].load(Ordering::Relaxed) > 0) {
            let place = wire::DropPlace::parse(slot.each_ref().map(|word| word.load(Ordering::Relaxed)));
            let mut known = counts.iter_mut();
            match known.find(|known| (known.location, known.reason) == (place.location, place.reason)) {
                Some(known) => known.count = known.count.saturating_add(place.count),
                None => counts.push(DropCount {
                    location: place.location,
                    reason: place.reason,
                    count: place.count,
                }),
            }
        }
        counts
    }

    /// Returns the first word of a map; 0 if the programs do not have the map.
    fn counter(&self, name: &str) -> u64 {
        let map = self.object.maps().find(|map| map.name() == name);
        map.and_then(|map| words(&map).first().map(|word| word.load(Ordering::Relaxed)))
            .unwrap_or(0)
    }
}

/// Creates the maps, and relocates the programs.
fn prepare(open: &mut OpenObject) -> libbpf_rs::Result<()> {
    // SAFETY: the pointer is that of an open object, which is not loaded yet.
    match unsafe { libbpf_sys::bpf_object__prepare(open.as_libbpf_object().as_ptr()) } {
        0 => Ok(()),
        error => Err(libbpf_rs::Error::from_raw_os_error(-error)),
    }
}

/// Loads the programs of a prepared object that are not for one function, without what the configuration rules out.
/// Returns them, and their instructions and those of templates. Programs that the kernel refuses are left to libbpf, which says why.
fn load_specialized(
    open: &mut OpenObject,
    selected: &BTreeMap<String, &Selected>,
    config: &[u8],
) -> (BTreeMap<ProgramKey, OwnedFd>, BTreeMap<ProgramKey, Vec<bpf_insn>>) {
    let mut maps = open.maps();
    let map = maps.find(|map| shared_name(&map.name().to_string_lossy()) == ".rodata.ipft");
    let constants = map.map(|map| Constants {
        // SAFETY: the pointer is that of a map of a prepared object.
        map: unsafe { libbpf_sys::bpf_map__fd(map.as_libbpf_object().as_ptr()) },
        bytes: config,
    });
    drop(maps);
    let (mut own, mut instructions) = (BTreeMap::new(), BTreeMap::new());
    for mut program in open.progs_mut() {
        let Some(wanted) = selected.get(&*program.name().to_string_lossy()) else {
            continue;
        };
        let pointer = program.as_libbpf_object().as_ptr();
        // SAFETY: the pointer is that of a program of a prepared object.
        let (kind, attach_type) = unsafe {
            let kind = libbpf_sys::bpf_program__type(pointer);
            (kind, libbpf_sys::bpf_program__expected_attach_type(pointer))
        };
        // libbpf finds the function that a tracing program is for, and loads it.
        let is_for_one = kind == libbpf_sys::BPF_PROG_TYPE_TRACING && !wanted.tracing;
        if is_for_one && !wanted.template {
            continue;
        }
        let all = program.insns();
        let special = constants.as_ref().and_then(|constants| specialize(all, constants));
        let special = special.unwrap_or_else(|| all.to_vec());
        let loaded = (!wanted.template).then(|| {
            let name = CString::new(wanted.key.name()).unwrap_or_default();
            let program = RawProgram {
                name: &name,
                kind,
                instructions: &special,
                attach_type,
                btf_id: 0,
                module_btf: None,
            };
            program.load().ok()
        });
        let loaded = loaded.flatten();
        if wanted.template || loaded.is_some() {
            program.set_autoload(false);
        }
        own.extend(loaded.map(|fd| (wanted.key, fd)));
        instructions.insert(wanted.key, special);
    }
    (own, instructions)
}

/// Returns a map of global data, which libbpf has mapped into memory. The programs write to it meanwhile.
fn words<'a>(map: &'a Map<'_>) -> &'a [AtomicU64] {
    let mut size = 0;
    // SAFETY: the pointer is that of a map of a loaded object, and the size is writable.
    let start = unsafe { libbpf_sys::bpf_map__initial_value(map.as_libbpf_object().as_ptr(), &raw mut size) };
    if start.is_null() {
        return &[];
    }
    // SAFETY: libbpf has mapped this many bytes at the start of a page, which is writable memory for the lifetime of
    // the object; the kernel's side changes its words atomically.
    unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), size as usize / size_of::<u64>()) }
}
