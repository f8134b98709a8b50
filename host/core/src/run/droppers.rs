//! Names the function that dropped a packet. May import `kernel` and the events of `stream`.
//!
//! The kernel tells the place of the call that freed the packet, but many packets are freed by helpers, some of which jump
//! there, so that the place is that of the helper's caller or of its caller. So the programs send the functions that were
//! running, and the first of them counts that does more than free packets. From that one on, they are the stack.

use std::collections::HashMap;

use crate::event::{Function, stack};
use crate::kernel::{Code, CodeFunction};
use crate::stream::DropPlace;

/// What is known of a place where packets are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropper {
    /// The function.
    pub(super) function: Option<Function>,
    /// Whether the packet was a part of one whose data was released: a fragment of a datagram, say.
    pub(super) part: bool,
    /// The functions that were running, from that one on, as the name of a stack. Not where no stack can be had.
    pub(super) stack: Option<String>,
}

/// Finds the functions.
#[derive(Debug, Default)]
pub(super) struct Droppers {
    code: Code,
    known: HashMap<DropPlace, Dropper>,
}

/// Places that are remembered.
const MOST: usize = 4096;

/// What runs between a drop and the program that sees it.
const TRACING: [&str; 5] = [
    "bpf_trace_run",
    "__bpf_trace_",
    "__traceiter_",
    "bpf_prog_",
    "bpf_trampoline_",
];

/// Functions that only free packets, of all kernels from 5.10 to 7.2 (`net/core/skbuff.c`, `net/core/dev.c`,
/// `net/ipv4/tcp_input.c`, `net/sched/sch_generic.c`).
const HELPERS: [&str; 28] = [
    "__kfree_skb",
    "__kfree_skb_reason",
    "__sk_skb_reason_drop",
    "consume_skb",
    "dev_kfree_skb_any_reason",
    "dev_kfree_skb_irq_reason",
    "__dev_kfree_skb_any",
    "__dev_kfree_skb_irq",
    "kfree_skb",
    "kfree_skb_list",
    "kfree_skb_list_reason",
    "kfree_skb_partial",
    "kfree_skb_reason",
    "napi_consume_skb",
    "sk_skb_reason_drop",
    "skb_errqueue_purge",
    "skb_queue_purge",
    "skb_queue_purge_reason",
    "skb_rbtree_purge",
    "skb_release_all",
    RELEASE_DATA,
    "tcf_kfree_skb_list",
    "__tcf_kfree_skb_list",
    "tcp_drop",
    "tcp_drop_reason",
    "unix_skb_free",
    "__skb_queue_purge",
    "__skb_queue_purge_reason",
];

/// What stands between a function that is probed and its caller, besides.
const TRAMPOLINES: [&str; 4] = [
    "arch_rethook_trampoline",
    "bpf_trampoline_",
    "kretprobe_trampoline",
    "return_to_handler",
];

/// Functions that run softirqs: who called them was interrupted, and has nothing to do with the packet.
const SOFTIRQ: [&str; 4] = [
    "__do_softirq",
    "__softirqentry_text_start",
    "do_softirq",
    "handle_softirqs",
];

/// Releases the fragments that a packet consists of, too.
const RELEASE_DATA: &str = "skb_release_data";

impl Droppers {
    pub(super) fn new(code: Code) -> Self {
        Droppers {
            code,
            known: HashMap::new(),
        }
    }

    /// Returns what dropped a packet.
    pub(super) fn find(&mut self, place: &DropPlace) -> &Dropper {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let code = &mut self.code;
        self.known.entry(*place).or_insert_with(|| find(code, place))
    }
}

fn find(code: &mut Code, place: &DropPlace) -> Dropper {
    let mut dropper = Dropper {
        function: None,
        part: false,
        stack: None,
    };
    let mut running = Vec::new();
    // The function of the frame before.
    let mut inner = 0;
    let mut behind_trampoline = false;
    // Where a stack cannot be had, the place is all.
    let frames = place.frames.iter().map(|address| (*address, true));
    for (address, is_frame) in frames.chain([(place.location, false)]) {
        if address == 0 || !is_frame && dropper.function.is_some() {
            continue;
        }
        // A call may be the last instruction of a function: its return address is that of the next function.
        let Some(found) = code.function_at(address - 1) else {
            continue;
        };
        // A suffix is the compiler's.
        let name = found.name.split('.').next().unwrap_or_default();
        if dropper.function.is_none() {
            if found.module == "bpf" || TRACING.iter().any(|tracing| name.starts_with(tracing)) {
                continue;
            }
            if HELPERS.contains(&name) {
                dropper.part |= name == RELEASE_DATA;
                continue;
            }
            dropper.function = Some(Function {
                name: found.name.to_owned(),
                module: found.module.to_owned(),
                address: found.address,
            });
        }
        if !is_frame {
            continue;
        }
        if TRAMPOLINES.iter().any(|trampoline| name.starts_with(trampoline)) {
            behind_trampoline = true;
            continue;
        }
        // A probed function calls the trampoline, which calls the rest of it.
        if std::mem::take(&mut behind_trampoline) && found.address == inner {
            continue;
        }
        inner = found.address;
        running.push(frame(&found, address));
        if SOFTIRQ.contains(&name) {
            break;
        }
    }
    dropper.stack = (!running.is_empty()).then(|| stack::join(&running));
    dropper
}

