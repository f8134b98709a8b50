//! Writes the list of functions that `ipft -l` shows.
//!
//! The columns are the old tool's, to the byte: people have scripts that cut them. A line is put together by hand,
//! because the machinery of `write!` would take a tenth of the time that a whole listing may take.

use std::io::{self, Write};

use super::Candidate;
use crate::text::visible;

/// Column headings; on stderr, so that stdout has functions only.
pub const HEADER: &str = "                                                            NAME\t             MOD\t              ADDR\tSKB_POSITION";

/// Columns of the name and of the module.
const NAME_WIDTH: usize = 64;
const MODULE_WIDTH: usize = 16;

/// Writes a line per function: name, module, address, and the packet's position among the arguments.
pub fn write_list(out: &mut impl Write, candidates: &[Candidate]) -> io::Result<()> {
    let mut line = Vec::with_capacity(128);
    for each in candidates {
        line.clear();
        push_right(&mut line, &each.name, NAME_WIDTH);
        line.push(b'\t');
        push_right(&mut line, &each.module, MODULE_WIDTH);
        line.extend_from_slice(b"\t0x");
        for shift in (0..64).step_by(4).rev() {
            line.push(b"0123456789abcdef"[(each.address >> shift & 15) as usize]);
        }
        line.push(b'\t');
        line.extend_from_slice(each.position.to_string().as_bytes());
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

fn push_right(line: &mut Vec<u8>, text: &str, width: usize) {
    // Who loads a module chooses its symbols' names.
    let text = visible(text);
    line.resize(line.len() + width.saturating_sub(text.len()), b' ');
    line.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::PacketArgument;

    fn candidate(name: &str, module: &str) -> Candidate {
        Candidate {
            name: name.into(),
            module: module.into(),
            address: 0xffff_ffff_907d_ed00,
            position: 0,
            argument: PacketArgument::Pointer,
            unsure: false,
            btf_id: 1,
            arguments: 2,
            trampoline: true,
            ambiguous: false,
        }
    }

    fn listed(candidates: &[Candidate]) -> String {
        let mut out = Vec::new();
        write_list(&mut out, candidates).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_list_has_the_columns_of_the_old_tool() {
        assert_eq!(
            listed(&[candidate("___pskb_trim", "vmlinux")]),
            "                                                    ___pskb_trim\t         vmlinux\t0xffffffff907ded00\t0\n"
        );
        assert_eq!(
            HEADER,
            "                                                            NAME\t             MOD\t              ADDR\tSKB_POSITION"
        );
    }

    #[test]
    fn a_name_that_is_wider_than_its_column_is_not_cut() {
        let long = "x".repeat(70);
        assert!(listed(&[candidate(&long, "m")]).starts_with(&format!("{long}\t               m\t")));
    }

    #[test]
    fn control_characters_in_a_name_are_escaped() {
        let list = listed(&[candidate("evil\x1b[2J\u{9b}", "mod\rule")]);
        assert!(list.contains("evil\\x1b[2J\\u{9b}\t"), "{list:?}");
        assert!(list.contains("mod\\rule\t"), "{list:?}");
    }
}
