//! Durations of one kind: percentiles, and the distribution over powers of two.

use hdrhistogram::Histogram;

/// Longer than any call; longer durations are counted as this. Powers of two share at most this many columns.
const LONGEST: u64 = 1 << 42;

/// Maximum columns of a one-line histogram.
const COLUMNS: u32 = 24;

/// Durations in nanoseconds. All values shown are accurate to 1 %; the maximum and the sum are exact.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Two digits and 32-bit counts, so that thousands of functions fit into a few megabytes.
    histogram: Option<Histogram<u32>>,
    count: u64,
    total: u64,
    max: u64,
}

impl Times {
    pub(crate) fn record(&mut self, duration: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(duration);
        self.max = self.max.max(duration);
        // The crate supports two digits, so this cannot fail; the histogram grows as needed.
        if self.histogram.is_none() {
            self.histogram = Histogram::new(2).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            let _ = histogram.record(duration.min(LONGEST));
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// Returns the given percentile; 0 without durations.
    pub(crate) fn percentile(&self, percentile: f64) -> u64 {
        let histogram = self.histogram.as_ref();
        // The end of the histogram's step may exceed the maximum.
        histogram.map_or(0, |histogram| histogram.value_at_percentile(percentile).min(self.max))
    }

    /// Counts the durations per power of two: 0 and 1, 2 and 3, 4 to 7 nanoseconds, ...
    fn powers(&self) -> Vec<u64> {
        let mut powers = vec![0; 64];
        for step in self.histogram.iter().flat_map(|histogram| histogram.iter_recorded()) {
            powers[power(step.value_iterated_to()) as usize] += step.count_since_last_iteration();
        }
        powers
    }
}

fn power(duration: u64) -> u32 {
    duration.max(1).ilog2()
}

/// A range of powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    first: u32,
    last: u32,
}

impl Span {
    /// Start of the range in nanoseconds.
    pub(crate) fn low(&self) -> u64 {
        if self.first == 0 { 0 } else { 1 << self.first }
    }

    /// End of the range in nanoseconds, exclusive.
    pub(crate) fn high(&self) -> u64 {
        1 << (self.last + 1)
    }
}

/// Returns the span of several histograms, at most `COLUMNS` powers of two; `None` if they are empty.
pub(crate) fn span<'a>(all: impl Iterator<Item = &'a Times>) -> Option<Span> {
    let mut span: Option<Span> = None;
    for times in all {
        let powers = times.powers();
        let Some(first) = powers.iter().position(|count| *count > 0) else {
            continue;
        };
        let last = powers.iter().rposition(|count| *count > 0).unwrap_or(first);
        let (first, last) = (first as u32, last as u32);
        let (least, most) = span.map_or((first, last), |span| (span.first, span.last));
        span = Some(Span {
            first: least.min(first),
            last: most.max(last),
        });
    }
    span.map(|span| Span {
        // Too many columns: merge the first ones, as short durations matter least.
        first: span.first.max((span.last + 1).saturating_sub(COLUMNS)),
        ..span
    })
}

/// Draws one line of blocks: one power of two each, its height the number of durations.
pub(crate) fn spark(times: &Times, span: &Span) -> String {
    let powers = times.powers();
    let joined: u64 = powers[..span.first as usize].iter().sum();
    let mut columns = powers[span.first as usize..=span.last as usize].to_vec();
    columns[0] += joined;
    let most = columns.iter().copied().max().unwrap_or_default().max(1);
    let block = |count: u64| match count {
        0 => ' ',
        _ => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][(u128::from(count) * 7 / u128::from(most)) as usize],
    };
    let line: String = columns.into_iter().map(block).collect();
    line.trim_end().to_owned()
}

/// Draws one line per power of two: start, count and a bar.
pub(crate) fn bars(times: &Times) -> Vec<(u64, u64, String)> {
    const WIDTH: u128 = 50;
    let Some(span) = span([times].into_iter()) else {
        return Vec::new();
    };
    let powers = times.powers();
    let most = powers.iter().copied().max().unwrap_or_default().max(1);
    let bar = |power: u32| {
        let count = powers[power as usize];
        let length = (u128::from(count) * WIDTH).div_ceil(u128::from(most)) as usize;
        (if power == 0 { 0 } else { 1 << power }, count, "#".repeat(length))
    };
    let first = powers.iter().position(|count| *count > 0).unwrap_or_default() as u32;
    (first..=span.last).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(durations: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        durations.into_iter().for_each(|duration| times.record(duration));
        times
    }

    #[test]
    fn percentiles_are_accurate_to_one_per_cent() {
        let times = times((1..=100_000).map(|value| value * 1000));
        for percentile in [50.0, 90.0, 99.0] {
            let exact = percentile * 1_000_000.0;
            let error = (times.percentile(percentile) as f64 - exact).abs() / exact;
            assert!(error <= 0.01, "{percentile}: {error}");
        }
        assert_eq!((times.max(), times.count()), (100_000_000, 100_000));
        assert_eq!(times.total(), 1000 * 100_000 * 100_001 / 2);
    }

    #[test]
    fn durations_of_any_length_are_counted() {
        let times = times([0, 1, 2, 3, 4, u64::MAX]);
        let powers = times.powers();
        assert_eq!((powers[0], powers[1], powers[2], powers[42]), (2, 2, 1, 1));
        assert_eq!(powers.iter().sum::<u64>(), times.count());
        assert_eq!((times.max(), times.total()), (u64::MAX, u64::MAX));
        assert_eq!(times.percentile(50.0), 2);
    }

    #[test]
    fn an_empty_histogram_is_not_drawn() {
        let times = times([]);
        assert_eq!((times.percentile(99.0), span([&times].into_iter())), (0, None));
        assert!(bars(&times).is_empty());
    }

    #[test]
    fn a_histogram_has_a_column_per_power_of_two() {
        let times = times([
            1000, 1000, 1000, 1000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 30_000,
        ]);
        let span = span([&times].into_iter()).unwrap();
        assert_eq!((span.low(), span.high()), (512, 32_768));
        assert_eq!(spark(&times, &span), "▄  █ ▁");
        let long = self::times([0, u64::MAX]);
        let span = self::span([&long, &times].into_iter()).unwrap();
        assert_eq!(spark(&long, &span).chars().count(), COLUMNS as usize);
        assert_eq!(spark(&times, &span), "█");
        let bars = bars(&times);
        assert_eq!(bars.len(), 6);
        assert_eq!((bars[0].0, bars[0].1, bars[0].2.len()), (512, 4, 25));
        assert_eq!((bars[1].1, bars[3].2.len(), bars[5].2.len()), (0, 50, 7));
    }
}
