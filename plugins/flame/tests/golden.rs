//! Golden tests: the pictures that `flame` draws of the built-in traces.

use std::path::Path;

use flame::Flame;
use ipft_plugin::testing::{Recording, golden, run, traces};

fn draw(recording: &Recording, options: &[(&str, &str)]) -> String {
    let ran = run(Flame::default(), recording, options).unwrap_or_else(|error| panic!("{}: {error}", recording.name));
    ran.text().to_owned()
}

/// Returns the picture without inferno's style and script.
fn frames(svg: &str) -> String {
    let mut rest = svg;
    let mut frames = String::new();
    for tag in ["style", "script"] {
        let Some((before, after)) = rest.split_once(&format!("<{tag}")) else {
            continue;
        };
        let (_, after) = after.split_once(&format!("</{tag}>")).expect("an end");
        frames.push_str(before);
        rest = after;
    }
    frames.push_str(rest);
    frames.replace("><", ">\n<")
}

#[test]
fn every_trace_is_drawn_as_its_golden_file_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/plugins");
    for recording in traces() {
        // 512 frames are enough; the test below checks them.
        if recording.name == "deepest" {
            continue;
        }
        let picture = frames(&draw(&recording, &[]));
        golden(folder.join(format!("flame-{}.txt", recording.name)), picture.as_bytes());
    }
    for by in ["count", "packet"] {
        for recording in traces()
            .iter()
            .filter(|recording| ["many", "unpaired", "hostile"].contains(&recording.name.as_str()))
        {
            let picture = frames(&draw(recording, &[("by", by), ("width", "800")]));
            golden(
                folder.join(format!("flame-{}-by-{by}.txt", recording.name)),
                picture.as_bytes(),
            );
        }
    }
}

#[test]
fn packets_are_kept_apart_by_their_end_or_name() {
    let recording = traces()
        .into_iter()
        .find(|recording| recording.name == "followed")
        .expect("it is there");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/plugins");
    for split in ["outcome", "packet"] {
        let picture = frames(&draw(&recording, &[("split", split)]));
        golden(
            folder.join(format!("flame-followed-split-{split}.txt")),
            picture.as_bytes(),
        );
        let expected = match split {
            "outcome" => "<title>dropped_NETFILTER_DROP_in_nft_do_chain (",
            _ => "<title>10.0.0.1:4000_&gt;_10.0.0.2:80_tcp_SYN_seq_0,_60_B (",
        };
        assert!(picture.contains(expected), "{picture}");
    }
}

#[test]
fn each_of_many_packets_has_no_frame_of_its_own() {
    let recording = traces().into_iter().find(|recording| recording.name == "many");
    let picture = draw(
        &recording.expect("it is there"),
        &[("split", "packet"), ("by", "packet")],
    );
    let packets = picture.matches("<title>packet_0x").count();
    // Frames that are too narrow are not drawn.
    assert!((90..=100).contains(&packets), "{packets}");
    assert!(picture.contains("<title>(other_packets) ("));
}

#[test]
fn deep_calls_are_drawn_as_deep_as_can_be_looked_at() {
    let recording = traces()
        .into_iter()
        .find(|recording| recording.name == "deepest")
        .expect("it is there");
    let picture = draw(&recording, &[]);
    let frames = picture.matches("<title>").count();
    assert!((200..=257).contains(&frames), "{frames}");
}

#[test]
fn no_name_leaves_its_place_in_the_document() {
    for recording in traces() {
        let hostile = [("title", "</text><script>alert(1)</script>\x1b[2J\u{ffff}")];
        for picture in [draw(&recording, &[]), draw(&recording, &hostile)] {
            assert_eq!(picture.find(|c: char| c.is_control() && c != '\n' && c != '\t'), None);
            assert!(
                !picture.contains("<script>alert") && !picture.contains("<svg onload"),
                "{}",
                recording.name
            );
            assert!(!picture.contains(['\u{ffff}', '\u{202e}']));
        }
    }
}

#[test]
fn a_width_that_makes_no_picture_is_refused() {
    let error = run(Flame::default(), &traces()[0], &[("width", "-1")]).expect_err("it is refused");
    assert!(error.to_string().contains("it must be from 200 to 20000"), "{error}");
}

#[test]
fn a_long_time_is_shown_in_a_unit_in_which_it_fits() {
    let mut recording = traces()
        .into_iter()
        .find(|recording| recording.name == "graph")
        .expect("it is there");
    for (factor, unit) in [(1, "ns"), (10_000, "us"), (1_000, "ms")] {
        for event in recording.chunks.iter_mut().flat_map(|chunk| &mut chunk.events) {
            // The factors multiply: each is relative to the one before.
            let start = 75_681_519_000;
            let scaled = |time: u64| start + time.saturating_sub(start) * factor;
            (event.timestamp, event.entry_timestamp) = (scaled(event.timestamp), scaled(event.entry_timestamp));
        }
        let picture = draw(&recording, &[]);
        let all = picture
            .split("<title>all (")
            .nth(1)
            .and_then(|rest| rest.split(')').next())
            .expect("a title");
        assert!(all.ends_with(&format!(" {unit}, 100%")), "{all}");
    }
}
