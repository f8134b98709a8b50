//! The state of the view of `ipft top`: which pane, which row, what is searched for, and what the keys do. It knows
//! nothing of terminals: [`View::screen`] says in rows and words what is to be seen. May import `sink::top`.

use std::collections::HashMap;
use std::time::Duration;

use ipft_core::sink::top::{Model, Seen, Totals};
use ipft_core::text::grouped;

use super::item::{Item, RowKey, details, row};
use super::keys::Key;
use super::listing::{drops, flows, functions, packets};
use super::number::counted;
use super::pane::{Pane, columns};
use super::screen::{Body, List, Screen};

/// Interval over which the rate of events is taken.
const RATE: Duration = Duration::from_secs(1);
/// Columns that a journey moves to the side at once.
const SIDEWAYS: usize = 16;
/// Characters of a search.
const LONGEST_SEARCH: usize = 80;
/// Lines that are no rows: two above the headings, these, two about the selected row, and one for the keys.
const OTHERS: usize = 6;

/// The keys, for `?`.
pub(super) const KEYS: [(&str, &str); 13] = [
    ("Tab, 1-4", "choose the pane: packets, flows, drops, functions"),
    ("Up, Down, j, k", "move by a row"),
    ("PgUp, PgDn", "move by a screen"),
    ("Home, End", "to the first row, which follows the newest, or the last"),
    (
        "Enter",
        "open the journey of a packet, or the packets of a flow or drop",
    ),
    ("Left, Right", "move a journey sideways"),
    ("Esc", "close a journey, end a search"),
    ("/ or f", "search in what is listed"),
    ("s", "sort by the next column"),
    ("p or space", "freeze the view; events are counted on"),
    ("w", "record from here to the file of --record, or stop that"),
    ("Ctrl-Z", "stop until the shell continues ipft"),
    ("q, Ctrl-C", "end"),
];

/// What a key asks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    /// Begin to record, or stop it.
    Record,
    /// Give the terminal back to the shell for a while.
    Suspend,
}

/// Whether a recording is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// No file is named.
    NoFile,
    Off,
    On,
    Failed,
}

/// The state of the view.
#[derive(Debug)]
pub(super) struct View {
    pane: Pane,
    /// Of each pane: the selected row, or the first one, whichever that is; and its index at that time.
    selected: [Option<RowKey>; 4],
    at: [usize; 4],
    /// The first row on the screen, of each pane.
    top: [usize; 4],
    order: [usize; 4],
    search: String,
    searching: bool,
    /// Only packets of this flow or drop are listed, with the words for it.
    only: Option<(RowKey, String)>,
    /// Whether a packet of this number and version is found.
    answers: HashMap<u64, (u64, bool)>,
    frozen: Option<Seen>,
    journey: Option<Journey>,
    help: bool,
    recording: Recording,
    note: Option<String>,
    rate: Rate,
    /// The trace has ended.
    over: bool,
    /// Rows of the last screen.
    rows: usize,
}

/// The journey that is open.
#[derive(Debug)]
struct Journey {
    packet: u64,
    version: u64,
    lines: Vec<String>,
    first: usize,
    column: usize,
}

/// Events per second.
#[derive(Debug, Default)]
struct Rate {
    since: Duration,
    events: u64,
    per_second: u64,
}

impl View {
    pub(super) fn new(recording: Recording) -> Self {
        View {
            pane: Pane::default(),
            selected: [None; 4],
            at: [0; 4],
            top: [0; 4],
            order: [0; 4],
            search: String::new(),
            searching: false,
            only: None,
            answers: HashMap::new(),
            frozen: None,
            journey: None,
            help: false,
            recording,
            note: None,
            rate: Rate::default(),
            over: false,
            rows: 0,
        }
    }

    /// Says whether a recording is made now.
    pub(super) fn set_recording(&mut self, recording: Recording) {
        self.recording = recording;
    }

    /// Says that the trace has ended.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Shows a message in the last line until a key is pressed.
    pub(super) fn note(&mut self, note: String) {
        self.note = Some(note);
    }

