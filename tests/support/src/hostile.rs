//! Builds and runs the hostile plugin.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use ipft_plugin_host::host::Log;
use ipft_plugin_host::host::wasm::{Component, Engine, Level};
use ipft_plugin_host::package::{Grants, Limits};

/// The wasmtime engine of all tests of a process.
pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("this machine runs plugins"));

/// The plugin's file, built once per process.
pub static HOSTILE: LazyLock<Vec<u8>> = LazyLock::new(|| build(&[]));
/// The same, for the variant that takes bytes.
pub static RAW: LazyLock<Vec<u8>> = LazyLock::new(|| build(&["--features", "raw"]));

/// The compiled plugin, once per process.
pub static COMPONENT: LazyLock<Component> = LazyLock::new(|| load(&HOSTILE));

fn build(features: &[&str]) -> Vec<u8> {
    /// Both have the same name, so read one before building the other.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let folder = target().join("hostile-plugin");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "plugin",
            "--target",
            "wasm32-wasip2",
        ])
        .args(["--package", "hostile"])
        .args(features)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .env("CARGO_TARGET_DIR", &folder)
        // The tests' own flags are not for WebAssembly.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the hostile plugin cannot be built");
    std::fs::read(folder.join("wasm32-wasip2/plugin/hostile.wasm")).expect("cargo has built it")
}

/// Returns the folder that this test was built into: its binary is in `debug/deps`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(3).expect("it is three deep").to_owned()
}

/// Compiles without a cache.
pub fn load(bytes: &[u8]) -> Component {
    Component::load(&ENGINE, "hostile", bytes, None, || (), &mut |_| ()).expect("the plugin loads")
}

/// Messages that a plugin logs.
#[derive(Clone, Default)]
pub struct Messages(Arc<Mutex<Vec<(Level, String)>>>);

impl Messages {
    pub fn log(&self) -> Log {
        let messages = self.0.clone();
        Arc::new(move |level, message| messages.lock().unwrap().push((level, message.to_owned())))
    }

    pub fn list(&self) -> Vec<(Level, String)> {
        self.0.lock().unwrap().clone()
    }
}

/// Returns the hostile plugin's options.
pub fn options(at: &str, what: &str) -> Vec<(String, String)> {
    vec![("at".to_owned(), at.to_owned()), ("do".to_owned(), what.to_owned())]
}

/// Low limits, with enough time for calls that end.
pub fn grants() -> Grants {
    Grants {
        limits: Limits {
            memory: 64 << 20,
            timeout: Duration::from_secs(20),
            output: 1 << 20,
        },
        ..Grants::default()
    }
}

/// The shortest time limit, for tests that wait for it.
pub fn impatient() -> Grants {
    let mut grants = grants();
    grants.limits.timeout = Duration::from_millis(200);
    grants
}
