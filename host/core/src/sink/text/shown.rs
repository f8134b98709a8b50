//! Which fields of a packet were shown, and what has changed since.
//!
//! Built-in fields are found by their names, and a trace may have any of them. A field that a function could not see
//! (no network header, no device) is no change.

use super::super::SinkError;
use super::super::fields::{Fields, Style};
use super::super::tuple::{FlowKey, Tuple, TupleFields, builtin};
use super::ct::CtFields;
use super::route::RouteFields;
use crate::event::{Payload, Schema};
use crate::text::*;

/// Bytes of a payload's tail that are remembered to find out which of its values changed.
const TAIL: usize = 256;
/// Bytes of a device's name.
const DEVICE: usize = 16;

/// What the payloads of a trace have.
#[derive(Debug, Default)]
pub(super) struct Known {
    fields: Fields,
    tuple: Option<TupleFields>,
    len: Option<usize>,
    mark: Option<usize>,
    iface: Option<usize>,
    netns: Option<usize>,
    ct: Option<CtFields>,
    route: Option<RouteFields>,
    /// The other fields: where in the prefix they are, and their index.
    others: Vec<(std::ops::Range<usize>, usize)>,
    /// End of the last of the others: they are remembered with what lies before them, as a schema may name bytes many
    /// times.
    size: usize,
    tail: bool,
}

/// The fields of a packet as they were shown last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// `None` if no function has seen a network header yet.
    tuple: Option<Tuple>,
    len: Option<u32>,
    mark: u32,
    iface: [u8; DEVICE],
    netns: u32,
    /// The other fields are in the packet's bytes.
    others: bool,
}

impl Known {
    pub(super) fn new(schema: &Schema) -> Result<Self, SinkError> {
        let mut known = Known {
            fields: Fields::new(schema, Style::Words)?,
            tuple: TupleFields::new(schema),
            len: builtin(schema, "len", 4),
            mark: builtin(schema, "mark", 4),
            iface: builtin(schema, "iface", DEVICE as u32),
            netns: builtin(schema, "netns", 4),
            ct: CtFields::new(schema),
            route: RouteFields::new(schema),
            others: Vec::new(),
            size: 0,
            tail: schema.tail,
        };
        for (index, field) in schema.fields.iter().enumerate() {
            let special = match field.name.as_str() {
                "len" => known.len,
                "mark" => known.mark,
                "iface" => known.iface,
                "netns" => known.netns,
                // The name says as much, and stays the same.
                "ifindex" if known.iface.is_some() => builtin(schema, "ifindex", 4),
                _ => None,
            };
            let start = field.offset as usize;
            let is_known = known.tuple.is_some_and(|tuple| tuple.has(field, schema))
                || known.ct.as_ref().is_some_and(|ct| ct.group.has(field, schema))
                || known.route.as_ref().is_some_and(|route| route.group.has(field, schema));
            if special == Some(start) || is_known {
                continue;
            }
            let end = start + field.size as usize;
            known.size = known.size.max(end);
            known.others.push((start..end, index));
        }
        Ok(known)
    }

    /// Returns the bytes that each packet needs to remember its connection, its route and its other fields.
    pub(super) fn bytes(&self) -> usize {
        let ct = self.ct.as_ref().map_or(0, |ct| ct.group.bytes());
        let route = self.route.as_ref().map_or(0, |route| route.group.bytes());
        ct + route + self.size + if self.tail { TAIL } else { 0 }
    }

    /// Takes the names that a batch brings.
    pub(super) fn learn(&mut self, names: &[String]) {
        self.fields.learn(names);
    }