/// Formats a frame as the kernel does in its own messages: `nft_do_chain+0x3b [nf_tables]`.
fn frame(found: &CodeFunction<'_>, address: u64) -> String {
    let offset = address - found.address;
    match found.module {
        "vmlinux" => format!("{}+{offset:#x}", found.name),
        module => format!("{}+{offset:#x} [{module}]", found.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Root;

    /// Symbols 0x100 apart.
    const SYMBOLS: [&str; 12] = [
        "bpf_prog_6deef7357e7b4530_ipft_dropped\t[bpf]",
        "bpf_trace_run4",
        "__traceiter_kfree_skb",
        "sk_skb_reason_drop",
        "kfree_skb_list_reason",
        "skb_release_data",
        "nft_do_chain\t[nf_tables]",
        "nf_hook_slow",
        "consume_skb",
        "handle_softirqs",
        "vfs_read",
        "bpf_trampoline_27917396744\t[bpf]",
    ];
    const START: u64 = 0xffff_ffff_8100_0000;

    fn inside(symbol: usize) -> u64 {
        START + symbol as u64 * 0x100 + 0x20
    }

    fn named(frames: &[u64], location: u64) -> (Option<String>, bool) {
        let found = found(frames, location);
        (found.function.map(|function| function.name), found.part)
    }

    fn found(frames: &[u64], location: u64) -> Dropper {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let line = |(index, name): (usize, &&str)| format!("{:016x} t {name}\n", START + index as u64 * 0x100);
        let symbols: String = SYMBOLS.iter().enumerate().map(line).collect();
        std::fs::write(folder.path().join("proc/kallsyms"), symbols).unwrap();
        let mut place = DropPlace {
            location,
            ..DropPlace::default()
        };
        place.frames[..frames.len()].copy_from_slice(frames);
        let mut droppers = Droppers::new(Code::open(&Root::at(folder.path())));
        droppers.find(&place).clone()
    }

    #[test]
    fn the_first_that_does_more_than_free_is_named() {
        let frames = [0, 1, 2, 3, 6, 7].map(inside);
        assert_eq!(named(&frames, inside(7)), (Some("nft_do_chain".to_owned()), false));
    }

    #[test]
    fn a_return_address_behind_a_function_is_its_own() {
        let frames = [inside(0), inside(3), START + 7 * 0x100];
        assert_eq!(named(&frames, 0).0.as_deref(), Some("nft_do_chain"));
    }

    #[test]
    fn without_a_stack_the_place_is_named() {
        assert_eq!(named(&[], inside(7)).0.as_deref(), Some("nf_hook_slow"));
        assert_eq!(named(&[], 0), (None, false));
    }

    #[test]
    fn a_fragment_of_a_released_packet_is_a_part() {
        let frames = [0, 1, 3, 4, 5, 8, 7].map(inside);
        assert_eq!(named(&frames, inside(4)), (Some("nf_hook_slow".to_owned()), true));
    }

    #[test]
    fn a_stack_begins_at_the_dropper() {
        let stack = |frames: &[u64]| found(frames, inside(7)).stack;
        let expected = "nft_do_chain+0x20 [nf_tables] < nf_hook_slow+0x20";
        assert_eq!(stack(&[0, 1, 2, 3, 6, 7].map(inside)).as_deref(), Some(expected));
        // Whom a softirq interrupts has nothing to do with it.
        let expected = "nf_hook_slow+0x20 < handle_softirqs+0x20";
        assert_eq!(stack(&[0, 3, 7, 9, 10].map(inside)).as_deref(), Some(expected));
        // ipft's own probes are not part of it.
        let expected = "nft_do_chain+0x20 [nf_tables] < nf_hook_slow+0x20";
        assert_eq!(stack(&[0, 3, 6, 11, 6, 7].map(inside)).as_deref(), Some(expected));
        // The place alone is no stack.
        for frames in [&[] as &[u64], &[inside(0), inside(3)]] {
            assert_eq!(stack(frames), None);
        }
    }
}
