//! Parses the figures of one row from the guest's output: lines of a name and numbers (`guest/bench.sh`).

use std::collections::HashMap;

use anyhow::{Context, Result};

/// Measurements of one row. In that guest, an instruction takes a nanosecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Number of functions attached.
    pub(super) attached: f64,
    /// How often they are entered per packet, from sending to delivery.
    pub(super) path: f64,
    /// Instructions per packet without tracing, for comparison.
    pub(super) untraced: f64,
    /// Instructions that tracing adds to an unmarked packet.
    pub(super) unmarked: f64,
    /// Instructions that tracing adds to a marked packet, including ipft's processing of its events: there is one CPU.
    pub(super) marked: f64,
    /// The kernel's part of that, measured while ipft does not run.
    pub(super) marked_in_kernel: f64,
    /// Seconds from start to readiness.
    pub(super) ready: f64,
    /// Seconds from SIGINT to exit, with all events printed.
    pub(super) stop: f64,
    /// Events of marked packets: shown, lost, and per packet.
    pub(super) seen: f64,
    pub(super) lost: f64,
    pub(super) events_per_packet: f64,
    /// Seconds for `ipft -l`.
    pub(super) list: f64,
    /// Seconds from start to readiness with a filter.
    pub(super) filter_ready: f64,
    /// Instructions that tracing adds to a packet that a filter does not select.
    pub(super) filtered: f64,
    /// Those that it adds to one that a filter selects, with the default fields: the kernel's part.
    pub(super) selected: f64,
    /// Empty programs, if they were measured.
    pub(super) floor: Option<Floor>,
}

/// Cost of empty programs, attached in the same way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) attached: f64,
    pub(super) path: f64,
    pub(super) unmarked: f64,
    pub(super) ready: f64,
    pub(super) stop: f64,
}

impl Figures {
    pub(super) fn lost_percent(&self) -> f64 {
        100.0 * self.lost / (self.seen + self.lost).max(1.0)
    }
}

/// Lines by name, each with its numbers.
struct Lines<'a>(HashMap<&'a str, Vec<Vec<f64>>>);

impl<'a> Lines<'a> {
    fn parse(text: &'a str) -> Result<Lines<'a>> {
        let mut lines: HashMap<&str, Vec<Vec<f64>>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            let numbers: Result<Vec<f64>, _> = words.map(str::parse).collect();
            let numbers = numbers.with_context(|| format!("the guest printed '{line}', which is not a figure"))?;
            lines.entry(name).or_default().push(numbers);
        }
        Ok(Lines(lines))
    }

    /// Returns the median of `of` over the lines with this name.
    fn median(&self, name: &str, of: impl Fn(&[f64]) -> Option<f64>) -> Result<f64> {
        let lines = self.0.get(name).map_or(&[][..], Vec::as_slice);
        let values: Option<Vec<f64>> = lines.iter().map(|numbers| of(numbers)).collect();
        let mut values = values.unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values
            .get(values.len() / 2)
            .copied()
            .with_context(|| format!("the guest printed no figure '{name}'"))
    }

    fn number(&self, name: &str) -> Result<f64> {
        self.median(name, |numbers| numbers.first().copied())
    }

    fn seconds(&self, name: &str) -> Result<f64> {
        Ok(self.number(name)? / 1e6)
    }

    /// Divides the sum of a line by its number of packets.
    fn per_packet(&self, name: &str) -> Result<f64> {
        self.median(name, |numbers| match *numbers {
            [packets, sum] if packets > 0.0 => Some(sum / packets),
            _ => None,
        })
    }
}

/// Parses the guest's output.
pub(super) fn parse(text: &str) -> Result<Figures> {
    let lines = Lines::parse(text)?;
    let untraced = lines.per_packet("untraced")?;
    let untraced_marked = lines.per_packet("untraced-marked")?;
    let (seen, lost) = (lines.number("seen")?, lines.number("lost")?);
    let floor = if lines.0.contains_key("floor") {
        Some(Floor {
            attached: lines.number("floor-attached")?,
            path: lines.per_packet("floor-path")?,
            unmarked: lines.per_packet("floor")? - untraced,
            ready: lines.seconds("floor-ready")?,
            stop: lines.seconds("floor-stop")?,
        })
    } else {
        None
    };
    Ok(Figures {
        attached: lines.number("attached")?,
        path: lines.per_packet("path")?,
        untraced,
        unmarked: lines.per_packet("unmarked")? - untraced,
        marked: lines.per_packet("marked")? - untraced_marked,
        marked_in_kernel: lines.per_packet("unread")? - untraced_marked,
        ready: lines.seconds("ready")?,
        stop: lines.seconds("stop")?,
        seen,
        lost,
        events_per_packet: (seen + lost) / lines.number("marked-packets")?,
        list: lines.seconds("list")?,
        filter_ready: lines.seconds("filter-ready")?,
        filtered: lines.per_packet("filtered")? - untraced,
        selected: lines.per_packet("selected")? - untraced,
        floor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
untraced 1000 8200000\nuntraced 1000 8100000\nuntraced 1000 9900000
untraced-marked 1000 8700000
list 460000
ready 770000\nunmarked 1000 26200000\npath 500 29500
marked 3000 172000000\nmarked 3000 170100000\nmarked 3000 180000000
unread 500 22700000\nstop 2300000\nmarked-packets 9010\nseen 450000\nlost 500\nattached 1944
filter-ready 970000\nfiltered 1000 25700000\nselected 500 30200000\n";

    #[test]
    fn figures_are_medians_less_the_untraced_cost() {
        let figures = parse(PRINTED).unwrap();
        assert_eq!(figures.untraced, 8200.0);
        assert_eq!(figures.unmarked, 18_000.0);
        assert_eq!(figures.marked.round(), 48_633.0);
        assert_eq!(figures.marked_in_kernel, 36_700.0);
        assert_eq!(figures.path, 59.0);
        assert_eq!(figures.events_per_packet, 50.0);
        assert_eq!(figures.stop, 2.3);
        assert_eq!(
            (figures.filter_ready, figures.filtered, figures.selected),
            (0.97, 17_500.0, 52_200.0)
        );
        assert!(figures.floor.is_none());
    }

    #[test]
    fn the_floor_is_read_when_it_was_measured() {
        let printed = format!(
            "{PRINTED}floor 1000 24000000\nfloor-attached 1944\nfloor-path 500 29500\nfloor-ready 480000\nfloor-stop 50000\n"
        );
        let floor = parse(&printed).unwrap().floor.unwrap();
        assert_eq!((floor.unmarked, floor.ready), (15_800.0, 0.48));
    }

    #[test]
    fn the_error_names_a_missing_or_invalid_figure() {
        let error = parse(&PRINTED.replace("ready", "later")).unwrap_err().to_string();
        assert!(error.contains("'ready'"), "{error}");
        let error = parse(&PRINTED.replace("seen 450000", "seen many")).unwrap_err();
        assert!(format!("{error:#}").contains("'seen many'"), "{error:#}");
    }
}
