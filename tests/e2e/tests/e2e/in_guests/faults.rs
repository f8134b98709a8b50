//! A probe may get an invalid pointer: functions that free packets are called with NULL. No kernel may crash because of
//! it, whatever the programs consist of.

use ipft_e2e::compiler;
use ipft_e2e::guest;
use ipft_e2e::jsonl::Recording;
use xtask::kernel::Kernel;
use xtask::workspace;

/// `kfree_skb` is called with NULL; the others prove that packets are traced.
const FREES: &str = "^(kfree_skb|__kfree_skb|consume_skb|kfree_skbmem|ip_output|ip_rcv|icmp_rcv)$";

/// Number of traces of each kind.
const ROUNDS: usize = 6;

/// An extension: with one, the programs call a function.
const TAKEN: &str = "
struct event { unsigned char taken; } __ipft_event_struct __attribute__((section(\"__ipft_skip\")));
int module(void *ctx, void *skb, struct event *data) { data->taken = 1; return 0; }
";

/// Linux 5.10 handles the fault only in a program without function calls.
#[test]
fn freeing_null_crashes_no_kernel() {
    let flags = ["-target", "bpf", "-O2", "-g"];
    let object = compiler::compile(&workspace::target().join("e2e/faults"), "taken.o", TAKEN, &flags).unwrap();
    let script = format!(
        "FREES='{FREES}'\nROUNDS={ROUNDS}\n{}",
        include_str!("../../../guest/faults.sh")
    );
    let left = guest::run("faults-5.10", Kernel::V5_10, &[&object], &script).unwrap();
    assert_eq!(left.text("said"), "");
    for round in 1..=ROUNDS {
        for kind in ["bytes", "extension"] {
            let name = format!("{round}-{kind}");
            assert_eq!(left.exit(&name), 0, "{}", left.text(&format!("{name}.err")));
            let recording = Recording::read(&left.path(&format!("{name}.out"))).unwrap();
            let functions: Vec<&str> = recording.events.iter().map(|event| event.function.as_str()).collect();
            assert!(functions.contains(&"icmp_rcv"), "{name}: {functions:?}");
        }
    }
}
