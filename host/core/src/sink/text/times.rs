//! Writes the times of lines: relative to the packet's first event, to the line before, or of the wall clock.

use crate::text::*;

/// What times count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextTime {
    /// The packet's first event.
    #[default]
    Relative,
    /// The packet's line before.
    Delta,
    /// Midnight, on the wall clock of the local time zone.
    Absolute,
}

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Columns of a time in microseconds. Up to 99 seconds a line stays indented: packets may wait in a socket's queue.
const WIDTH: usize = 10;

/// Writes times of one trace.
#[derive(Debug)]
pub(super) struct Times {
    mode: TextTime,
    /// Nanoseconds to add to a timestamp for the time since 1970.
    clock_offset: i64,
    /// Nanoseconds from UTC to the local time zone, once it is known.
    zone: Option<i64>,
}

impl Times {
    /// Reads the local time zone, since no file can be opened once the trace has begun.
    pub(super) fn new(mode: TextTime) -> Self {
        if mode == TextTime::Absolute {
            zone(0);
        }
        Times {
            mode,
            clock_offset: 0,
            zone: None,
        }
    }

    /// A trace begins, with this offset of its clock.
    pub(super) fn start(&mut self, clock_offset: i64) {
        self.clock_offset = clock_offset;
    }

    /// Returns the columns of a time.
    pub(super) fn width(&self) -> usize {
        match self.mode {
            TextTime::Relative | TextTime::Delta => WIDTH + 3,
            TextTime::Absolute => "12:00:00.000000Z".len(),
        }
    }

    /// Appends the time of an event. `unit`: with the unit behind it, otherwise with as many spaces.
    #[inline]
    pub(super) fn push(&mut self, out: &mut Vec<u8>, timestamp: u64, first: u64, before: u64, unit: bool) {
        let since = match self.mode {
            TextTime::Relative => first,
            TextTime::Delta => before,
            TextTime::Absolute => return self.push_absolute(out, timestamp),
        };
        // Events of several CPUs may come a little out of order.
        let (negative, duration) = match timestamp.checked_sub(since) {
            Some(duration) => (false, duration),
            None => (true, since - timestamp),
        };
        push_micros(out, duration, negative, WIDTH);
        out.extend_from_slice(if unit { b" us" } else { b"   " });
    }

    fn push_absolute(&mut self, out: &mut Vec<u8>, timestamp: u64) {
        let wall = i64::try_from(timestamp)
            .unwrap_or(i64::MAX)
            .saturating_add(self.clock_offset);
        let zone = *self.zone.get_or_insert_with(|| zone(wall.div_euclid(SECOND)) * SECOND);
        let time = wall.saturating_add(zone).rem_euclid(DAY);
        let micros = (time / 1000 % 1_000_000) as u32;
        let seconds = time / SECOND;
        let two = |value: i64| [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
        for (value, behind) in [(seconds / 3600, b':'), (seconds / 60 % 60, b':'), (seconds % 60, b'.')] {
            out.extend_from_slice(&two(value));
            out.push(behind);
        }
        out.extend_from_slice(&three_digits(micros / 1000));
        out.extend_from_slice(&three_digits(micros % 1000));
        out.push(if zone == 0 { b'Z' } else { b' ' });
    }
}

/// Microseconds with one decimal, in at least so many columns.
#[inline]
pub(super) fn push_micros(out: &mut Vec<u8>, nanoseconds: u64, negative: bool, width: usize) {
    let start = out.len();
    push_spaces(out, width);
    if negative {
        out.push(b'-');
    }
    push_unsigned(out, nanoseconds / 1000);
    out.push(b'.');
    out.push(b'0' + (nanoseconds / 100 % 10) as u8);
    // The text is behind the columns that it belongs into.
    let length = out.len() - start - width;
    let skip = length.min(width);
    out.copy_within(start + skip.., start);
    out.truncate(out.len() - skip);
}

/// Returns the seconds from UTC to local time at this moment; 0 if they are not known.
fn zone(seconds: i64) -> i64 {
    let time: libc::time_t = seconds;
    // SAFETY: all fields of the struct are numbers and a pointer that is not read here, for which zeros are valid.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to variables of the right types, and the result is the second, or null.
    let known = unsafe { !libc::localtime_r(&raw const time, &raw mut broken_down).is_null() };
    if known { broken_down.tm_gmtoff } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(nanoseconds: u64, negative: bool) -> String {
        let mut out = b"x".to_vec();
        push_micros(&mut out, nanoseconds, negative, WIDTH);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn microseconds_fill_their_column_or_exceed_it() {
        assert_eq!(micros(0, false), "x       0.0");
        assert_eq!(micros(12_199, false), "x      12.1");
        assert_eq!(micros(999, true), "x      -0.9");
        assert_eq!(micros(12_345_678_999, false), "x12345678.9");
        assert_eq!(micros(u64::MAX, false), "x18446744073709551.6");
    }

    #[test]
    fn absolute_times_are_of_the_day_and_mark_utc() {
        let mut times = Times::new(TextTime::Absolute);
        times.start(1_767_225_600 * SECOND + 123_456_789);
        times.zone = Some(0);
        let mut shown = |timestamp, zone| {
            times.zone = Some(zone);
            let mut out = Vec::new();
            times.push(&mut out, timestamp, 0, 0, true);
            assert_eq!(out.len(), times.width());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(0, 0), "00:00:00.123456Z");
        assert_eq!(shown(3_661 * SECOND as u64, 0), "01:01:01.123456Z");
        assert_eq!(shown(0, -3600 * SECOND), "23:00:00.123456 ");
        shown(u64::MAX, 0);
    }
}
