//! Tests of loading: refused files with remedies, and cached code.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ipft_plugin_host::host::wasm::{Cache, Component, Failure};
use ipft_plugin_host::package::inspect::{InspectError, MAX_COMPONENT, Need, Refusal, inspect};
use support::hostile::*;

/// Returns the hostile plugin with all occurrences of some bytes replaced by as many others.
fn changed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = HOSTILE.clone();
    let mut count = 0;
    let mut position = 0;
    while let Some(found) = find(&bytes[position..], from.as_bytes()) {
        bytes[position + found..][..to.len()].copy_from_slice(to.as_bytes());
        position += found + to.len();
        count += 1;
    }
    assert!(count > 0, "{from} is not in it");
    bytes
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Returns the error of loading it.
fn refused(bytes: &[u8]) -> (Failure, String) {
    let error = Component::load(&ENGINE, "file.wasm", bytes, None, || (), &mut |_| ()).expect_err("it is refused");
    let text = error.to_string();
    assert!(
        text.starts_with("the plugin ") && !text.contains(char::is_control),
        "{text}"
    );
    assert!(text.len() < 1500, "{text}");
    (error.failure, text)
}

#[test]
fn a_plugin_is_described_without_being_run() {
    let inspection = inspect(&HOSTILE).expect("it is a component");
    let description = inspection.check().expect("it is a plugin");
    assert_eq!((description.name.as_str(), description.options.len()), ("hostile", 2));
    let roles = inspection.roles();
    assert_eq!(
        (roles.sink, roles.raw_sink, roles.decoder, roles.program),
        (true, false, true, true)
    );
    assert_eq!(inspection.contract_versions(), ["0.1.0"]);
    assert_eq!(inspection.size, HOSTILE.len());
    let sink = inspection
        .exports
        .iter()
        .find(|export| export.name == "ipft:plugin/sink@0.1.0");
    let functions = &sink.expect("it exports a sink").functions;
    for function in ["start", "learn", "events", "missed", "finish"] {
        assert!(functions.iter().any(|found| found == function), "{functions:?}");
    }
    let host = inspection
        .imports
        .iter()
        .find(|import| import.name == "ipft:plugin/host@0.1.0");
    assert_eq!(host.expect("it imports the host").functions, ["write", "log"]);
    for need in [Need::Files, Need::Environment, Need::Network, Need::Clocks] {
        assert!(inspection.needs().contains(&need), "{:?}", inspection.needs());
    }
    assert!(inspection.modules.iter().any(|size| *size > 10_000));
    assert!(
        inspection.producers.iter().any(|(_, name, _)| name == "Rust"),
        "{:?}",
        inspection.producers
    );
    assert!(inspect(&RAW).expect("it is a component").roles().raw_sink);
}

#[test]
fn files_that_are_not_components_are_recognized() {
    for (bytes, expected) in [
        (&b""[..], "it is no WebAssembly"),
        (b"\x7fELF...........", "it is no WebAssembly"),
        (b"\0asm\x01\0\0\0", "it is a core module, not a component"),
        (b"\0asm\x0d\0\x01\0", "it exports none of ipft:plugin/sink"),
        (b"\0asm\x0d\0\x02\0", "it is damaged"),
    ] {
        let (_, text) = refused(bytes);
        assert!(
            text.starts_with("the plugin file.wasm cannot be used: ") && text.contains(expected),
            "{text}"
        );
    }
    let (_, text) = refused(&vec![0; 100 << 20]);
    assert!(text.contains("more than 64 MiB"), "{text}");
    assert_eq!(inspect(&vec![0; MAX_COMPONENT + 1]).err(), Some(InspectError::TooLarge));
}

#[test]
fn a_newer_contract_is_refused_with_its_version() {
    for version in ["0.2.0", "1.0.0", "2.4.1"] {
        let (failure, text) = refused(&changed("@0.1.0", &format!("@{version}")));
        assert!(matches!(failure, Failure::Refused(Refusal::Newer { .. })), "{text}");
        assert!(
            text.contains(&format!(
                "it wants version {version} of the plugin contract, and this ipft has 0.1"
            )),
            "{text}"
        );
    }
}

