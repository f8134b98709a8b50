//! Golden tests: the output of `story` for the built-in traces.

use std::path::Path;

use ipft_plugin::testing::{Recording, golden, run, traces};
use story::Story;

#[test]
fn every_trace_matches_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/plugins");
    for recording in traces() {
        let ran = run(Story::default(), &recording, &[("top", "20")]).expect("it draws every trace");
        assert_eq!(ran.text().find(|c: char| c.is_control() && c != '\n'), None);
        golden(folder.join(format!("story-{}.txt", recording.name)), &ran.output);
    }
}

#[test]
fn long_stories_have_a_line_per_step() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let recording = Recording::read(folder.join("followed.jsonl")).expect("it is a recording");
    let ran = run(Story::default(), &recording, &[("long", "true")]).expect("it draws every trace");
    golden(folder.join("plugins/story-long.txt"), &ran.output);
}

#[test]
fn the_chain_that_drops_a_packet_is_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let recording = Recording::read(folder.join("decided.jsonl")).expect("it is a recording");
    let ran = run(Story::default(), &recording, &[]).expect("it draws every trace");
    golden(folder.join("plugins/story-decided.txt"), &ran.output);
}

#[test]
fn packets_beyond_the_limit_have_several_stories() {
    let many = traces()
        .into_iter()
        .find(|recording| recording.name == "many")
        .expect("it is there");
    let whole = run(Story::default(), &many, &[]).expect("it draws every trace");
    let parts = run(Story::default(), &many, &[("packets", "10")]).expect("it draws every trace");
    let lines = |text: &str| text.lines().filter(|line| line.contains("taken to be over")).count();
    assert_eq!((lines(whole.text()), lines(parts.text())), (0, 1));
}

#[test]
fn a_routed_packet_has_its_next_hop() {
    let events = [
        // Packet, function, type, gateway, device.
        (1, 0, "none", "::", ""),
        (1, 1, "unicast", "10.0.0.9", "eth1"),
        (2, 0, "none", "::", ""),
        (2, 1, "unicast", "::", "eth2"),
        (3, 0, "none", "::", ""),
        (3, 2, "blackhole", "::", ""),
        (4, 0, "none", "::", ""),
        (4, 2, "no_route", "::", ""),
    ];
    let functions = ["ip_rcv", "ip_forward", "ip_error"];
    let function = |name: &&str| format!(r#"{{"name":"{name}","module":"vmlinux","address":null}}"#);
    let mut lines =
        r#"{"type":"trace","version":1,"kernel":"6.12.1","tracer":"function","backend":"kprobe-multi","mark":0,"#
            .to_owned();
    lines += r#""mask":0,"filter":"udp","follow":true,"clock_offset":{"seconds":0,"nanoseconds":0},"command_line":[],"#;
    lines += &format!(
        r#""functions":[{}],"#,
        functions.iter().map(function).collect::<Vec<_>>().join(",")
    );
    lines += r#""schema":{"size":40,"fields":[
        {"name":"route_type","offset":32,"size":4,"type":"unsigned","format":"enum","members":[
            {"name":"none","value":0},{"name":"unicast","value":1},{"name":"blackhole","value":6},
            {"name":"no_route","value":16}]},
        {"name":"route_gateway","offset":0,"size":16,"type":"bytes","format":"ip"},
        {"name":"route_dev","offset":16,"size":16,"type":"char","format":"plain"}]}}"#
        .replace('\n', "")
        .as_str();
    for (time, (packet, function, kind, gateway, device)) in events.iter().enumerate() {
        lines += &format!(
            r#"
{{"type":"event","packet":"{packet:#018x}","skb":"0x0000000000000001","timestamp":{},"cpu":0,"thread":1,"#,
            (time + 1) * 1000,
        );
        lines += &format!(
            r#""function":"{}","module":"vmlinux","function_index":{function},"kind":"entry","fields":"#,
            functions[*function],
        );
        lines += &format!(r#"{{"route_type":"{kind}","route_gateway":"{gateway}","route_dev":"{device}"}}}}"#);
    }
    lines += "\n{\"type\":\"summary\",\"events\":8,\"packets\":4,\"lost\":0,\"attached\":3,\"skipped\":[]}\n";
    let recording = Recording::from_jsonl(lines.as_bytes()).expect("it is a recording");
    let ran = run(Story::default(), &recording, &[("each", "true")]).expect("it draws every trace");
    for story in [
        "received, routed via 10.0.0.9 on eth1",
        "received, routed to eth2",
        "received, its route is a blackhole",
        "received, no route found",
    ] {
        assert!(ran.text().contains(story), "{story}: {}", ran.text());
    }
}
