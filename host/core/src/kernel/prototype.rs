//! Finds the packet among a prototype's parameters, and the register that holds it.
//!
//! It works on BTF alone. A type is looked at once however many functions use it: what [`PacketTypes`] has found out
//! about a type is kept in one byte per type id.

use super::arch::register;
use super::btf::{Btf, Kind, Type};
use super::function::{PacketArgument, SkipReason};
use super::unfilled::first_is_unfilled;

/// Classification of a type. Stored as a byte per type, 0 for types not classified yet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Unknown = 0,
    Other,
    Packet,
    Pointer,
    DoublePointer,
}

/// Longest chain of qualifiers, typedefs and pointers that is followed: longer ones are loops.
const MAX_DEPTH: u32 = 32;

/// Knows which types of a BTF are pointers to packets.
pub(super) struct PacketTypes {
    classes: Vec<Class>,
}

impl PacketTypes {
    /// Knows nothing yet about the types of `btf`.
    pub(super) fn new(btf: &Btf) -> Self {
        PacketTypes {
            classes: vec![Class::Unknown; btf.end_id() as usize],
        }
    }

    /// Moves on to another BTF that is split from the same base: what is known about the base's types stays.
    pub(super) fn move_to(&mut self, split: &Btf) {
        self.classes.truncate(split.first_id() as usize);
        self.classes.resize(split.end_id() as usize, Class::Unknown);
    }

    /// Returns how a parameter of this type passes a packet, if it does.
    #[inline]
    fn argument(&mut self, btf: &Btf, id: u32) -> Option<PacketArgument> {
        let class = match self.classes.get(id as usize) {
            Some(Class::Unknown) => self.class(btf, id, MAX_DEPTH),
            Some(known) => *known,
            None => Class::Other,
        };
        match class {
            Class::Pointer => Some(PacketArgument::Pointer),
            Class::DoublePointer => Some(PacketArgument::DoublePointer),
            _ => None,
        }
    }

    fn class(&mut self, btf: &Btf, id: u32, depth: u32) -> Class {
        match self.classes.get(id as usize) {
            None => return Class::Other,
            Some(Class::Unknown) => {}
            Some(known) => return *known,
        }
        let (Some(found), Some(depth)) = (btf.get(id), depth.checked_sub(1)) else {
            return Class::Other;
        };
        let class = match found.kind() {
            Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                self.class(btf, found.target(), depth)
            }
            Kind::Pointer => match self.class(btf, found.target(), depth) {
                Class::Packet => Class::Pointer,
                Class::Pointer => Class::DoublePointer,
                _ => Class::Other,
            },
            // A module that never looks into a packet knows it by a forward declaration only.
            Kind::Struct | Kind::Forward if found.name() == "sk_buff" && !found.is_forward_union() => Class::Packet,
            _ => Class::Other,
        };
        if let Some(known) = self.classes.get_mut(id as usize) {
            *known = class;
        }
        class
    }

    /// Finds the packet among the parameters of a function. A plain pointer is preferred to a double pointer, and the
    /// first to later ones, but for an sk_buff that is no packet when the function is entered.
    pub(super) fn find(&mut self, btf: &Btf, function: &Type) -> Option<Packet> {
        let prototype = btf
            .get(function.target())
            .filter(|found| found.kind() == Kind::Prototype)?;
        let mut found: Option<(usize, PacketArgument)> = None;
        let mut unfilled: Option<(usize, PacketArgument)> = None;
        for (index, parameter) in prototype.parameters().enumerate() {
            let Some(argument) = self.argument(btf, parameter.type_id) else {
                continue;
            };
            if found.is_none() && unfilled.is_none() && first_is_unfilled(function.name()) {
                unfilled = Some((index, argument));
                continue;
            }
            match (argument, found) {
                (PacketArgument::Pointer, _) => {
                    found = Some((index, PacketArgument::Pointer));
                    break;
                }
                (PacketArgument::DoublePointer, None) => found = Some((index, PacketArgument::DoublePointer)),
                (PacketArgument::DoublePointer, Some(_)) => {}
            }
        }
        let (argument, position) = match (found, unfilled) {
            (Some((index, argument)), _) => (argument, register(btf, &prototype, index)),
            (None, Some((_, argument))) => (argument, Err(SkipReason::Unfilled)),
            (None, None) => return None,
        };
        let arguments = prototype.parameters().filter(|each| each.type_id != 0).count();
        Some(Packet {
            argument,
            arguments: u8::try_from(arguments).unwrap_or(u8::MAX),
            trampoline: suits_trampoline(btf, &prototype),
            position,
            unfilled: unfilled.and_then(|(index, _)| register(btf, &prototype, index).ok()),
        })
    }
}

