//! Tests of the page in a real browser: what it shows, and how it reacts to clicks and keys.

mod webdriver;

use std::path::{Path, PathBuf};

use ipft_plugin::Event;
use ipft_plugin::testing::{self, Recording};
use webdriver::{Browser, DOWN, END, ENTER, ESCAPE, LEFT, RIGHT};

/// Writes the page of a recording and returns its path.
fn page(name: &str, recording: &Recording) -> PathBuf {
    let title = ("title", name);
    let html = testing::run(report::Page::default(), recording, &[title]).expect("the plugin runs");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{}.html", name.replace(' ', "-")));
    std::fs::write(&path, html.output).expect("the page can be written");
    path
}

fn ping() -> Recording {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ping-through-nat.jsonl");
    Recording::read(&path).expect("the recording can be read")
}

/// Start of a script: `data` has the pixels of the canvas `c`, read from a copy.
macro_rules! painted {
    ($rest:literal) => {
        concat!(
            "const c = document.querySelector('#canvas'); const copy = new OffscreenCanvas(c.width, c.height);",
            "const context = copy.getContext('2d', { willReadFrequently: true }); context.drawImage(c, 0, 0);",
            "const { data } = context.getImageData(0, 0, c.width, c.height);",
            $rest
        )
    };
}

/// Counts the different colours of the picture, coarsely; an empty canvas has one.
const COLOURS: &str = painted!(
    "const seen = new Set();
    for (let i = 0; i < data.length; i += 4) seen.add((data[i] >> 4) * 256 + (data[i + 1] >> 4) * 16 + (data[i + 2] >> 4));
    return seen.size;"
);

/// Returns a hash of the picture.
const PICTURE: &str = painted!(
    "let sum = 0;
    for (const byte of data) sum = (Math.imul(sum, 31) + byte) | 0;
    return sum;"
);

/// Returns a position with the colour of a drop, as `x y`.
const DROP: &str = painted!(
    "const hex = getComputedStyle(document.documentElement).getPropertyValue('--drop').trim();
    const want = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const box = c.getBoundingClientRect();
    for (let i = 0; i < data.length; i += 4) {
        if (want.every((value, at) => data[i + at] === value)) {
            const [x, y] = [(i / 4) % c.width, Math.floor(i / 4 / c.width) + 4];
            return `${Math.round(box.left + x / devicePixelRatio)} ${Math.round(box.top + y / devicePixelRatio)}`;
        }
    }
    return '';"
);

const ROWS: &str = "return document.querySelectorAll('#packets .row').length";
const FUNCTION: &str = "return document.querySelector('#details h2').textContent";
const FOUND: &str = "return document.querySelector('#found').textContent";