    /// Returns the parts of a payload, if it has any.
    #[inline]
    pub(super) fn split<'a>(&self, payload: &'a [u8]) -> Option<Payload<'a>> {
        if payload.is_empty() {
            return None;
        }
        self.fields.split(payload)
    }

    /// Appends the packet's name: its addresses as in the first payload that has them, and its length as in the first.
    /// What is in the name counts as shown. Nothing is appended if there are no addresses.
    pub(super) fn push_name<'a>(
        &self,
        out: &mut Vec<u8>,
        shown: &mut Shown,
        payloads: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let mut named = false;
        for payload in payloads {
            let Some(Payload { prefix, .. }) = self.split(payload) else {
                continue;
            };
            if shown.len.is_none() {
                shown.len = number(prefix, self.len);
            }
            if shown.netns == 0 {
                shown.netns = number(prefix, self.netns).unwrap_or(0);
            }
            if let Some(fields) = &self.tuple
                && let Some(tuple) = fields.read(prefix)
            {
                fields.push(out, &tuple, &self.fields, prefix);
                shown.tuple = Some(tuple);
                named = true;
                break;
            }
            if self.tuple.is_none() {
                break;
            }
        }
        named
    }

    /// Returns whether payloads have addresses.
    pub(super) fn has_flows(&self) -> bool {
        self.tuple.is_some()
    }

    /// Returns the flow of a packet with this payload, and whether its ports may still come; `None` if the function has
    /// seen no network header.
    #[inline]
    pub(super) fn flow(&self, payload: &[u8]) -> Option<(FlowKey, bool)> {
        let tuple = self.tuple.as_ref()?.read(self.split(payload)?.prefix)?;
        Some((tuple.flow(), tuple.lacks_ports()))
    }

    /// Appends the words that name a flow.
    pub(super) fn push_flow(&self, out: &mut Vec<u8>, flow: &FlowKey) {
        if let Some(tuple) = &self.tuple {
            tuple.push_flow(out, flow, &self.fields);
        }
    }

    /// Returns the packet's length, if the payload has it.
    #[inline]
    pub(super) fn len(&self, payload: &[u8]) -> Option<u32> {
        number(self.split(payload)?.prefix, self.len)
    }

    /// Appends `, 84 B`, if the length is known. The heading's words begin at `start`, if there are any yet.
    pub(super) fn push_len(&self, out: &mut Vec<u8>, shown: &Shown, start: usize) {
        if let Some(len) = shown.len {
            if out.len() > start {
                out.extend_from_slice(b", ");
            }
            push_unsigned(out, u64::from(len));
            out.extend_from_slice(b" B");
        }
    }

    /// Appends `   netns 4026531840`, if it is known.
    pub(super) fn push_netns(&self, out: &mut Vec<u8>, shown: &Shown) {
        if shown.netns != 0 {
            out.extend_from_slice(b"   netns ");
            push_unsigned(out, u64::from(shown.netns));
        }
    }

    /// Appends ` on eth1`, if the packet's device is known.
    pub(super) fn push_device(&self, out: &mut Vec<u8>, shown: &Shown) {
        if shown.iface[0] != 0 {
            out.extend_from_slice(b" on ");
            push_visible_bytes(out, shown.iface.split(|byte| *byte == 0).next().unwrap_or_default());
        }
    }

    /// Appends what has changed, each change after a call of `next`. `bytes` are the packet's own, of the length
    /// [`Known::bytes`].
    pub(super) fn push_changes(
        &self,
        out: &mut Vec<u8>,
        shown: &mut Shown,
        bytes: &mut [u8],
        payload: Payload<'_>,
        mut next: impl FnMut(&mut Vec<u8>),
    ) {
        let prefix = payload.prefix;
        if let Some(at) = self.iface
            && let Some(iface) = prefix.get(at..).and_then(<[u8]>::first_chunk::<DEVICE>)
            && iface[0] != 0
            && *iface != shown.iface
        {
            shown.iface = *iface;
            next(out);
            out.extend_from_slice(b"dev ");
            push_visible_bytes(out, iface.split(|byte| *byte == 0).next().unwrap_or_default());
        }
        if let Some(netns) = number(prefix, self.netns).filter(|netns| *netns != 0 && *netns != shown.netns) {
            let old = std::mem::replace(&mut shown.netns, netns);
            next(out);
            out.extend_from_slice(b"netns ");
            if old != 0 {
                push_unsigned(out, u64::from(old));
                out.extend_from_slice(b" > ");
            }
            push_unsigned(out, u64::from(netns));
        }
        if let Some(mark) = number(prefix, self.mark).filter(|mark| *mark != shown.mark) {
            let old = std::mem::replace(&mut shown.mark, mark);
            next(out);
            out.extend_from_slice(b"mark ");
            if old != 0 {
                push_mark(out, old);
                out.extend_from_slice(b" > ");
            }
            push_mark(out, mark);
        }
        if let Some(fields) = &self.tuple
            && let Some(mut tuple) = fields.read(prefix)
        {
            let named = match shown.tuple {
                Some(before) => {
                    tuple.complete(&before);
                    tuple == before || tuple.push_changes(out, &before, &mut next)
                }
                None => false,
            };
            shown.tuple = Some(tuple);
            if !named {
                next(out);
                out.extend_from_slice(b"now ");
                fields.push(out, &tuple, &self.fields, prefix);
            }
        }
        if let Some(len) = number(prefix, self.len).filter(|len| Some(*len) != shown.len) {
            let old = shown.len.replace(len);
            next(out);
            out.extend_from_slice(b"len ");
            if let Some(old) = old {
                push_unsigned(out, u64::from(old));
                out.extend_from_slice(b" > ");
            }
            push_unsigned(out, u64::from(len));
        }
        let ct = self.ct.as_ref().map_or(0, |ct| ct.group.bytes());
        let Some((connection, bytes)) = bytes.split_at_mut_checked(ct) else {
            return;
        };
        if let Some(ct) = &self.ct {
            ct.push_changes(out, connection, prefix, &self.fields, &mut next);
        }
        let route = self.route.as_ref().map_or(0, |route| route.group.bytes());
        let Some((before, bytes)) = bytes.split_at_mut_checked(route) else {
            return;
        };
        if let Some(route) = &self.route {
            route.push_changes(out, before, prefix, &self.fields, &mut next);
        }
        if !self.others.is_empty() || self.tail {
            self.push_others(out, shown, bytes, payload, next);
        }
    }

    /// Appends the fields of extensions and scripts that have changed.
    fn push_others(
        &self,
        out: &mut Vec<u8>,
        shown: &mut Shown,
        bytes: &mut [u8],
        payload: Payload<'_>,
        mut next: impl FnMut(&mut Vec<u8>),
    ) {
        let Some((values, tail)) = bytes.split_at_mut_checked(self.size) else {
            return;
        };
        for (range, index) in &self.others {
            if !shown.others || values.get(range.clone()) != payload.prefix.get(range.clone()) {
                next(out);
                self.fields.push_one(out, *index, payload.prefix);
            }
        }
        if let Some(new) = payload.prefix.get(..values.len()) {
            values.copy_from_slice(new);
        }
        if self.tail {
            let before = match shown.others {
                true => remembered(tail),
                false => &[],
            };
            for (name, value) in payload.values() {
                let mut old = crate::event::Values::new(before);
                if !old.any(|(other, old)| other == name && same(&old, &value)) {
                    next(out);
                    self.fields.push_tagged(out, name, value);
                }
            }
            remember(tail, payload.tail);
        }
        shown.others = true;
    }
}

/// Equal, where what is no number equals itself.
fn same(one: &crate::event::Value<'_>, other: &crate::event::Value<'_>) -> bool {
    use crate::event::Value::Float;
    match (one, other) {
        (Float(one), Float(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

/// The tail that was remembered.
fn remembered(bytes: &[u8]) -> &[u8] {
    match bytes {
        [a, b, tail @ ..] => tail
            .get(..usize::from(u16::from_ne_bytes([*a, *b])))
            .unwrap_or_default(),
        _ => &[],
    }
}

/// Remembers a tail, as far as there is room: values that are cut are shown again.
fn remember(bytes: &mut [u8], tail: &[u8]) {
    if let [a, b, room @ ..] = bytes {
        let length = tail.len().min(room.len());
        [*a, *b] = (length as u16).to_ne_bytes();
        room[..length].copy_from_slice(&tail[..length]);
    }
}

fn number(prefix: &[u8], at: Option<usize>) -> Option<u32> {
    let bytes = prefix.get(at?..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn push_mark(out: &mut Vec<u8>, mark: u32) {
    match mark {
        0 => out.push(b'0'),
        mark => push_hex(out, u64::from(mark)),
    }
}