/// How a function takes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) argument: PacketArgument,
    pub(super) arguments: u8,
    /// Whether BPF trampolines support the prototype.
    pub(super) trampoline: bool,
    /// The argument register, from 0.
    pub(super) position: Result<u8, SkipReason>,
    /// That of an sk_buff that is no packet yet.
    pub(super) unfilled: Option<u8>,
}

/// Returns whether a BPF trampoline can be made for a prototype: `btf_distill_func_proto` in `kernel/bpf/btf.c` refuses
/// variable arguments, more than `MAX_BPF_FUNC_ARGS`, and a struct as result.
fn suits_trampoline(btf: &Btf, prototype: &Type) -> bool {
    const MAX_BPF_FUNC_ARGS: usize = 12;
    let count = prototype.parameters().count();
    let variable = prototype.parameters().any(|each| each.type_id == 0);
    let result = btf.peel(prototype.target()).map(|result| result.kind());
    !variable && count <= MAX_BPF_FUNC_ARGS && !matches!(result, Some(Kind::Struct | Kind::Union))
}

#[cfg(test)]
mod tests {
    use super::super::testing::BtfBuilder;
    use super::*;

    /// The register of a packet that comes after arguments of these types, and before nothing.
    fn register_after(build: impl Fn(&mut BtfBuilder) -> (u32, Vec<u32>)) -> Result<u8, SkipReason> {
        let mut b = BtfBuilder::new();
        let packet = b.composite(Kind::Struct, "sk_buff", 8, &[]);
        let pointer = b.pointer(packet);
        let (returns, mut parameters) = build(&mut b);
        parameters.push(pointer);
        let id = b.function("f", returns, &parameters);
        let data = b.build();
        let btf = Btf::parse(&data).unwrap();
        let function = btf.get(id).unwrap();
        PacketTypes::new(&btf).find(&btf, &function).unwrap().position
    }

    #[test]
    fn integers_and_pointers_take_a_register_each() {
        assert_eq!(register_after(|_| (0, vec![])), Ok(0));
        assert_eq!(
            register_after(|b| {
                let char = b.int("char", 1);
                let long = b.int("long", 8);
                let pointer = b.pointer(0);
                let colour = b.add(Kind::Enum, "colour", false, 0, 4, &[]);
                (long, vec![char, long, pointer, colour, long])
            }),
            Ok(5)
        );
    }

    #[test]
    fn a_seventh_argument_is_on_the_stack() {
        assert_eq!(
            register_after(|b| {
                let int = b.int("int", 4);
                (0, vec![int; 6])
            }),
            Err(SkipReason::OnStack)
        );
    }

    #[test]
    fn small_structs_take_registers_large_ones_do_not() {
        let after = |bytes: u32| {
            register_after(move |b| {
                let int = b.int("int", 4);
                (0, vec![b.composite(Kind::Struct, "s", bytes, &[("a", int, 0)])])
            })
        };
        assert_eq!(after(0), Ok(0));
        assert_eq!(after(4), Ok(1));
        assert_eq!(after(8), Ok(1));
        assert_eq!(after(12), Ok(2));
        assert_eq!(after(16), Ok(2));
        assert_eq!(after(24), Ok(0));
    }

    #[test]
    fn a_struct_with_a_misaligned_field_goes_to_the_stack() {
        assert_eq!(
            register_after(|b| {
                let char = b.int("char", 1);
                let int = b.int("int", 4);
                let inner = b.composite(Kind::Struct, "inner", 4, &[("n", int, 0)]);
                (
                    0,
                    vec![b.composite(Kind::Struct, "packed", 5, &[("c", char, 0), ("i", inner, 8)])],
                )
            }),
            Ok(0)
        );
    }

