//! Formats numbers and padding. Imports nothing of the crate.

/// `0x` and 16 digits, so that identities and addresses of one output are all equally wide.
#[inline]
pub(crate) fn push_hex_wide(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&hex_wide(value));
}

/// `0x` and 16 digits.
#[inline]
pub(crate) fn hex_wide(value: u64) -> [u8; 18] {
    let mut digits = *b"0x0000000000000000";
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        digits[2 + 2 * index..4 + 2 * index].copy_from_slice(&HEX_PAIRS[byte as usize]);
    }
    digits
}

/// Formats a number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats nanoseconds in few characters.
pub fn short_time(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000_000 => format!("{:.1} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.1} s", value / 1e9),
    }
}

/// `0x` and as many digits as the value needs.
#[inline]
pub(crate) fn push_hex(out: &mut Vec<u8>, value: u64) {
    let digits = hex_wide(value);
    let leading = (value.leading_zeros() / 4).min(15) as usize;
    out.extend_from_slice(b"0x");
    out.extend_from_slice(&digits[2 + leading..]);
}

/// Two hexadecimal digits.
#[inline]
pub(crate) fn push_hex_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&HEX_PAIRS[byte as usize]);
}

/// Decimal.
#[inline(always)]
pub(crate) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    if value < 10_000 {
        let (digits, length) = up_to_four_digits(value as u32);
        let end = out.len() + length;
        out.extend_from_slice(&digits);
        return out.truncate(end);
    }
    push_long(out, value);
}

/// Separate, so that short numbers do not pay for its stack frame.
#[inline(never)]
fn push_long(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Decimal, with a minus sign if it needs one.
#[inline]
pub(crate) fn push_signed(out: &mut Vec<u8>, value: i64) {
    match u64::try_from(value) {
        Ok(value) => push_unsigned(out, value),
        Err(_) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// Decimal with at least three digits.
#[inline]
pub(crate) fn push_three_digits(out: &mut Vec<u8>, value: u64) {
    match value {
        0..1000 => out.extend_from_slice(&three_digits(value as u32)),
        _ => push_unsigned(out, value),
    }
}

/// The digits of a number below 1,000, zeros in front.
#[inline]
pub(crate) fn three_digits(value: u32) -> [u8; 3] {
    let [digits @ .., _] = SHORT[value as usize & 1023];
    digits
}

/// The digits of a number below 10,000 without zeros in front, and how many there are.
#[inline]
pub(crate) fn up_to_four_digits(value: u32) -> ([u8; 4], usize) {
    if value >= 1000 {
        return (four_digits(value), 4);
    }
    let short = SHORT[value as usize & 1023];
    let length = usize::from(short[3]);
    // They move to the front as one word.
    let digits = u32::from_le_bytes(short) >> (24 - 8 * length);
    (digits.to_le_bytes(), length)
}

/// As many numbers have eight digits.
pub(super) const LOW: u64 = 100_000_000;

/// Nine digits of a number below 1,000,000,000.
pub(crate) fn push_nine_digits(out: &mut Vec<u8>, value: u32) {
    out.push(b'0' + (value / LOW as u32 % 10) as u8);
    out.extend_from_slice(&eight_digits(value % LOW as u32));
}

/// The digits of a number below 10,000, made as [`eight_digits`] makes them.
#[inline]
fn four_digits(value: u32) -> [u8; 4] {
    let upper = (value * 10_486) >> 20;
    let pairs = upper | (value - 100 * upper) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f;
    let digits = tens | (pairs - 10 * tens) << 8;
    (digits | 0x3030_3030).to_le_bytes()
}

/// The digits of a number below 100,000,000.
///
/// All at once, in the lanes of one word: it is cut in halves, each half by 100, each quarter by 10. Dividing by 100 is
/// multiplying by 10486 / 2^20, by 10 multiplying by 103 / 2^10; both are exact for numbers of these sizes.
#[inline]
pub(super) fn eight_digits(value: u32) -> [u8; 8] {
    let halves = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let upper = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = upper | (halves - 100 * upper) << 16;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (quarters - 10 * tens) << 8;
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Spaces.
#[inline]
pub(crate) fn push_spaces(out: &mut Vec<u8>, count: usize) {
    let end = out.len() + count;
    if count <= 64 {
        // A copy whose length the compiler knows costs less than a call.
        out.extend_from_slice(&[b' '; 64]);
    }
    out.resize(end, b' ');
}

/// The two hexadecimal digits of every byte.
const HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The three decimal digits of every number below 1000, and how many it has without zeros in front. It is longer so that
/// a mask, and not a check, keeps an index inside.
const SHORT: [[u8; 4]; 1024] = {
    let mut short = [[b'0', b'0', b'0', 1]; 1024];
    let mut number = 0;
    while number < 1000 {
        let digits = [number / 100, number / 10 % 10, number % 10];
        let length = 1 + (number >= 10) as u8 + (number >= 100) as u8;
        short[number] = [
            b'0' + digits[0] as u8,
            b'0' + digits[1] as u8,
            b'0' + digits[2] as u8,
            length,
        ];
        number += 1;
    }
    short
};

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_formatted_like_the_standard_library() {
        for value in [0, 1, 9, 10, 0xf, 0x10, 0xff, 0x1234_5678_9abc_def0, u64::MAX] {
            assert_eq!(text(|out| push_hex_wide(out, value)), format!("{value:#018x}"));
            assert_eq!(text(|out| push_hex(out, value)), format!("{value:#x}"));
            assert_eq!(text(|out| push_unsigned(out, value)), format!("{value}"));
            assert_eq!(text(|out| push_signed(out, value as i64)), format!("{}", value as i64));
            assert_eq!(text(|out| push_three_digits(out, value)), format!("{value:03}"));
        }
        for value in 0..20_000 {
            assert_eq!(text(|out| push_unsigned(out, value)), format!("{value}"));
            assert_eq!(text(|out| push_three_digits(out, value)), format!("{value:03}"));
            assert_eq!(text(|out| push_nine_digits(out, value as u32)), format!("{value:09}"));
        }
        assert_eq!(text(|out| push_nine_digits(out, 123_456_789)), "123456789");
    }

    #[test]
    fn eight_digits_are_right_for_every_half() {
        // The halves do not influence each other, so each is tried with all its values beside the bounds of the other.
        for half in 0..10_000 {
            for number in [half, half + 99_990_000, half * 10_000, half * 10_000 + 9999] {
                assert_eq!(eight_digits(number), format!("{number:08}").as_bytes());
            }
        }
    }

    #[test]
    fn spaces_have_the_requested_number() {
        for count in [0, 1, 63, 64, 65, 1000] {
            assert_eq!(text(|out| push_spaces(out, count)), " ".repeat(count));
        }
    }
}
