//! Values of options: the accepted ones, and errors for others.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipft_core::expression::NamedExpression;
use ipft_core::field::UnknownField;
use ipft_core::filter::{DevicePattern, DevicePatternError, ThreadName, ThreadNameError};
use regex::Regex;

use super::number::{self, Show};
use super::{ExtensionFile, MOST_RECORD_BYTES, Shown, UsageError};

/// Marks and masks that can match a packet.
pub(super) const MARKS: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// `max_entries` of a BPF ring buffer is a 32-bit word and a power of two.
const LARGEST_RING: u64 = 1 << 31;
/// Far above the kernel's limit on locked memory: 256 MiB per CPU with pages of 4 KiB.
const MOST_PERF_PAGES: u64 = 1 << 16;

pub(super) fn mark(text: &str) -> Result<u32, String> {
    number::parse(text, MARKS, Show::Hex).map(|number| number as u32)
}

/// Refuses a mask that leaves nothing of the mark.
pub(super) fn check_mark(mark: Option<u32>, mask: u32) -> Result<(), UsageError> {
    let Some(mark) = mark.filter(|mark| mark & mask == 0) else {
        return Ok(());
    };
    Err(UsageError::new(format!(
        "--mark {mark:#x} and --mask {mask:#x} have no bit in common: this would trace every packet whose mark has none of \
         the mask's bits, unmarked ones among them\n\n  \
         tip: use a mask that covers the mark, or leave --mask out"
    )))
}

pub(super) fn extension(text: OsString) -> Result<ExtensionFile, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(OsStr::to_str) {
        Some("c") => Ok(ExtensionFile::Source(path)),
        Some("o") => Ok(ExtensionFile::Object(path)),
        Some("lua") => Ok(ExtensionFile::Script(path)),
        _ => Err(
            "its name does not say what it is; accepted: FILE.c (C source), FILE.o (BPF object), FILE.lua (script)"
                .into(),
        ),
    }
}

/// A list of built-in fields, or an expression, with or without a name.
pub(super) fn shown(text: &str) -> Result<Shown, String> {
    /// Names of fields are columns and keys.
    const LONGEST_NAME: usize = 60;
    // No list has one of these.
    if !text.contains(['=', '.', '(', '[', '"', '<', '>', '*', '/', '%', '&', '|']) {
        return text
            .parse()
            .map(Shown::List)
            .map_err(|error: UnknownField| error.to_string());
    }
    let is_name = |name: &&str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.'))
    };
    let named = text
        .split_once('=')
        .filter(|(_, rest)| !rest.starts_with('='))
        .map(|(name, rest)| (name.trim(), rest.trim()))
        .filter(|(name, _)| is_name(name));
    let (name, text) = match named {
        Some((name, expression)) => (name.to_owned(), expression),
        None => (text.split_whitespace().collect::<Vec<_>>().join(" "), text.trim()),
    };
    if name.len() > LONGEST_NAME {
        return Err(format!(
            "a field has a name of at most {LONGEST_NAME} characters; give the expression one: NAME=EXPR"
        ));
    }
    Ok(Shown::Expression(NamedExpression {
        name,
        text: text.to_owned(),
    }))
}

pub(super) fn device(text: &str) -> Result<(String, DevicePattern), DevicePatternError> {
    Ok((text.to_owned(), text.parse()?))
}

/// `1/N`
pub(super) fn sample(text: &str) -> Result<u32, String> {
    match text.split_once('/') {
        Some(("1", flows)) => number::parse(flows, 1..=u64::from(u32::MAX), Show::Decimal).map(|flows| flows as u32),
        _ => Err("expected 1/N, such as 1/100".to_owned()),
    }
}

pub(super) fn packets_per_second(text: &str) -> Result<u32, String> {
    number::parse(text, 1..=u64::from(u32::MAX), Show::Decimal).map(|number| number as u32)
}

pub(super) fn drops_per_second(text: &str) -> Result<u32, String> {
    number::parse(text, 0..=u64::from(u32::MAX), Show::Decimal).map(|number| number as u32)
}

/// The highest is `PID_MAX_LIMIT` in `include/linux/threads.h`.
pub(super) fn process(text: &str) -> Result<u32, String> {
    number::parse(text, 1..=4_194_304, Show::Decimal).map(|number| number as u32)
}

pub(super) fn thread(text: &str) -> Result<(String, ThreadName), ThreadNameError> {
    Ok((text.to_owned(), text.parse()?))
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    number::parse(text, 1..=u16::MAX as u64, Show::Decimal).map(|number| number as u16)
}

pub(super) fn sample_period(text: &str) -> Result<u64, String> {
    number::parse(text, 1..=u64::MAX, Show::Decimal)
}

pub(super) fn wakeup_events(text: &str) -> Result<u32, String> {
    number::parse(text, 1..=u32::MAX as u64, Show::Decimal).map(|number| number as u32)
}

pub(super) fn record_bytes(text: &str) -> Result<u32, String> {
    number::parse(text, 1..=u64::from(MOST_RECORD_BYTES), Show::Decimal).map(|number| number as u32)
}

/// Timestamps have nanoseconds, so a higher limit would be none.
pub(super) fn events_per_second(text: &str) -> Result<u32, String> {
    number::parse(text, 0..=1_000_000_000, Show::Decimal).map(|number| number as u32)
}

pub(super) fn perf_pages(text: &str) -> Result<u32, String> {
    let pages = number::parse(text, 1..=MOST_PERF_PAGES, Show::Decimal)?;
    if !pages.is_power_of_two() {
        return Err(format!("not a power of two; accepted: 1, 2, 4, ... {MOST_PERF_PAGES}"));
    }
    Ok(pages as u32)
}

pub(super) fn ring_size(text: &str) -> Result<u32, String> {
    /// A page of x86-64. Asking rustix for it reads the auxiliary vector, which ends the process under valgrind.
    const PAGE: u64 = 4096;
    match number::parse_size(text) {
        Some(size) if size.is_power_of_two() && (PAGE..=LARGEST_RING).contains(&size) => Ok(size as u32),
        Some(size) if (PAGE..=LARGEST_RING).contains(&size) => Err(format!(
            "not a power of two; the nearest are {} and {}",
            (size.next_power_of_two() / 2),
            size.next_power_of_two()
        )),
        Some(_) => Err(format!(
            "out of range; accepted: powers of two from {PAGE} (a page) to 2G"
        )),
        None => Err(format!(
            "not a size; accepted: powers of two from {PAGE} (a page) to 2G, with K, M or G if you like"
        )),
    }
}

pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    // The library's own message shows the pattern, a marker under the error, and the reason.
    Regex::new(text).map_err(|error| error.to_string())
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "not an IP address; accepted: for example 127.0.0.1, ::1, or 0.0.0.0 for all".into())
}