#[test]
fn a_journey_reacts_to_clicks_and_keys() {
    let browser = Browser::start("journey", 1280, 863);
    browser.open(&page("ping through the NAT router", &ping()));
    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(
        browser.number("return performance.getEntriesByType('resource').length"),
        0
    );
    assert_eq!(browser.text("return document.title"), "ping through the NAT router");
    assert_eq!(browser.number(ROWS), 4);
    assert!(browser.number(COLOURS) > 20, "the lanes are drawn");
    assert_eq!(
        browser.text("return document.querySelector('#chips .bad').textContent"),
        "1 dropped"
    );

    // A click on a packet selects it.
    browser.click("#packets [data-index='2']");
    assert_eq!(browser.text(FUNCTION), "packet #3");
    assert!(
        browser
            .text("return document.querySelector('#packet-facts').textContent")
            .contains("97 functions")
    );
    assert_eq!(
        browser.text("return document.querySelector('#packets [aria-selected=true] .number').textContent"),
        "#3"
    );

    // Its drop is red, has a tooltip, and can be selected by a click.
    let place = browser.text(DROP);
    let (x, y) = place.split_once(' ').expect("there is something red");
    let (x, y) = (x.parse().unwrap(), y.parse().unwrap());
    browser.point(x, y, false);
    assert!(
        browser
            .text("return document.querySelector('#tip').textContent")
            .starts_with("sk_skb_reason_drop")
    );
    browser.point(x, y, true);
    assert_eq!(browser.text(FUNCTION), "sk_skb_reason_drop");
    assert_eq!(
        browser.text("return document.querySelector('#details .dropped').textContent"),
        "The packet is dropped here."
    );
    assert_eq!(
        browser.text("return document.querySelector('#calls [aria-selected=true] .name').textContent.trim()"),
        "sk_skb_reason_drop"
    );

    // The book has this picture.
    browser.run("document.activeElement.blur()");
    browser.point(2, 2, false);
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG\r\n"));
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.png"), picture).expect("it can be written");

    // A search filters the packets, counts, and steps through matches.
    browser.keys("#search", "raw_rcv");
    assert_eq!(browser.number(ROWS), 1);
    assert_eq!(browser.text(FOUND), "1 packet, 1 function, 0 calls here");
    browser.keys("#search", ENTER);
    assert_eq!(browser.text(FUNCTION), "raw_rcv");
    browser.keys("#search", ESCAPE);
    assert_eq!(browser.number(ROWS), 4);
    browser.keys("#search", "no such function");
    assert_eq!(browser.number(ROWS), 0);
    browser.keys("#search", ESCAPE);

    // Keys do the same as the mouse.
    browser.keys("#packets", "[[[");
    assert_eq!(browser.text(FUNCTION), "packet #1");
    browser.keys("#scroller", RIGHT);
    assert_eq!(browser.text(FUNCTION), "ip_output");
    browser.keys("#scroller", DOWN);
    assert_eq!(browser.text(FUNCTION), "nf_hook_slow");
    browser.keys("#calls", DOWN);
    assert_eq!(browser.text(FUNCTION), "apparmor_ip_postroute");
    assert_eq!(
        browser.text("return document.querySelector('#chain').innerText"),
        "nf_hook_slow\nip_output"
    );
    browser.keys("#scroller", "?");
    assert_eq!(browser.run("return document.querySelector('#help').open"), true);
    browser.keys("#help", ESCAPE);

    // Zooming changes the picture; one key shows the whole journey again.
    let whole = browser.number(PICTURE);
    browser.keys("#scroller", "+++");
    assert_ne!(browser.number(PICTURE), whole);
    browser.keys("#scroller", "0");
    assert_eq!(browser.number(PICTURE), whole);

    // Lanes, axis and dark mode can be selected.
    for (select, value) in [
        ("#lanes", "cpu"),
        ("#lanes", "module"),
        ("#axis", "even"),
        ("#axis", "time"),
    ] {
        let before = browser.number(PICTURE);
        browser.run(&format!(
            "const s = document.querySelector('{select}'); s.value = '{value}'; s.dispatchEvent(new Event('change'));"
        ));
        browser.settle();
        assert_ne!(browser.number(PICTURE), before, "{select} {value}");
    }
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.text(ground);
    browser.click("#theme");
    assert_ne!(browser.text(ground), light);

    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn every_canned_trace_is_shown_with_names_as_text() {
    let browser = Browser::start("canned", 1000, 700);
    for recording in testing::traces() {
        let name = &recording.name;
        browser.open(&page(name, &recording));
        assert_eq!(browser.text("return document.querySelector('h1').textContent"), *name);
        assert_eq!(browser.complaints(), [""; 0], "{name}");
        let packets = browser.number("return JSON.parse(document.querySelector('#data').textContent).packets.length");
        if packets == 0 {
            assert_eq!(
                browser.text("return document.querySelector('#empty').textContent"),
                "No event was traced.",
                "{name}"
            );
            continue;
        }
        assert!(browser.number(COLOURS) > 3, "{name}: the lanes are drawn");
        browser.click("#packets [data-index='0']");
        browser.keys("#scroller", RIGHT);
        assert!(
            browser.number("return document.querySelectorAll('#details table tr').length") > 3,
            "{name}"
        );
        // However many rows there are, the document holds only the visible ones.
        assert!(
            browser.number("return document.querySelectorAll('*').length") < 1500,
            "{name}"
        );
        // Two scripts, unchanged, and no element that only a name could have created.
        assert_eq!(browser.number("return document.scripts.length"), 2, "{name}");
        assert_eq!(
            browser.number("return document.querySelectorAll('img, b, iframe, a').length"),
            0,
            "{name}"
        );
        assert_eq!(browser.complaints(), [""; 0], "{name}");
    }
}

#[test]
fn devices_losses_and_unpaired_calls_are_visible() {
    let browser = Browser::start("special", 1000, 700);
    let open = |name: &str| {
        let traces = testing::traces();
        let recording = traces
            .iter()
            .find(|recording| recording.name == name)
            .expect("there is such a trace");
        browser.open(&page(&format!("{name} alone"), recording));
    };
    let chips = "return document.querySelector('#chips').innerText";

    open("fields");
    assert_eq!(browser.text("return document.querySelector('#lanes').value"), "place");
    browser.keys("#scroller", RIGHT);
    assert!(
        browser
            .text("return document.querySelector('#details').innerText")
            .contains("device\tveth0")
    );
    assert!(
        browser
            .text("return document.querySelector('#details').innerText")
            .contains("dev.name\tveth0")
    );

    open("losses");
    assert_eq!(browser.text("return document.querySelector('#lanes').value"), "layer");
    let shown = browser.text(chips);
    assert!(
        shown.contains("events lost") && shown.contains("17 events missed"),
        "{shown}"
    );
    browser.click("#about-button");
    assert!(
        browser
            .text("return document.querySelector('#about-text').innerText")
            .contains("buffer-full")
    );

    open("unpaired");
    assert!(browser.number("return document.querySelectorAll('#packets .badge.warn').length") > 0);
    let missing = "return [...document.querySelectorAll('#calls .took')].map((took) => took.textContent).join()";
    let ends = browser.text(missing);
    assert!(ends.contains("return only") && ends.contains("no return"), "{ends}");
}

/// Returns the numbers of the packets in the list, each with its indentation.
const LISTED: &str = "return [...document.querySelectorAll('#packets .row')]
    .sort((a, b) => a.dataset.index - b.dataset.index)
    .map((row) => `${row.querySelector('.number').textContent}@${row.getAttribute('aria-level')}`).join()";

fn named(name: &str) -> Recording {
    let found = testing::traces().into_iter().find(|recording| recording.name == name);
    found.unwrap_or_else(|| panic!("there is a trace '{name}'"))
}

#[test]
fn followed_packets_are_a_tree_with_names_and_ends() {
    let browser = Browser::start("family", 1280, 863);
    browser.open(&page("family", &named("followed")));
    assert_eq!(browser.complaints(), [""; 0]);
    let row = |index: u32| {
        browser.text(&format!(
            "return document.querySelector('#packets [data-index=\"{index}\"]').innerText"
        ))
    };
    assert!(
        row(0).contains("10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 3028 B"),
        "{}",
        row(0)
    );
    assert!(row(0).contains("delivered") && row(1).contains("sent"));
    assert!(
        browser.text(LISTED).starts_with("#1 ▾@1,#2 ▾@2,#3@3,#4@1"),
        "{}",
        browser.text(LISTED)
    );
    let chips = "return document.querySelector('#chips').innerText";
    assert!(browser.text(chips).contains("3 dropped"), "{}", browser.text(chips));

    // The details link to parents and children.
    let details = "return document.querySelector('#details').innerText";
    assert!(
        browser.text(details).contains("ended\tdelivered"),
        "{}",
        browser.text(details)
    );
    browser.click("#details .links button");
    assert_eq!(browser.text(FUNCTION), "packet #2");
    assert!(
        browser.text(details).contains("made of\t#1 by ip_copy_metadata"),
        "{}",
        browser.text(details)
    );
    browser.click("#packets [data-index='3']");
    assert_eq!(
        browser.text("return document.querySelector('#details .dropped').textContent"),
        "dropped NETFILTER_DROP in nft_do_chain"
    );

    // A family can be closed and opened.
    browser.click("#packets [data-index='0'] .fold");
    assert!(
        browser.text(LISTED).starts_with("#1 ▸ 2 more@1,#4@1"),
        "{}",
        browser.text(LISTED)
    );
    browser.click("#packets [data-index='0']");
    browser.keys("#packets", RIGHT);
    assert!(
        browser.text(LISTED).starts_with("#1 ▾@1,#2 ▾@2,#3@3"),
        "{}",
        browser.text(LISTED)
    );
    browser.keys("#packets", DOWN);
    // A packet is closed, and then it goes to its parent, which closes, too.
    browser.keys("#packets", LEFT);
    assert!(
        browser.text(LISTED).starts_with("#1 ▾@1,#2 ▸ 1 more@2,#4@1"),
        "{}",
        browser.text(LISTED)
    );
    browser.keys("#packets", LEFT);
    assert_eq!(browser.text(FUNCTION), "packet #1");
    browser.keys("#packets", LEFT);
    assert!(
        browser.text(LISTED).starts_with("#1 ▸ 2 more@1,#4@1"),
        "{}",
        browser.text(LISTED)
    );

    // A search finds addresses and ends, in one list.
    browser.keys("#search", "netfilter_drop");
    assert_eq!(browser.text(LISTED), "#4@null");
    browser.keys("#search", ESCAPE);
    browser.keys("#search", "frag 1480");
    assert_eq!(browser.number(ROWS), 2);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// A ping of which so many packets were made.
fn with_children(count: u64) -> Recording {
    let mut recording = named("followed");
    recording.chunks.truncate(1);
    let chunk = &mut recording.chunks[0];
    let first = chunk.events[0];
    chunk.events.truncate(1);
    for packet in 2..count + 2 {
        let entry = Event {
            packet,
            timestamp: first.timestamp + packet,
            ..first
        };
        let born = Event {
            kind: Event::BORN,
            spare: 1,
            payload_len: 0,
            ..entry
        };
        chunk.events.extend([born, entry]);
    }
    recording
}

#[test]
fn a_hundred_thousand_packets_open_closed() {
    let browser = Browser::start("packets", 1000, 700);
    browser.open(&page("packets", &with_children(100_000)));
    assert_eq!(browser.text(LISTED), "#1 ▸ 100,000 more@1");
    browser.click("#packets .fold");
    assert!(
        browser.text(LISTED).starts_with("#1 ▾@1,#2@2,#3@2"),
        "{}",
        browser.text(LISTED)
    );
    assert!(browser.number("return document.querySelectorAll('*').length") < 1500);
    browser.keys("#packets", END);
    assert_eq!(browser.text(FUNCTION), "packet #100001");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_hundred_thousand_events_are_drawn_and_searched() {
    let mut recording = ping();
    let mut time = 1_000_000_000;
    let mut events = Vec::new();
    for call in 0..50_000 {
        let entry = Event {
            packet: 1,
            timestamp: time,
            function: call % 90,
            thread: 7,
            ..Event::default()
        };
        events.push(entry);
        events.push(Event {
            kind: Event::RETURN,
            timestamp: time + 700,
            entry_timestamp: time,
            ..entry
        });
        time += 1000;
    }
    recording.chunks[0].events = events;
    recording.chunks.truncate(1);
    let browser = Browser::start("large", 1000, 700);
    browser.open(&page("large", &recording));
    assert!(
        browser
            .text("return document.querySelector('#packet-facts').textContent")
            .contains("50,000 functions")
    );
    assert!(browser.number(COLOURS) > 10);
    browser.keys("#calls", END);
    let last = &recording.chunks[0].functions[49_999 % 90].name;
    assert_eq!(browser.text(FUNCTION), *last);
    assert_eq!(
        browser.number("return document.querySelectorAll('#calls [aria-selected=true]').length"),
        1
    );
    browser.keys("#search", last);
    assert!(browser.text(FOUND).contains(" calls here"), "{}", browser.text(FOUND));
    browser.keys("#search", ENTER);
    assert_eq!(browser.text(FUNCTION), *last);
    assert!(browser.number("return document.querySelectorAll('*').length") < 1500);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_policy_blocks_foreign_loads_and_scripts() {
    let browser = Browser::start("policy", 1000, 700);
    browser.open(&page("policy", &ping()));
    assert_eq!(browser.complaints(), [""; 0]);
    for attempt in [
        "const image = new Image(); image.src = 'http://127.0.0.1:9/image'; document.body.append(image);",
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1'; document.body.append(script);",
        "const style = document.createElement('style'); style.textContent = '* { color: red }'; document.head.append(style);",
        "document.body.setAttribute('onclick', 'window.ran = 1'); document.body.click();",
        "fetch('http://127.0.0.1:9/data').catch(() => {});",
    ] {
        browser.run(attempt);
        browser.settle();
        let complaints = browser.complaints().join(" ");
        assert!(
            complaints.contains("Content Security Policy"),
            "{attempt}: {complaints}"
        );
        assert_eq!(browser.run("return window.ran === undefined"), true, "{attempt}");
    }
}
