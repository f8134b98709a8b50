//! What libbpf prints, for the message of a failure: its errors are codes, and the verifier's log comes only this way.
//! Imports nothing of the crate.

use std::sync::Mutex;

use libbpf_rs::PrintLevel;

/// What libbpf has printed since it was last taken.
static PRINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn listen(_level: PrintLevel, text: String) {
    let mut printed = PRINTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // A verifier log can be long, and its end says why.
    if printed.len() >= 64 {
        printed.remove(0);
    }
    printed.push(text);
}

/// Keeps what libbpf prints from here on.
pub(super) fn begin() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, listen)));
    take();
}

/// Takes what libbpf has printed.
pub(super) fn take() -> String {
    let mut printed = PRINTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = printed.concat();
    printed.clear();
    text
}
