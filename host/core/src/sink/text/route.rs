//! A packet's route in words, from the built-in fields of `--show route`, which are found by their names.
//!
//! ```text
//! route: via 10.0.0.1 on eth1
//! route: on eth1
//! route: local
//! route: no_route
//! ```

use super::super::fields::Fields;
use super::super::tuple::{array, push_address};
use super::group::Group;
use crate::event::Schema;
use crate::text::*;

const NAMES: [(&str, u32); 4] = [
    ("route_type", 4),
    ("route_gateway", 16),
    ("route_dev", DEVICE as u32),
    ("route_table", 4),
];

/// Bytes of a device's name.
const DEVICE: usize = 16;

/// Bytes that the fields take together, at most: they are remembered of each packet.
const MOST: usize = 64;

/// Values of the type that need no word: where the route leads to says it.
const NONE: u32 = 0;
const UNICAST: u32 = 1;

/// The type of what is for this host.
const LOCAL: u32 = 2;

/// The tables that routes are in without policies (`RT_TABLE_*`).
const ORDINARY_TABLES: [u32; 3] = [0, 254, 255];

/// Where the fields are.
#[derive(Clone, Debug)]
pub(super) struct RouteFields {
    pub(super) group: Group<4>,
    /// Offsets of the fields in the group's bytes.
    kind: usize,
    gateway: usize,
    device: usize,
    table: usize,
    /// The index of the field `route_type` in the schema, for its name.
    kind_index: usize,
}

impl RouteFields {
    /// Finds them; `None` if the trace does not have all of them.
    pub(super) fn new(schema: &Schema) -> Option<Self> {
        let group = Group::find(schema, &NAMES, MOST)?;
        let [kind, gateway, device, table] = group.offsets;
        Some(RouteFields {
            group,
            kind,
            gateway,
            device,
            table,
            kind_index: schema.fields.iter().position(|field| field.name == "route_type")?,
        })
    }

    /// Appends the route if it has changed since `before`, after a call of `next`. `before` has the length
    /// [`Group::bytes`], and zeros before the first event.
    pub(super) fn push_changes(
        &self,
        out: &mut Vec<u8>,
        before: &mut [u8],
        prefix: &[u8],
        fields: &Fields,
        mut next: impl FnMut(&mut Vec<u8>),
    ) {
        let Some(bytes) = self.group.changed(before, prefix) else {
            return;
        };
        before.copy_from_slice(bytes);
        let kind = u32::from_ne_bytes(array(bytes, self.kind));
        // It is the other route that is shown next, if another one follows.
        if kind == NONE {
            return;
        }
        next(out);
        out.extend_from_slice(b"route:");
        if kind != UNICAST {
            out.push(b' ');
            fields.push_value(out, self.kind_index, prefix);
        }
        let gateway: [u8; 16] = array(bytes, self.gateway);
        if gateway != [0; 16] {
            out.extend_from_slice(b" via ");
            push_address(out, &gateway, None);
        }
        let device: [u8; DEVICE] = array(bytes, self.device);
        // What is for this host comes from a device, and goes to none.
        if device[0] != 0 && kind != LOCAL {
            out.extend_from_slice(b" on ");
            push_visible_bytes(out, device.split(|byte| *byte == 0).next().unwrap_or_default());
        }
        let table = u32::from_ne_bytes(array(bytes, self.table));
        if !ORDINARY_TABLES.contains(&table) {
            out.extend_from_slice(b" by table ");
            push_unsigned(out, u64::from(table));
        }
    }
}