    fn index(&self) -> usize {
        self.pane as usize
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: Key, model: &mut Model) -> Action {
        self.note = None;
        if key == Key::Control('c') {
            return Action::Quit;
        }
        if key == Key::Control('z') {
            return Action::Suspend;
        }
        if self.searching {
            self.search_key(key);
            return Action::Nothing;
        }
        if std::mem::take(&mut self.help) {
            return Action::Nothing;
        }
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Char('?') => self.help = true,
            Key::Char('p' | ' ') => self.freeze(model),
            Key::Char('w') if self.recording == Recording::NoFile => {
                self.note = Some("to record, start ipft with --record FILE; w then begins".to_owned());
            }
            Key::Char('w') => return Action::Record,
            _ if self.journey.is_some() => self.journey_key(key),
            _ => self.list_key(key, model),
        }
        Action::Nothing
    }

    fn freeze(&mut self, model: &Model) {
        self.frozen = match self.frozen.take() {
            Some(_) => None,
            None => Some(model.seen().clone()),
        };
    }

    fn search_key(&mut self, key: Key) {
        match key {
            Key::Enter => self.searching = false,
            Key::Escape => {
                self.searching = false;
                self.search.clear();
            }
            Key::Backspace => {
                self.search.pop();
            }
            Key::Char(char) if self.search.chars().count() < LONGEST_SEARCH => self.search.push(char),
            _ => {}
        }
        self.restart();
    }

    /// Begins at the first row again, as others are listed now.
    fn restart(&mut self) {
        self.answers.clear();
        self.selected = [None; 4];
        self.top = [0; 4];
    }

    fn journey_key(&mut self, key: Key) {
        let rows = self.rows.max(1);
        let Some(journey) = &mut self.journey else {
            return;
        };
        let last = journey.lines.len().saturating_sub(1);
        journey.first = match key {
            Key::Up | Key::Char('k') => journey.first.saturating_sub(1),
            Key::Down | Key::Char('j') => journey.first + 1,
            Key::PageUp => journey.first.saturating_sub(rows),
            Key::PageDown => journey.first + rows,
            Key::Home => 0,
            Key::End => last,
            _ => journey.first,
        }
        .min(last);
        match key {
            Key::Left => journey.column = journey.column.saturating_sub(SIDEWAYS),
            Key::Right => {
                let longest = journey.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
                journey.column = (journey.column + SIDEWAYS).min(longest);
            }
            Key::Escape | Key::Enter | Key::Backspace => self.journey = None,
            _ => {}
        }
    }

    fn list_key(&mut self, key: Key, model: &mut Model) {
        let rows = self.rows.max(1) as isize;
        match key {
            Key::Tab | Key::BackTab => {
                let step = if key == Key::Tab { 1 } else { 3 };
                self.pane = Pane::ALL[(self.index() + step) % 4];
            }
            Key::Char(digit @ '1'..='4') => self.pane = Pane::ALL[digit as usize - '1' as usize],
            Key::Char('/' | 'f') => self.searching = true,
            Key::Escape => {
                self.search.clear();
                self.only = None;
                self.restart();
            }
            Key::Char('s') => {
                let index = self.index();
                self.order[index] = (self.order[index] + 1) % self.pane.orders().len();
                self.selected[index] = None;
                self.top[index] = 0;
            }
            Key::Up | Key::Char('k') => self.move_by(-1, model),
            Key::Down | Key::Char('j') => self.move_by(1, model),
            Key::PageUp => self.move_by(-rows, model),
            Key::PageDown => self.move_by(rows, model),
            Key::Home => {
                let index = self.index();
                self.selected[index] = None;
                self.top[index] = 0;
            }
            Key::End => self.move_by(isize::MAX, model),
            Key::Enter => self.open(model),
            _ => {}
        }
    }

    fn move_by(&mut self, rows: isize, model: &Model) {
        let index = self.index();
        let (list, at) = self.listed(model);
        let at = at.saturating_add_signed(rows).min(list.len().saturating_sub(1));
        // The first row is the first one later, too.
        let selected = list.get(at).map(Item::key).filter(|_| at > 0);
        (self.selected[index], self.at[index]) = (selected, at);
    }

    fn open(&mut self, model: &Model) {
        let words = model.words();
        let (list, at) = self.listed(model);
        let Some(item) = list.get(at) else {
            return;
        };
        let key = item.key();
        let said = match item {
            Item::Packet(packet) => {
                self.journey = Some(Journey {
                    packet: packet.number(),
                    version: 0,
                    lines: Vec::new(),
                    first: 0,
                    column: 0,
                });
                return;
            }
            Item::Flow(flow) => words.flow(flow),
            Item::Drop(drop) => {
                let said = words.drops(drop);
                format!("{} in {}", said.reason, said.function).trim_start().to_owned()
            }
            Item::Function(_) => return,
        };
        self.only = Some((key, said));
        self.search.clear();
        self.restart();
        self.pane = Pane::Packets;
    }

    /// Returns what is listed in the pane, in its order, and the index of the selected row.
    fn listed<'a>(&'a mut self, model: &'a Model) -> (Vec<Item<'a>>, usize) {
        let index = self.index();
        let seen = self.frozen.as_ref().unwrap_or(model.seen());
        let search = self.search.to_lowercase();
        let order = self.order[index];
        let list = match self.pane {
            Pane::Packets => {
                let only = self.only.as_ref().map(|(key, _)| *key);
                packets(seen, model.words(), &search, only, order, &mut self.answers)
            }
            Pane::Flows => flows(seen, model.words(), &search, order),
            Pane::Drops => drops(seen, model.words(), &search, order),
            Pane::Functions => functions(seen, model.words(), &search, order),
        };
        let found = self.selected[index].map(|selected| {
            let found = list.iter().position(|item| item.key() == selected);
            found.unwrap_or(self.at[index]).min(list.len().saturating_sub(1))
        });
        (list, found.unwrap_or(0))
    }

    /// Returns what is to be seen on so many lines. `now`: the time since the view began.
    pub(super) fn screen(&mut self, model: &mut Model, lines: usize, now: Duration) -> Screen {
        let totals = model.seen().totals();
        self.rate.take(&totals, now);
        self.rows = lines.saturating_sub(OTHERS);
        let mut screen = Screen {
            filter: model.words().filter().to_owned(),
            status: self.status(&totals, model.words().follows()),
            pane: self.pane,
            state: self.state(&totals),
            footer: self.footer(),
            ..Screen::default()
        };
        if self.help {
            screen.body = Body::Help;
        } else if self.journey.is_some() {
            screen.body = self.journey_body(model, lines);
        } else {
            self.show_list(model, &mut screen);
        }
        screen
    }

    fn show_list(&mut self, model: &Model, screen: &mut Screen) {
        let (index, rows, pane) = (self.index(), self.rows.max(1), self.pane);
        let before = self.top[index];
        let empty = match pane {
            _ if !self.search.is_empty() => "nothing of this is found; Esc ends the search",
            Pane::Packets if self.only.is_some() => "none of these packets is in memory; Esc shows all",
            Pane::Packets => "no packet was seen yet",
            Pane::Flows if !model.words().has_flows() => "packets have no addresses here: add --show tuple,len",
            Pane::Flows => "no flow was seen yet",
            Pane::Drops if !model.words().follows() => "drops are seen of packets that are followed (--follow)",
            Pane::Drops => "no packet was dropped yet",
            Pane::Functions => "no function was entered yet",
        };
        let (list, at) = self.listed(model);
        let top = before.clamp((at + 1).saturating_sub(rows), at);
        let top = top.min(list.len().saturating_sub(rows));
        let shown = list.get(top..(top + rows).min(list.len())).unwrap_or_default();
        let calls = |item: &Item<'_>| match item {
            Item::Function(count) => count.count,
            _ => 0,
        };
        let sum = match pane {
            Pane::Functions => list.iter().map(calls).sum(),
            _ => 0,
        };
        screen.details = list.get(at).map(|item| details(*item, model)).unwrap_or_default();
        screen.body = Body::List(List {
            columns: columns(pane, model.words().has_times()),
            rows: shown.iter().map(|item| row(*item, model, sum)).collect(),
            selected: (!list.is_empty()).then_some(at - top),
            empty,
        });
        (self.at[index], self.top[index]) = (at, top);
    }

    fn journey_body(&mut self, model: &mut Model, lines: usize) -> Body {
        let frozen = self.frozen.as_ref();
        let Some(journey) = &mut self.journey else {
            return Body::default();
        };
        let version = (frozen.unwrap_or(model.seen()))
            .packet(journey.packet)
            .map(|packet| packet.version());
        match version {
            Some(version) if version != journey.version || journey.lines.is_empty() => {
                let text = model.journey(frozen, journey.packet).unwrap_or_default();
                journey.lines = text.lines().map(str::to_owned).collect();
                journey.version = version;
            }
            Some(_) => {}
            // What was read of it stays.
            None if journey.lines.is_empty() => journey.lines.push("The packet is not in memory any more.".to_owned()),
            None => {}
        }
        // The journey has the place of the headings and of the details, too.
        let rows = lines.saturating_sub(OTHERS - 3);
        let first = journey.first.min(journey.lines.len().saturating_sub(1));
        let end = (first + rows).min(journey.lines.len());
        Body::Journey {
            lines: journey.lines[first..end].to_vec(),
            column: journey.column,
        }
    }

    fn status(&self, totals: &Totals, follows: bool) -> String {
        let mut status = format!(
            "{} events/s, {}",
            grouped(self.rate.per_second),
            counted(totals.packets, "packet")
        );
        if follows {
            let live = totals.packets.saturating_sub(totals.ended);
            status.push_str(&format!(" ({} live)", grouped(live)));
        }
        status.push_str(&format!(", {} lost", counted(totals.lost, "event")));
        status
    }

    fn state(&self, totals: &Totals) -> String {
        let mut parts = Vec::new();
        if self.frozen.is_some() {
            parts.push("FROZEN".to_owned());
        }
        match self.recording {
            Recording::On => parts.push("RECORDING".to_owned()),
            Recording::Failed => parts.push("recording failed".to_owned()),
            Recording::NoFile | Recording::Off => {}
        }
        if self.over {
            parts.push("ended".to_owned());
        }
        if let Some((_, words)) = self.only.as_ref().filter(|_| self.pane == Pane::Packets) {
            parts.push(words.clone());
        }
        if !self.search.is_empty() {
            parts.push(format!("with \"{}\"", ipft_core::text::visible(&self.search)));
        }
        let forgotten = match self.pane {
            Pane::Packets => totals.forgotten,
            Pane::Flows => totals.forgotten_flows,
            Pane::Drops => totals.other_drops,
            Pane::Functions => 0,
        };
        if forgotten > 0 {
            parts.push(format!("{} not kept", grouped(forgotten)));
        }
        parts.push(self.pane.orders()[self.order[self.index()]].to_owned());
        parts.join(", ")
    }

    fn footer(&self) -> String {
        if self.searching {
            return format!("/{}_", ipft_core::text::visible(&self.search));
        }
        if let Some(note) = &self.note {
            return ipft_core::text::visible(note).into_owned();
        }
        match (&self.journey, self.help) {
            (_, true) => "any key closes this".to_owned(),
            (Some(_), _) => "Esc back  arrows move  p freeze  q quit".to_owned(),
            (None, _) => "Tab pane  Enter open  / search  s sort  p freeze  w record  ? keys  q quit".to_owned(),
        }
    }
}

impl Rate {
    fn take(&mut self, totals: &Totals, now: Duration) {
        let passed = now.saturating_sub(self.since);
        if passed >= RATE {
            let events = totals.events.saturating_sub(self.events);
            self.per_second = (events as f64 / passed.as_secs_f64()).round() as u64;
            (self.since, self.events) = (now, totals.events);
        }
    }
}
