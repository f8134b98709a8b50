//! Formats the figures: a block of text per finished row, and one Markdown table for the book.

use std::fmt::Write as _;

use super::figures::Figures;
use super::rows::{LONGEST_LIST, MOST_FILTER_READY, MOST_FILTERED, MOST_LOST, MOST_SELECTED, Ready, Row};

/// Formats `1234567.8` as `1,234,568`.
pub(super) fn number(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

/// Formats a figure, with its target if it has one, and whether it is met.
fn judged(figure: &str, value: f64, target: Option<f64>, unit: &str) -> String {
    match target {
        None => figure.to_owned(),
        Some(target) => {
            let word = if value <= target { "ok" } else { "OVER" };
            format!("{figure} (<= {target}{unit}: {word})")
        }
    }
}

/// Reference values, per function on the packet's path.
struct Ratios {
    unmarked: f64,
    marked: f64,
    marked_in_kernel: f64,
    old_unmarked: Option<f64>,
    old_marked: Option<f64>,
    floor: Option<f64>,
}

impl Ratios {
    fn of(row: &Row, figures: &Figures) -> Ratios {
        Ratios {
            unmarked: figures.unmarked / figures.path,
            marked: figures.marked / figures.path,
            marked_in_kernel: figures.marked_in_kernel / figures.path,
            old_unmarked: row.old.map(|old| old.unmarked / old.path),
            old_marked: row.old.map(|old| old.comparable() / old.path),
            floor: figures.floor.map(|floor| floor.unmarked / floor.path),
        }
    }
}

fn ready_target(row: &Row, figures: &Figures) -> Option<f64> {
    match row.targets.ready? {
        Ready::Seconds(seconds) => Some(seconds),
        // Rounded to the tenth of a second that is shown.
        Ready::LikeFloor => figures.floor.map(|floor| (floor.ready * 10.0).round() / 10.0),
    }
}

/// Formats a row as text.
pub(super) fn text(row: &Row, figures: &Figures) -> String {
    let (ratios, targets) = (Ratios::of(row, figures), row.targets);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{row}: {} functions attached, {:.1} entered per packet; an untraced packet: {} instructions",
        number(figures.attached),
        figures.path,
        number(figures.untraced)
    );
    let _ = writeln!(
        text,
        "  {:<26}{:>9}{:>14}   against",
        "instructions added", "a packet", "a function"
    );
    let mut line = |name: &str, packet: f64, function: f64, against: &[String]| {
        let against = against.join(", ");
        let line = format!("  {name:<26}{:>9}{:>14}   {against}", number(packet), number(function));
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let old = row.old.map_or("", |old| old.name);
    let of_old = |value: f64, old_value: Option<f64>, target: Option<f64>| {
        old_value.map(|old_value| {
            let ratio = value / old_value;
            judged(&format!("{ratio:.2} of ipftrace2's {old}"), ratio, target, "")
        })
    };
    let mut against: Vec<String> = Vec::from_iter(of_old(ratios.unmarked, ratios.old_unmarked, targets.unmarked));
    against.extend(ratios.floor.map(|floor| {
        let ratio = ratios.unmarked / floor;
        judged(
            &format!("{ratio:.2} of the floor"),
            ratio,
            targets.unmarked_of_floor,
            "",
        )
    }));
    line("unmarked", figures.unmarked, ratios.unmarked, &against);
    let against = Vec::from_iter(of_old(ratios.marked, ratios.old_marked, targets.marked));
    line("marked", figures.marked, ratios.marked, &against);
    let against = Vec::from_iter(of_old(ratios.marked_in_kernel, ratios.old_marked, targets.marked));
    line(
        "marked, kernel's part",
        figures.marked_in_kernel,
        ratios.marked_in_kernel,
        &against,
    );
    for (name, value, against, target) in [
        (
            "not selected by a filter",
            figures.filtered,
            figures.unmarked,
            MOST_FILTERED,
        ),
        (
            "selected, kernel's part",
            figures.selected,
            figures.marked_in_kernel,
            MOST_SELECTED,
        ),
    ] {
        let ratio = value / against;
        let against = judged(&format!("{ratio:.2} of the mark's"), ratio, Some(target), "");
        line(name, value, value / figures.path, &[against]);
    }
    if let Some(floor) = figures.floor {
        line("the floor, unmarked", floor.unmarked, floor.unmarked / floor.path, &[]);
    }
    if let Some(old) = row.old {
        line(
            &format!("ipftrace2 {}", old.name),
            old.unmarked,
            old.unmarked / old.path,
            &["unmarked".into()],
        );
        line("", old.marked, old.marked / old.path, &["marked".into()]);
        if let Some(all) = old.without_loss {
            line("", all, all / old.path, &["marked, without loss".into()]);
        }
    }
    let _ = write!(
        text,
        "  ready after {}",
        judged(
            &format!("{:.2} s", figures.ready),
            figures.ready,
            ready_target(row, figures),
            " s"
        )
    );
    if let Some(floor) = figures.floor {
        let _ = write!(
            text,
            ", the floor's {} functions {:.2} s",
            number(floor.attached),
            floor.ready
        );
    }
    if let Some(old) = row.old {
        let _ = write!(text, ", ipftrace2 {} s", old.ready);
    }
    let more = figures.filter_ready - figures.ready;
    let _ = write!(
        text,
        "\n  ready with a filter after {:.2} s: {}",
        figures.filter_ready,
        judged(&format!("{more:.2} s more"), more, Some(MOST_FILTER_READY), " s")
    );
    let _ = write!(
        text,
        "\n  ended after {}",
        judged(&format!("{:.2} s", figures.stop), figures.stop, targets.stop, " s")
    );
    if let Some(floor) = figures.floor {
        let _ = write!(text, ", the floor {:.2} s", floor.stop);
    }
    let percent = figures.lost_percent();
    let _ = writeln!(
        text,
        "\n  lost {} of {} events, {:.1} per marked packet: {}",
        number(figures.lost),
        number(figures.seen + figures.lost),
        figures.events_per_packet,
        judged(&format!("{percent:.1} %"), percent, Some(MOST_LOST), " %")
    );
    let _ = writeln!(
        text,
        "  ipft -l takes {}",
        judged(
            &format!("{:.3} s", figures.list),
            figures.list,
            Some(LONGEST_LIST),
            " s"
        )
    );
    text
}

/// Formats all rows as one Markdown table.
pub(super) fn markdown(rows: &[(&Row, Figures)]) -> String {
    let mut text = String::from(
        "| kernel, backend, tracer | functions (on the path) | unmarked packet | per function | marked packet | per \
         function | not selected by a filter | selected, in the kernel | ready | end | lost \
         |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (row, figures) in rows {
        let ratios = Ratios::of(row, figures);
        let mut unmarked = number(ratios.unmarked);
        if let Some(old) = ratios.old_unmarked {
            let _ = write!(unmarked, ", {:.2} of old", ratios.unmarked / old);
        }
        if let Some(floor) = ratios.floor {
            let _ = write!(unmarked, ", {:.2} of floor", ratios.unmarked / floor);
        }
        let mut marked = number(ratios.marked);
        if let Some(old) = ratios.old_marked {
            let _ = write!(marked, ", {:.2} of old", ratios.marked / old);
        }
        let _ = writeln!(
            text,
            "| {row} | {} ({:.0}) | {} | {unmarked} | {} | {marked} | {}, {:.2} of mark | {}, {:.2} of mark | {:.1} s \
             | {:.1} s | {:.1} % |",
            number(figures.attached),
            figures.path,
            number(figures.unmarked),
            number(figures.marked),
            number(figures.filtered),
            figures.filtered / figures.unmarked,
            number(figures.selected),
            figures.selected / figures.marked_in_kernel,
            figures.ready,
            figures.stop,
            figures.lost_percent()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Floor;
    use crate::bench::rows::ROWS;

    const FIGURES: Figures = Figures {
        attached: 1944.0,
        path: 59.0,
        untraced: 8200.0,
        unmarked: 17_700.0,
        marked: 48_800.0,
        marked_in_kernel: 36_800.0,
        ready: 0.77,
        stop: 2.3,
        seen: 95_000.0,
        lost: 5_000.0,
        events_per_packet: 50.0,
        list: 0.6,
        filter_ready: 0.9,
        filtered: 18_000.0,
        selected: 46_000.0,
        floor: Some(Floor {
            attached: 1944.0,
            path: 59.0,
            unmarked: 15_340.0,
            ready: 0.48,
            stop: 0.05,
        }),
    };

    #[test]
    fn figures_are_compared_per_function() {
        let text = text(&ROWS[3], &FIGURES);
        assert!(
            text.contains("0.74 of ipftrace2's kprobe-multi (<= 0.72: OVER)"),
            "{text}"
        );
        assert!(text.contains("1.15 of the floor (<= 1.07: OVER)"), "{text}");
        assert!(text.contains("0.26 of ipftrace2's kprobe-multi (<= 0.4: ok)"), "{text}");
        assert!(text.contains("ready after 0.77 s (<= 1.8 s: ok)"), "{text}");
        assert!(
            text.contains("lost 5,000 of 100,000 events, 50.0 per marked packet: 5.0 % (<= 5 %: ok)"),
            "{text}"
        );
        assert!(text.contains("1.02 of the mark's (<= 1: OVER)"), "{text}");
        assert!(text.contains("1.25 of the mark's (<= 1.35: ok)"), "{text}");
        assert!(text.contains("after 0.90 s: 0.13 s more (<= 0.2 s: ok)"), "{text}");
        assert!(text.contains("ipft -l takes 0.600 s (<= 0.5 s: OVER)"), "{text}");
    }

    #[test]
    fn all_markdown_rows_have_the_same_columns() {
        let rows: Vec<_> = ROWS.iter().map(|row| (row, FIGURES)).collect();
        let table = markdown(&rows);
        let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(columns, vec![12; ROWS.len() + 2], "{table}");
    }

    #[test]
    fn large_numbers_are_grouped_by_thousands() {
        assert_eq!(number(0.4), "0");
        assert_eq!(number(999.6), "1,000");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(-1234.0), "-1,234");
    }
}
