//! `pid` and `comm`: the process in which a function runs. 0 and empty in a softirq, which runs on top of any process: most
//! packets are received in one.

use std::mem::offset_of;

use ipft_bpf::wire::Proc;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "proc",
    about: "the process that it is handled for",
    fields: &[
        Part {
            name: "pid",
            offset: offset_of!(Proc, pid),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "comm",
            offset: offset_of!(Proc, comm),
            size: 16,
            kind: FieldType::Char,
            format: PartFormat::PLAIN,
        },
    ],
};
