//! `ipft top` shows packets of a real kernel, records from a key on, and leaves the terminal as it was.

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::on_kernels;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_output|ip_rcv_core|icmp_rcv|nf_hook_slow)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 2] = [const { Shared::new() }; 2];
    RUNS[usize::from(kernel == Kernel::V6_12)].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/top.sh"));
        guest::run(&format!("top-{}", kernel.series()), kernel, &[], &script)
    })
}

/// The keys of the script are pressed only when the screen before has come.
fn keys_and_screens_work_on_a_kernel(kernel: Kernel) {
    let left = left(kernel);
    let screen = left.text("top.screen");
    assert_eq!(left.exit("top"), 0, "{screen}");
    assert!(screen.contains("10.0.0.1 > 10.0.0.2 icmp echo request id "), "{screen}");
    let (_, last) = screen.rsplit_once("\x1b[?1049l").expect("the screen is left");
    assert!(last.contains("packets: ") && last.contains("1 dropped"), "{last}");
}

fn the_terminal_is_as_it_was_before(kernel: Kernel) {
    let left = left(kernel);
    assert_eq!(left.text("before"), left.text("after"));
    assert_eq!(left.text("all.left"), "");
}

fn what_a_key_records_begins_with_the_key(kernel: Kernel) {
    let left = left(kernel);
    let text = left.text("recorded.text");
    let requests = text.lines().filter(|line| line.contains("icmp echo request id "));
    assert_eq!(requests.count(), 1, "{text}");
    assert!(text.contains("DROPPED"), "{text}");
    let screen = left.text("top.screen");
    assert!(
        screen.contains("Recorded ") && screen.contains(" in recorded.ipft"),
        "{screen}"
    );
}

on_kernels!(
    [on_5_10: V5_10, on_6_12: V6_12],
    keys_and_screens_work_on_a_kernel,
    the_terminal_is_as_it_was_before,
    what_a_key_records_begins_with_the_key,
);
