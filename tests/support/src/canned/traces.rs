//! Canned traces of calls: nested, on two CPUs, with losses, with hostile names. Imports the script.

use ipft_core::event::*;

use super::{Canned, Script, field};

/// No event, no loss.
pub(super) fn empty() -> Canned {
    Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]).can("empty")
}

/// Two packets whose events alternate, one of which goes back in time in the stream.
pub(super) fn function() -> Canned {
    let mut script = Script::new(
        Tracer::Function,
        &[
            ("ip_rcv", "vmlinux"),
            ("ipv4_conntrack_in", "nf_conntrack"),
            ("skb_release_data", "vmlinux"),
            (
                "a_function_with_a_name_that_is_wider_than_its_column",
                "a_module_that_is_wider_too",
            ),
        ],
    );
    script.at(464_048_546_191_357).cpu(5).enter(1, 0);
    script.at(464_048_546_191_557).enter(1, 1);
    script.at(464_048_546_192_000).cpu(12).enter(2, 0);
    script.end_batch();
    script.at(464_048_546_193_000).cpu(5).enter(1, 3);
    script.at(464_048_546_192_500).cpu(1023).enter(1, 2);
    script.at(464_048_546_194_000).cpu(12).enter(2, 2);
    script.can("function")
}

/// A packet that nests three deep, with a name that does not fit its column, and a second packet after it.
pub(super) fn graph() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("ip_output", "vmlinux"),
            ("nf_hook_slow", "vmlinux"),
            ("ipt_do_table", "ip_tables"),
            (
                "a_function_with_a_name_that_is_wider_than_the_column_of_its_call",
                "vmlinux",
            ),
        ],
    );
    script.at(75_681_519_356).thread(812).enter(1, 0);
    script.at(75_681_521_100).enter(1, 1);
    script.at(75_681_522_800).enter(1, 2);
    script.at(75_681_523_939).leave(1, 2);
    script.at(75_681_524_000).enter(1, 3);
    script.at(75_681_524_001).leave(1, 3);
    script.end_batch();
    script.at(75_681_526_138).leave(1, 1);
    script.at(75_682_753_704).leave(1, 0);
    script.at(75_682_800_000).enter(2, 2);
    script.at(75_682_800_000).leave(2, 2);
    script.can("graph")
}

/// A softirq on another CPU takes the packet while the function that queued it is still returning.
pub(super) fn two_contexts() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("dev_queue_xmit", "vmlinux"),
            ("veth_xmit", "veth"),
            ("ip_rcv", "vmlinux"),
            ("icmp_rcv", "vmlinux"),
        ],
    );
    script.at(1_000_000_100).thread(812).cpu(0).enter(1, 0);
    script.at(1_000_000_200).enter(1, 1);
    script.at(1_000_000_300).thread(0).cpu(1).enter(1, 2);
    script.at(1_000_000_400).thread(812).cpu(0).leave(1, 1);
    script.at(1_000_000_500).thread(0).cpu(1).enter(1, 3);
    script.at(1_000_000_600).thread(812).cpu(0).leave(1, 0);
    script.at(1_000_000_700).thread(0).cpu(1).leave(1, 3);
    script.at(1_000_000_800).leave(1, 2);
    script.can("two-contexts")
}

/// Entries without a return, returns without an entry, and every kind of loss in the summary.
pub(super) fn lossy() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("mark_tg", "xt_mark"),
            ("ip_rcv", "vmlinux"),
            ("ip_rcv_core", "vmlinux"),
            ("ip_rcv_finish", "vmlinux"),
        ],
    );
    script.at(2_000_000_100).thread(7).leave(1, 0);
    script.at(2_000_000_200).enter(1, 1);
    script.at(2_000_000_300).enter(1, 2);
    // The return of function 2 is missing.
    script.at(2_000_000_400).enter(1, 3);
    script.at(2_000_000_500).leave(1, 0);
    script.at(2_000_000_600).leave(1, 3);
    script.at(2_000_000_700).leave(1, 1);
    // So is this one's, and no call encloses it.
    script.at(2_000_000_800).enter(1, 3);
    script.at(2_000_000_900).enter(1, 1);
    script.at(2_000_001_000).leave(1, 1);
    script.summary.losses = vec![
        Loss {
            kind: LossKind::BufferFull,
            cpu: Some(0),
            count: 17,
        },
        Loss {
            kind: LossKind::Recursion,
            cpu: Some(3),
            count: 1,
        },
        Loss {
            kind: LossKind::ReturnMissed,
            cpu: None,
            count: 2,
        },
        Loss {
            kind: LossKind::MapFull,
            cpu: None,
            count: u64::MAX / 2,
        },
        Loss {
            kind: LossKind::Undecodable,
            cpu: None,
            count: 3,
        },
    ];
    script.summary.skipped = vec![SkippedFunction {
        name: "skb_panic".to_owned(),
        module: "vmlinux".to_owned(),
        reason: "the kernel says \"Device or resource busy\"".to_owned(),
    }];
    script.can("lossy")
}

/// Names that attack lines, terminals or JSON strings; function indices and payloads out of range.
pub(super) fn hostile() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("quote\"back\\slash", "new\nline"),
            ("\x1b[31mred\x1b[0m\u{9b}2J\x07", "nul\0tab\tdel\x7f"),
            ("\u{202e}txet\u{2028}é😀", ""),
        ],
    );
    script.trace.kernel_release = "6.12\n\"\x1b[2J".to_owned();
    script.trace.backend = "back\\end".to_owned();
    script.trace.command_line = vec!["ipft".to_owned(), "-r".to_owned(), "\"\\\x1b".to_owned()];
    script.trace.schema = Schema {
        size: 8,
        fields: vec![
            field("\x1b]0;title\x07", 0, 4, FieldType::Unsigned, FieldFormat::Plain),
            field("te\"xt", 4, 4, FieldType::Char, FieldFormat::Plain),
        ],
        ..Schema::default()
    };
    let payload = |text: &[u8; 4]| [7_u32.to_ne_bytes(), *text].concat();
    script.at(3_000_000_100).payload(payload(b"\x1b[0m")).enter(u64::MAX, 0);
    script
        .at(3_000_000_200)
        .payload(payload(b"a\"\xff\\"))
        .enter(u64::MAX, 1);
    script.at(3_000_000_300).payload(payload(b"a\0bc")).leave(u64::MAX, 1);
    // An unknown function, and a payload that is too short.
    script
        .at(3_000_000_400)
        .payload(vec![1, 2, 3])
        .enter(u64::MAX, u32::MAX);
    script.at(u64::MAX).payload(Vec::new()).leave(u64::MAX, 0);
    script.can("hostile")
}
