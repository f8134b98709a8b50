//! Converts fields and their values from JSON to the layout and the bytes of a payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value as Json;

use super::line::{BitsLine, FieldLine, MemberLine};
use super::symbols::{Symbols, hexadecimal};
use crate::trace::{Field, Format, Kind, Member};

/// Returns the field that a line describes.
pub(super) fn field(line: FieldLine) -> Result<Field, String> {
    let bits = line.bits.unwrap_or(BitsLine { offset: 0, width: 0 });
    let member = |member: MemberLine| {
        let value = &member.value;
        let value = value.as_u64().or_else(|| value.as_i64().map(|value| value as u64));
        Ok(Member {
            value: value.ok_or_else(|| format!("the value {} of a member", member.value))?,
            name: member.name,
        })
    };
    let members: Result<Vec<Member>, String> = line.members.into_iter().map(member).collect();
    Ok(Field {
        name: line.name,
        offset: line.offset,
        size: line.size,
        bit_offset: bits.offset,
        bit_width: bits.width,
        kind: Kind::named(&line.kind),
        format: Format::named(&line.format),
        members: members?,
    })
}

/// Returns the bytes of a JSON value in memory order; a number has eight bytes.
pub(super) fn bytes_of(field: &Field, value: &Json, symbols: &mut Symbols) -> Option<Vec<u8>> {
    let named = |name: &str| field.members.iter().find(|member| member.name == name);
    let number = match (field.format, field.kind, value) {
        (Format::Be16 | Format::Be32, _, _) => {
            let bytes = value.as_u64()?.to_be_bytes();
            return bytes
                .get(8_usize.checked_sub(field.size as usize)?..)
                .map(<[u8]>::to_vec);
        }
        (Format::Ipv4, _, _) => return Some(value.as_str()?.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        (Format::Ipv6, _, _) => return Some(value.as_str()?.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        (Format::Ip, _, _) => {
            let octets = match value.as_str()?.parse().ok()? {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            return Some(octets.to_vec());
        }
        (Format::Mac, _, _) => return hex_bytes(&value.as_str()?.replace(':', "")),
        (Format::Plain, Kind::Bytes, _) | (Format::Hex, Kind::Bytes | Kind::Char, _) => {
            return hex_bytes(value.as_str()?);
        }
        (Format::Plain, Kind::Char, _) => return Some(text_bytes(value.as_str()?)),
        (Format::Plain, Kind::Bool, _) => value.as_bool()?.into(),
        (Format::Enum, _, Json::String(name)) => named(name)?.value,
        (Format::Flags, _, Json::Array(names)) => names.iter().try_fold(0, |flags, name| {
            let name = name.as_str()?;
            let value = named(name).map(|member| member.value);
            Some(flags | value.or_else(|| hexadecimal(name))?)
        })?,
        (Format::Symbol, _, Json::String(text)) => symbols.address(text)?,
        (_, _, Json::String(text)) => hexadecimal(text)?,
        (_, _, value) => value.as_u64().or_else(|| value.as_i64().map(|value| value as u64))?,
    };
    Some(number.to_le_bytes().to_vec())
}

/// Returns text, with replacement characters as invalid bytes.
pub(super) fn text_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for (index, part) in text.split('\u{fffd}').enumerate() {
        if index > 0 {
            bytes.push(0xff);
        }
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let digit = |index: usize| char::from(*pair.get(index)?).to_digit(16);
            Some((digit(0)? << 4 | digit(1)?) as u8)
        })
        .collect()
}

/// Writes a field's bytes into the payload.
pub(super) fn put(field: &Field, bytes: &[u8], payload: &mut [u8]) -> Option<()> {
    let start = field.offset as usize;
    let place = payload.get_mut(start..start.checked_add(field.size as usize)?)?;
    if field.bit_width == 0 {
        // Drops the upper bytes of a number.
        let length = bytes.len().min(place.len());
        place[..length].copy_from_slice(&bytes[..length]);
        return Some(());
    }
    if place.len() > 9 || field.bit_offset >= 8 || field.bit_width > 64 {
        return None;
    }
    let value = u64::from_le_bytes(bytes.try_into().ok()?) & field.mask();
    let shifted = u128::from(value) << field.bit_offset;
    for (byte, bits) in place.iter_mut().zip(shifted.to_le_bytes()) {
        *byte |= bits;
    }
    Some(())
}