    #[test]
    fn a_wide_integer_takes_two_registers_unsplit() {
        let wide = |before: usize| {
            register_after(move |b| {
                let long = b.int("long", 8);
                let wide = b.int("__int128", 16);
                let mut parameters = vec![long; before];
                parameters.push(wide);
                (0, parameters)
            })
        };
        assert_eq!(wide(0), Ok(2));
        assert_eq!(wide(3), Ok(5));
        assert_eq!(wide(4), Err(SkipReason::OnStack));
        // The one register that is left is the packet's.
        assert_eq!(wide(5), Ok(5));
    }

    #[test]
    fn a_large_returned_struct_takes_the_first_register() {
        assert_eq!(
            register_after(|b| {
                let long = b.int("long", 8);
                (b.composite(Kind::Struct, "big", 24, &[("a", long, 0)]), vec![])
            }),
            Ok(1)
        );
        assert_eq!(
            register_after(|b| {
                let long = b.int("long", 8);
                (b.composite(Kind::Struct, "pair", 16, &[("a", long, 0)]), vec![])
            }),
            Ok(0)
        );
    }

    #[test]
    fn after_a_floating_point_number_it_is_unknown() {
        assert_eq!(
            register_after(|b| (0, vec![b.add(Kind::Float, "double", false, 0, 8, &[])])),
            Err(SkipReason::UnknownRegisters)
        );
    }

    #[test]
    fn an_endlessly_nested_struct_is_given_up() {
        assert_eq!(
            register_after(|b| {
                // Each level holds the next one twice: 2^30 fields.
                let mut level = b.composite(Kind::Struct, "s", 8, &[]);
                for _ in 0..30 {
                    level = b.composite(Kind::Struct, "s", 8, &[("a", level, 0), ("b", level, 0)]);
                }
                (0, vec![level])
            }),
            Err(SkipReason::UnknownRegisters)
        );
    }

    #[test]
    fn a_copy_in_the_making_is_not_the_packet() {
        let mut b = BtfBuilder::new();
        let packet = b.composite(Kind::Struct, "sk_buff", 8, &[]);
        let pointer = b.pointer(packet);
        let double = b.pointer(pointer);
        let int = b.int("int", 4);
        let copy = b.function("__copy_skb_header", 0, &[pointer, pointer]);
        let build = b.function("__xdp_build_skb_from_frame", pointer, &[int, pointer]);
        let receive = b.function("__skb_try_recv_datagram", pointer, &[int, double]);
        let coalesce = b.function("skb_try_coalesce", int, &[pointer, pointer]);
        let data = b.build();
        let btf = Btf::parse(&data).unwrap();
        let mut types = PacketTypes::new(&btf);
        let mut position = |id| types.find(&btf, &btf.get(id).unwrap()).unwrap().position;
        assert_eq!(position(copy), Ok(1));
        assert_eq!(position(build), Err(SkipReason::Unfilled));
        assert_eq!(position(receive), Err(SkipReason::Unfilled));
        assert_eq!(position(coalesce), Ok(0));
    }

    #[test]
    fn a_plain_pointer_is_preferred_to_a_double_pointer() {
        let mut b = BtfBuilder::new();
        let packet = b.refer(Kind::Forward, "sk_buff", 0);
        let pointer = b.pointer(packet);
        let double = b.pointer(pointer);
        let both = b.function("both", 0, &[double, pointer]);
        let only = b.function("only", 0, &[double]);
        let data = b.build();
        let btf = Btf::parse(&data).unwrap();
        let mut types = PacketTypes::new(&btf);
        let mut find = |id| types.find(&btf, &btf.get(id).unwrap()).unwrap();
        assert_eq!(
            (find(both).position, find(both).argument),
            (Ok(1), PacketArgument::Pointer)
        );
        assert_eq!(
            (find(only).position, find(only).argument),
            (Ok(0), PacketArgument::DoublePointer)
        );
    }
}