#[test]
fn a_compatible_patch_of_the_contract_loads() {
    let later = load(&changed("@0.1.0", "@0.1.9"));
    assert!(later.exports().sink);
    let sink = later.sink(
        &grants(),
        options("", ""),
        Box::new(std::io::sink()),
        Messages::default().log(),
    );
    let mut sink = sink.expect("it can be made");
    use ipft_core::event::*;
    use ipft_core::sink::Sink;
    let trace = Trace {
        tracer: Tracer::Function,
        backend: "kprobe".to_owned(),
        functions: Vec::new(),
        schema: Schema::default(),
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 0,
        mask: 0,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    };
    sink.start(&trace).expect("it starts");
    sink.finish(&Summary::default()).expect("it finishes");
}

#[test]
fn an_unknown_host_function_is_named() {
    // In the type of the import, and at its use.
    let (failure, text) = refused(&changed("\x05write", "\x05wrote"));
    assert!(matches!(failure, Failure::Refused(Refusal::Missing { .. })), "{text}");
    assert!(
        text.contains("the function `wrote` of ipft:plugin/host@0.1.0") && text.contains("later ipft"),
        "{text}"
    );
}

#[test]
fn an_unknown_interface_is_named() {
    for (from, to, expected) in [
        ("wasi:cli/", "wasi:xyz/", "it imports wasi:xyz/"),
        ("wasi:cli/", "abcd:cli/", "it imports abcd:cli/"),
        ("@0.2.", "@0.3.", "build it for WASI 0.2"),
    ] {
        let (failure, text) = refused(&changed(from, to));
        assert!(matches!(failure, Failure::Refused(Refusal::Missing { .. })), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_component_of_another_world_is_refused() {
    let (failure, text) = refused(&changed("ipft:plugin/", "ipft:plugim/"));
    assert!(matches!(failure, Failure::Refused(Refusal::NoRole)), "{text}");
}

#[test]
fn a_plugin_without_a_description_is_refused() {
    let (failure, text) = refused(&changed("ipft-plugin", "ipft-plugim"));
    assert!(matches!(failure, Failure::Refused(Refusal::NoDescription)), "{text}");
    assert!(text.contains("ipft plugin pack"), "{text}");
    let (failure, text) = refused(&changed("\"about\"", "\"abouT\""));
    assert!(matches!(failure, Failure::Refused(Refusal::Description(_))), "{text}");
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let length = HOSTILE.len();
    let whole = inspect(&HOSTILE).expect("it is a component");
    for end in (8..length).step_by(length / 500).chain(length - 200..length) {
        let Ok(inspection) = inspect(&HOSTILE[..end]) else {
            continue;
        };
        // Between two sections the rest is a component as well: without the last names of functions, or the last role.
        let says_less =
            length - end < length / 10 && (inspection.exports.iter()).all(|export| whole.exports.contains(export));
        assert!(
            says_less || inspection.check().is_err(),
            "{end} of {length} bytes are a plugin"
        );
    }
    assert!(matches!(
        refused(&HOSTILE[..length / 2]).0,
        Failure::Inspect(InspectError::Malformed { .. })
    ));
}

#[test]
fn flipped_bits_do_no_harm() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut compiled = 0;
    for round in 0..400 {
        let mut bytes = HOSTILE.clone();
        for _ in 0..=round % 3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let position = (state >> 8) as usize % bytes.len();
            bytes[position] ^= 1 << (state % 8);
        }
        match inspect(&bytes) {
            // Some valid ones are compiled: their code is only validated then.
            Ok(inspection) if inspection.check().is_ok() && compiled < 5 => {
                compiled += 1;
                let _ = Component::load(&ENGINE, "flipped", &bytes, None, || (), &mut |_| ());
            }
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
        }
    }
    assert_eq!(compiled, 5);
}

#[test]
fn a_plugin_brings_its_object() {
    let object = |at: &str, what: &str| COMPONENT.object(&impatient(), &options(at, what), Messages::default().log());
    assert_eq!(object("", "").expect("there is one"), b"\x7fELF and nothing else");
    assert_eq!(object("size", "1000000").expect("there is one").len(), 1_000_000);
    for what in ["loop", "trap", "error", "allocate"] {
        let text = object("object", what).expect_err("it fails").to_string();
        assert!(
            text.starts_with("the plugin hostile was ended in `object`: it "),
            "{text}"
        );
    }
}

/// Returns messages while a plugin is loaded through a cache, and whether it was compiled.
fn through(cache: &Cache) -> Vec<String> {
    let mut reported = Vec::new();
    let loaded = Component::load(&ENGINE, "hostile", &HOSTILE, Some(cache), || (), &mut |message| {
        reported.push(message.to_owned());
    });
    loaded.expect("whatever the cache is, the plugin loads");
    reported
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Returns a folder for a cache, below one that others cannot change.
fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let above = tempfile::tempdir().expect("a folder can be made");
    let folder = above.path().join("above").join("ipft");
    (above, folder)
}

#[test]
fn compiled_code_is_private_and_used_again() {
    let (_above, folder) = folder();
    let cache = Cache::new(folder.clone());
    assert_eq!(through(&cache), [""; 0]);
    let kept = files(&folder);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let before = kept[0].metadata().expect("it is there");
    assert_eq!(
        (
            before.mode() & 0o777,
            folder.metadata().expect("it is there").mode() & 0o777
        ),
        (0o600, 0o700)
    );
    assert_eq!(through(&cache), [""; 0]);
    let after = kept[0].metadata().expect("it is there");
    assert_eq!(before.ino(), after.ino(), "it was not made anew");
    assert_eq!(files(&folder), kept);
}

#[test]
fn damaged_code_is_compiled_again() {
    let (_above, folder) = folder();
    let cache = Cache::new(folder.clone());
    assert_eq!(through(&cache), [""; 0]);
    let path = files(&folder).remove(0);
    let good = std::fs::read(&path).expect("it can be read");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&flipped[..], &good[..good.len() / 2], &good[..10], b""] {
        std::fs::write(&path, bad).expect("it can be written");
        let reported = through(&cache);
        assert!(
            reported.len() == 1 && reported[0].contains("is damaged"),
            "{reported:?}"
        );
        assert_eq!(std::fs::read(&path).expect("it can be read").len(), good.len());
    }
}

