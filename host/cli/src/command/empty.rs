//! Messages for a trace or a replay without events: the selection, and what to check. Imports `args`, `event` and the
//! checks of `kernel`.

use crate::args::{Filter, Moment, Options, Selection};
use ipft_core::event::{Summary, Trace};
use ipft_core::kernel::Root;
use ipft_core::kernel::checks;

/// Returns the patterns of a filter, as the user wrote them; `None` if there are none.
pub fn filter(filter: &Filter) -> Option<String> {
    let function = filter.function.as_ref().map(|pattern| format!("-r '{pattern}'"));
    let module = filter
        .module
        .as_ref()
        .map(|pattern| format!("--module-regex '{pattern}'"));
    match (function, module) {
        (Some(function), Some(module)) => Some(format!("{function} and {module}")),
        (function, module) => function.or(module),
    }
}

/// Returns the message for a trace without events.
pub fn trace(options: &Options, summary: &Summary, root: &Root) -> String {
    let selected = match selected(options) {
        selected if selected.is_empty() => selected,
        selected => format!(" {selected}"),
    };
    if let Some((cause, remedy)) = checks::switched_off(root, false) {
        return format!("No packet was seen: {cause}; switch it on: {remedy}");
    }
    if summary.lost() > 0 {
        return format!("No event of packets{selected} is left: all were lost");
    }
    if summary.packets > 0 {
        return match options.extension {
            Some(_) => format!(
                "No event is left: {} packets{selected} were seen, and the extension wants none of their events",
                summary.packets
            ),
            None => format!("No event was read of the {} packets{selected}", summary.packets),
        };
    }
    let narrow = filter(&options.filter).map_or_else(String::new, |filter| {
        format!("\nOnly functions that match {filter} were traced; without that, the packets may be seen elsewhere.")
    });
    if options.mask == 0 {
        return format!(
            "No packet{selected} passed a traced function ({} of them).\n\
             Check that there are such packets, in the network namespace of the traffic: tcpdump -ni any{}{narrow}",
            summary.attached,
            match options.packets.as_str() {
                "" => String::new(),
                packets => format!(" '{packets}'"),
            }
        );
    }
    format!(
        "No packet{selected} passed a traced function ({} of them).\n\
         Check that packets are marked: do the rule's counters grow (iptables -t raw -vnL, or nft list ruleset), in the \
         network namespace of the traffic? Without a rule: iptables -t raw -A OUTPUT -j MARK --set-mark {:#x}{narrow}",
        summary.attached, options.mark
    )
}

/// Returns the message for a trace of drops that saw none.
pub fn drops(options: &Options) -> String {
    let selected = selected(options);
    match selected.as_str() {
        "" => "The kernel dropped no packet.".to_owned(),
        selected => format!("The kernel dropped no packet {selected}."),
    }
}

