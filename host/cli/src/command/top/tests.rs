//! Tests of the view: what keys do, and screens as they are drawn, in `tests/golden/top-*.txt`.

use std::time::{Duration, Instant};

use ipft_core::event::{Batch, Event, EventKind};
use ipft_core::sink::TextOptions;
use ipft_core::sink::top::Model;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use support::canned::{Canned, Fields, all, golden};

use super::draw::draw;
use super::keys::Key;
use super::pane::Pane;
use super::view::{Action, Recording, View};

fn canned(name: &str) -> Canned {
    let found = all().into_iter().find(|canned| canned.name == name);
    found.expect("there is such a trace")
}

fn model(canned: &Canned) -> Model {
    let options = TextOptions {
        color: true,
        ..TextOptions::default()
    };
    let mut model = Model::new(options, 1 << 30);
    model.start(&canned.trace).expect("the model starts");
    canned.batches.iter().for_each(|batch| model.events(batch));
    model
}

/// Draws a screen of this size, and returns its lines, without spaces at their ends.
fn drawn(view: &mut View, model: &mut Model, width: u16, height: u16) -> String {
    let screen = view.screen(model, usize::from(height), Duration::from_secs(2));
    let mut cells = Buffer::empty(Rect::new(0, 0, width, height));
    draw(&screen, &mut cells);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| cells[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn press(view: &mut View, model: &mut Model, keys: &str) -> Action {
    let mut action = Action::Nothing;
    for char in keys.chars() {
        action = view.key(Key::Char(char), model);
    }
    action
}

#[test]
fn each_pane_has_its_screen() {
    let mut model = model(&canned("followed"));
    for (width, height) in [(80, 24), (120, 40), (40, 10)] {
        let mut view = View::new(Recording::Off);
        let mut screens = String::new();
        for pane in ["1", "2", "3", "4", "?"] {
            press(&mut view, &mut model, pane);
            screens += &drawn(&mut view, &mut model, width, height);
            screens += "----\n";
        }
        golden(&format!("top-{width}x{height}.txt"), &screens);
    }
}

#[test]
fn functions_have_times_where_returns_are_traced() {
    let mut model = model(&canned("graph"));
    let mut view = View::new(Recording::NoFile);
    press(&mut view, &mut model, "4ss");
    golden("top-graph.txt", &drawn(&mut view, &mut model, 80, 24));
}

#[test]
fn enter_opens_the_journey_and_escape_closes_it() {
    let mut model = model(&canned("followed"));
    let mut view = View::new(Recording::Off);
    drawn(&mut view, &mut model, 80, 24);
    view.key(Key::End, &mut model);
    view.key(Key::Enter, &mut model);
    let journey = drawn(&mut view, &mut model, 80, 24);
    golden("top-journey.txt", &journey);
    view.key(Key::Down, &mut model);
    let scrolled = drawn(&mut view, &mut model, 80, 24);
    assert_eq!(journey.lines().nth(3), scrolled.lines().nth(2));
    view.key(Key::Home, &mut model);
    view.key(Key::Right, &mut model);
    let moved = drawn(&mut view, &mut model, 80, 24);
    let line = |text: &str| text.lines().nth(3).unwrap().to_owned();
    assert!(line(&journey)[16..].starts_with(&line(&moved)[..20]), "{moved}");
    view.key(Key::Escape, &mut model);
    assert!(drawn(&mut view, &mut model, 80, 24).contains("where"));
}

#[test]
fn every_size_and_trace_is_drawn_without_a_panic() {
    for canned in all() {
        let mut model = model(&canned);
        for (width, height) in [
            (1, 1),
            (39, 10),
            (40, 9),
            (40, 10),
            (41, 11),
            (80, 24),
            (300, 5),
            (3, 100),
        ] {
            let mut view = View::new(Recording::Off);
            for keys in ["1", "2", "3", "4", "s", "s", "?", "?", "1", "p", "/x"] {
                press(&mut view, &mut model, keys);
                drawn(&mut view, &mut model, width, height);
            }
            for key in [
                Key::Escape,
                Key::Escape,
                Key::End,
                Key::PageUp,
                Key::Enter,
                Key::End,
                Key::PageUp,
                Key::Right,
            ] {
                view.key(key, &mut model);
                let text = drawn(&mut view, &mut model, width, height);
                let control = text.chars().find(|char| char.is_control() && *char != '\n');
                assert_eq!(control, None, "{}", canned.name);
            }
        }
        let mut view = View::new(Recording::Off);
        assert!(drawn(&mut view, &mut model, 30, 9).starts_with("too small"));
    }
}

#[test]
fn selection_stays_on_its_packet_while_others_come() {
    let canned = canned("followed");
    let mut model = model(&canned);
    let mut view = View::new(Recording::Off);
    drawn(&mut view, &mut model, 80, 40);
    view.key(Key::Down, &mut model);
    let detail = |text: String| text.lines().rev().nth(2).unwrap().to_owned();
    let selected = detail(drawn(&mut view, &mut model, 80, 40));
    let other = canned
        .batches
        .iter()
        .flat_map(|batch| &batch.events)
        .next()
        .copied()
        .unwrap();
    let mut batch = Batch::default();
    for packet in 1000..1200 {
        batch.events.push(Event {
            packet,
            payload_len: 0,
            ..other
        });
    }
    model.events(&batch);
    assert_eq!(detail(drawn(&mut view, &mut model, 80, 40)), selected);
    view.key(Key::Home, &mut model);
    assert_ne!(detail(drawn(&mut view, &mut model, 80, 40)), selected);
}

#[test]
fn frozen_view_stays_while_counts_go_on() {
    let canned = canned("followed");
    let mut model = model(&canned);
    let mut view = View::new(Recording::Off);
    press(&mut view, &mut model, "p");
    let before = drawn(&mut view, &mut model, 80, 24);
    assert!(before.contains("FROZEN"), "{before}");
    canned.batches.iter().for_each(|batch| model.events(batch));
    let after = drawn(&mut view, &mut model, 80, 24);
    let rows = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rows(&before), rows(&after));
    let count = |text: &str| text.lines().next().unwrap().to_owned();
    press(&mut view, &mut model, "p");
    assert_ne!(count(&drawn(&mut view, &mut model, 80, 24)), "");
    assert!(!drawn(&mut view, &mut model, 80, 24).contains("FROZEN"));
}

#[test]
fn search_leaves_what_has_the_words() {
    let mut model = model(&canned("followed"));
    let mut view = View::new(Recording::Off);
    press(&mut view, &mut model, "/NO_SOCKET");
    let text = drawn(&mut view, &mut model, 120, 40);
    let rows: Vec<&str> = text.lines().skip(3).take_while(|line| !line.is_empty()).collect();
    assert!(
        !rows.is_empty() && rows.iter().all(|row| row.contains("NO_SOCKET")),
        "{text}"
    );
    assert!(text.trim_end().ends_with("/NO_SOCKET_"), "{text}");
    // A letter is text now, and no command.
    assert_eq!(press(&mut view, &mut model, "q"), Action::Nothing);
    view.key(Key::Backspace, &mut model);
    view.key(Key::Enter, &mut model);
    view.key(Key::Escape, &mut model);
    let all = drawn(&mut view, &mut model, 120, 40);
    assert!(all.lines().skip(3).take_while(|line| !line.is_empty()).count() > rows.len());
}

#[test]
fn enter_on_a_drop_or_flow_lists_its_packets() {
    let mut model = model(&canned("followed"));
    let mut view = View::new(Recording::Off);
    press(&mut view, &mut model, "3");
    drawn(&mut view, &mut model, 120, 40);
    view.key(Key::Enter, &mut model);
    let text = drawn(&mut view, &mut model, 120, 40);
    assert_eq!(view.screen(&mut model, 40, Duration::ZERO).pane, Pane::Packets);
    let rows: Vec<&str> = text.lines().skip(3).take_while(|line| !line.is_empty()).collect();
    assert_eq!(rows.len(), 1, "{text}");
    assert!(rows[0].contains("DROPPED"), "{text}");
    view.key(Key::Escape, &mut model);
    assert!(
        drawn(&mut view, &mut model, 120, 40)
            .lines()
            .nth(8)
            .is_some_and(|row| !row.is_empty())
    );
    press(&mut view, &mut model, "2");
    drawn(&mut view, &mut model, 120, 40);
    view.key(Key::Enter, &mut model);
    let text = drawn(&mut view, &mut model, 120, 40);
    assert!(text.lines().nth(3).is_some_and(|row| row.contains("10.0.0.")), "{text}");
}

/// Returns batches of 2,000 events, each a new packet after so many, of another flow after each packet.
fn flood(per_packet: u64) -> impl FnMut() -> Batch {
    let mut payloads = Vec::new();
    for port in 0..512 {
        let fields = Fields {
            ports: (1024 + port, 80),
            ..Fields::ipv4(6, 100)
        };
        payloads.push(fields.bytes());
    }
    let mut next = 0;
    move || {
        let mut batch = Batch::default();
        for index in next..next + 2_000 {
            let packet = index / per_packet;
            let payload = &payloads[packet as usize % payloads.len()];
            batch.events.push(Event {
                packet: packet + 1,
                skb: packet,
                timestamp: 10_000 * index,
                entry_timestamp: 0,
                function: (index % 7) as u32,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 1,
                payload_offset: batch.payload.len() as u32,
                payload_len: payload.len() as u32,
                spare: 0,
            });
            batch.payload.extend_from_slice(payload);
        }
        next += 2_000;
        batch
    }
}

#[test]
#[ignore = "measures speed"]
fn a_flood_takes_a_fifth_of_a_cpu_at_most() {
    const SECONDS: u32 = 10;
    for (per_packet, keys) in [(50, ""), (50, "s"), (50, "/10.0.0.2"), (1, ""), (1, "2"), (1, "4")] {
        let canned = canned("followed");
        let mut model = model(&canned);
        let mut view = View::new(Recording::Off);
        press(&mut view, &mut model, keys);
        let mut next = flood(per_packet);
        let mut cells = Buffer::empty(Rect::new(0, 0, 120, 40));
        let mut taken = Duration::ZERO;
        // 100,000 events a second, and ten screens.
        for tenth in 0..10 * SECONDS {
            let batches: Vec<Batch> = (0..5).map(|_| next()).collect();
            let start = Instant::now();
            batches.iter().for_each(|batch| model.events(batch));
            let now = Duration::from_millis(100 * u64::from(tenth));
            let screen = view.screen(&mut model, 40, now);
            cells.reset();
            draw(&screen, &mut cells);
            taken += start.elapsed();
        }
        let share = taken.as_secs_f64() / f64::from(SECONDS);
        println!(
            "{per_packet} events a packet, keys {keys:?}: {:.1} % of a CPU",
            100.0 * share
        );
        assert!(share <= 0.2, "{per_packet} events a packet, keys {keys:?}: {share}");
    }
}

#[test]
fn keys_ask_for_what_the_view_cannot_do() {
    let mut model = model(&canned("followed"));
    let mut view = View::new(Recording::NoFile);
    assert_eq!(press(&mut view, &mut model, "w"), Action::Nothing);
    assert!(drawn(&mut view, &mut model, 80, 24).contains("--record FILE"));
    view.set_recording(Recording::Off);
    assert_eq!(press(&mut view, &mut model, "w"), Action::Record);
    view.set_recording(Recording::On);
    assert!(drawn(&mut view, &mut model, 80, 24).contains("RECORDING"));
    assert_eq!(press(&mut view, &mut model, "q"), Action::Quit);
    assert_eq!(view.key(Key::Control('c'), &mut model), Action::Quit);
    assert_eq!(view.key(Key::Control('z'), &mut model), Action::Suspend);
}