#[test]
fn a_folder_that_others_can_change_is_not_used() {
    let (above, folder) = folder();
    let cache = Cache::new(folder.clone());
    assert_eq!(through(&cache), [""; 0]);
    let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    let file = files(&folder).remove(0);
    for (path, mode, right) in [
        (&*folder, 0o777, 0o700),
        (&above.path().join("above"), 0o770, 0o755),
        (&file, 0o666, 0o600),
    ] {
        open(path, mode);
        let reported = through(&cache);
        assert!(
            reported
                .iter()
                .any(|message| message.contains("is writable by other users")),
            "{reported:?}"
        );
        open(path, right);
    }
    std::fs::remove_file(&file).expect("it is ours");
    open(&folder, 0o777);
    assert!(!through(&cache).is_empty());
    assert_eq!(files(&folder), [""; 0].map(Path::new));
}

#[test]
fn a_link_in_the_cache_is_not_used() {
    let (above, folder) = folder();
    let cache = Cache::new(folder.clone());
    assert_eq!(through(&cache), [""; 0]);
    let file = files(&folder).remove(0);
    let elsewhere = above.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).expect("it can be moved");
    std::os::unix::fs::symlink(&elsewhere, &file).expect("a link can be made");
    assert!(!through(&cache).is_empty());
    assert!(
        file.symlink_metadata().expect("it is there").is_file(),
        "the link was replaced"
    );
    assert!(elsewhere.exists());
}

#[test]
fn an_unusable_cache_only_costs_time() {
    let cache = Cache::new("/proc/nowhere/ipft".into());
    assert!(!through(&cache).is_empty());
}
