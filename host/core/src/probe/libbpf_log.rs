//! Captures libbpf's output for error messages: its errors are codes, and the verifier's log is only available this
//! way. Imports nothing of the crate.

use std::sync::Mutex;

use libbpf_rs::PrintLevel;

/// Output of libbpf since it was last taken.
static PRINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn listen(_level: PrintLevel, text: String) {
    let mut printed = PRINTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // A verifier log can be long, and its end has the reason.
    if printed.len() >= 64 {
        printed.remove(0);
    }
    printed.push(text);
}

/// Starts capturing libbpf's output.
pub(super) fn begin() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, listen)));
    take();
}

/// Takes the captured output.
pub(super) fn take() -> String {
    let mut printed = PRINTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = printed.concat();
    printed.clear();
    text
}