/// Returns what selects packets, to be read after "packets".
fn selected(options: &Options) -> String {
    let mark = match options.mask {
        0 => None,
        u32::MAX => Some(format!("with mark {:#x}", options.mark)),
        mask => Some(format!("with mark {:#x} (mask {mask:#x})", options.mark)),
    };
    let matching = (!options.packets.is_empty()).then(|| format!("that matches '{}'", options.packets));
    let inside = (options.inner.as_ref()).map(|inner| format!("with one inside that matches '{inner}'"));
    let condition = (options.condition.as_ref()).map(|condition| format!("for which '{condition}' holds"));
    let namespace = (options.place.namespace.as_ref()).map(|name| format!("in network namespace {name}"));
    let device = (options.place.device.as_ref()).map(|(name, _)| format!("at device {name}"));
    let sample = (options.place.sample > 1).then(|| format!("of one flow in {}", options.place.sample));
    let rate = (options.place.rate > 0).then(|| format!("of the first {} in each second", options.place.rate));
    let process = (options.place.process).map(|number| format!("that process {number} sends"));
    let thread = (options.place.thread.as_ref()).map(|(name, _)| format!("that {name} sends"));
    let group = (options.place.group.as_ref()).map(|path| format!("of control group {}", path.display()));
    let conditions = [
        mark, matching, inside, condition, namespace, device, process, thread, group, sample, rate,
    ];
    conditions.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// Returns the message for a replay without events.
pub fn replay(selection: &Selection, trace: &Trace) -> String {
    const INFO: &str = "'ipft replay --info FILE' says what is in the recording";
    if selection.is_all() {
        return format!("The recording has no events; {INFO}");
    }
    if let (Some(from), Some(to)) = (selection.from, selection.to)
        && is_after(from, to)
    {
        return "Nothing is selected: --to is before --from".to_owned();
    }
    let mut functions = trace.functions.iter();
    if let Some(requested) = filter(&selection.filter)
        && !functions.any(|function| selection.filter.matches(&function.name, &function.module))
    {
        return format!("Nothing is selected: no function of the recording matches {requested}");
    }
    let packets = match selection.packets.as_slice() {
        [] => None,
        [one] => Some(format!("--packet {one:#x}")),
        many => Some(format!("any of {} --packet", many.len())),
    };
    let moment = |name: &str, moment: Option<Moment>| moment.map(|_| name.to_owned());
    let requested: Vec<String> = [
        packets,
        filter(&selection.filter),
        moment("--from", selection.from),
        moment("--to", selection.to),
        selection.limit.map(|limit| format!("--limit {limit}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("No event of the recording meets {}; {INFO}", requested.join(" and "))
}

/// Returns whether the first moment is certainly after the second.
fn is_after(one: Moment, other: Moment) -> bool {
    match (one, other) {
        (Moment::Timestamp(one), Moment::Timestamp(other)) | (Moment::Since(one), Moment::Since(other)) => one > other,
        (Moment::Wall(one), Moment::Wall(other)) => one > other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Command};
    use ipft_core::event::{Function, Loss, LossKind};

    /// Returns the message on a kernel with this state of the ftrace switch.
    fn with_ftrace(switch: &str, say: impl FnOnce(&Root) -> String) -> String {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("proc/sys/kernel");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ftrace_enabled"), format!("{switch}\n")).unwrap();
        say(&Root::at(tree.path()))
    }

    fn traced(words: &[&str], summary: &Summary) -> String {
        let Ok(Command::Trace(options)) = args::parse(["ipft"].iter().chain(words)) else {
            panic!("no trace: {words:?}");
        };
        with_ftrace("1", |root| trace(&options, summary, root))
    }

    fn replayed(words: &[&str]) -> String {
        let Ok(Command::Replay(options)) = args::parse(["ipft", "replay", "x.ipft"].iter().chain(words)) else {
            panic!("no replay: {words:?}");
        };
        let trace = Trace {
            functions: vec![Function {
                name: "ip_rcv".into(),
                module: "vmlinux".into(),
                address: 0,
            }],
            tracer: ipft_core::event::Tracer::Function,
            backend: "kprobe".to_owned(),
            schema: ipft_core::event::Schema::default(),
            clock_offset: 0,
            command_line: Vec::new(),
            kernel_release: "6.12.0".to_owned(),
            mark: 1,
            mask: u32::MAX,
            filter: String::new(),
            follow: false,
            drop_reasons: Vec::new(),
        };
        replay(&options.selection, &trace)
    }

    #[test]
    fn trace_of_unmarked_packets_says_what_to_check() {
        let said = traced(&["-m", "0xbeef", "--mask", "0xffff"], &Summary::default());
        for words in [
            "No packet with mark 0xbeef (mask 0xffff)",
            "iptables",
            "--set-mark 0xbeef",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert!(!said.contains("-r"), "{said}");
        let narrow = traced(&["-m", "1", "-r", "^tcp_"], &Summary::default());
        assert!(narrow.contains("-r '^tcp_'"), "{narrow}");
    }

    #[test]
    fn trace_without_a_matching_packet_names_the_filter() {
        let said = traced(&["udp", "port", "53"], &Summary::default());
        assert!(said.contains("No packet that matches 'udp port 53'"), "{said}");
        assert!(said.contains("tcpdump -ni any 'udp port 53'"), "{said}");
        let said = traced(&["udp", "-m", "7"], &Summary::default());
        assert!(
            said.contains("No packet with mark 0x7 and that matches 'udp'"),
            "{said}"
        );
    }

    #[test]
    fn trace_of_all_packets_names_none() {
        let said = traced(&["top"], &Summary::default());
        assert!(said.starts_with("No packet passed a traced function"), "{said}");
        assert!(said.contains("tcpdump -ni any"), "{said}");
    }

    #[test]
    fn trace_of_a_tunnel_names_both_filters() {
        let said = traced(&["udp", "--inner", "icmp"], &Summary::default());
        assert!(
            said.contains("No packet that matches 'udp' and with one inside that matches 'icmp'"),
            "{said}"
        );
    }

    #[test]
    fn trace_whose_events_were_lost_says_so() {
        let summary = Summary {
            packets: 3,
            losses: vec![Loss {
                kind: LossKind::BufferFull,
                cpu: Some(0),
                count: 9,
            }],
            ..Summary::default()
        };
        assert!(traced(&["-m", "1"], &summary).contains("lost"));
    }

    #[test]
    fn trace_with_ftrace_switched_off_says_so() {
        let Ok(Command::Trace(options)) = args::parse(["ipft", "-m", "1"]) else {
            panic!("no trace");
        };
        let said = with_ftrace("0", |root| trace(&options, &Summary::default(), root));
        assert!(said.contains("sysctl kernel.ftrace_enabled=1"), "{said}");
    }

    #[test]
    fn an_empty_replay_names_the_selection() {
        assert!(replayed(&["--packet", "0x1"]).contains("--packet 0x1"));
        assert!(replayed(&["--from", "+1h"]).contains("--from"));
        assert!(replayed(&["--from", "+2s", "--to", "+1s"]).contains("--to is before --from"));
        assert!(replayed(&["-r", "nosuch"]).contains("no function of the recording matches -r 'nosuch'"));
        assert!(replayed(&["-r", "ip_rcv"]).contains("meets -r 'ip_rcv'"));
        assert!(replayed(&[]).contains("no events"));
    }
}
