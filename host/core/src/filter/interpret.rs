//! Evaluates a filter on the bytes of a frame, without the kernel. Imports `graph`.

use super::graph::{Graph, Load, Operand, Target, Value, ValueId, compute};

/// What a filter says about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The packet matches.
    Match,
    /// It does not.
    NoMatch,
    /// The filter needs bytes behind the end of what is there. For a whole packet that is no match.
    OutOfReach,
}

/// Why a value cannot be computed.
enum Stop {
    OutOfReach,
    DivisionByZero,
}

/// Evaluates the filter on the first bytes of a frame of `length` bytes.
pub(super) fn judge(graph: &Graph, frame: &[u8], length: u32, has_mac: bool) -> Verdict {
    let packet = Packet {
        graph,
        frame,
        length,
        has_mac,
    };
    let mut target = graph.start;
    loop {
        let branch = match target {
            Target::Match => return Verdict::Match,
            Target::NoMatch => return Verdict::NoMatch,
            Target::Branch(index) => &graph.branches[index],
        };
        let test = branch.test;
        let right = match test.right {
            Operand::Constant(value) => Ok(value),
            Operand::Value(value) => packet.value(value),
        };
        match packet.value(test.left).and_then(|left| Ok((left, right?))) {
            Ok((left, right)) if test.compare.holds(left, right) => target = branch.yes,
            Ok(_) => target = branch.no,
            Err(Stop::OutOfReach) => return Verdict::OutOfReach,
            Err(Stop::DivisionByZero) => return Verdict::NoMatch,
        }
    }
}

struct Packet<'a> {
    graph: &'a Graph,
    frame: &'a [u8],
    length: u32,
    has_mac: bool,
}

impl Packet<'_> {
    /// Values are nested at most as deep as the syntax tree.
    fn value(&self, id: ValueId) -> Result<u32, Stop> {
        match self.graph.values.get(id) {
            Value::Constant(value) => Ok(value),
            Value::Length => Ok(self.length),
            Value::HasMac => Ok(self.has_mac.into()),
            Value::Load(load) => self.load(0, load),
            Value::LoadAt(base, load) => {
                let base = self.value(base)?;
                self.load(base, load)
            }
            Value::HeaderLength(offset) => Ok(4 * (self.load(0, Load { offset, size: 1 })? & 15)),
            Value::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                compute(operator, left, right).ok_or(Stop::DivisionByZero)
            }
            Value::Negate(of) => Ok(self.value(of)?.wrapping_neg()),
            Value::Choose(of, is, yes, no) => {
                let chosen = if self.value(of)? == is { yes } else { no };
                self.value(chosen)
            }
        }
    }

    fn load(&self, base: u32, load: Load) -> Result<u32, Stop> {
        let end = u64::from(base) + load.end();
        let start = end - u64::from(load.size);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.frame.get(start..end));
        let bytes = bytes.ok_or(Stop::OutOfReach)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}
