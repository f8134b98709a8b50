//! `ipft -l`: lists the traceable functions.

use std::io::{self, Write};

use ipft_core::kernel::{self, Root, TypeBytes};
use ipft_core::message;

use super::functions::find_functions;
use crate::args;

/// Lists the traceable functions.
pub fn list(options: &args::ListOptions, out: &mut impl Write) -> anyhow::Result<()> {
    let root = Root::system();
    let functions = find_functions(&root, &TypeBytes::new(&root).types(), &options.filter, false)?;
    message!("{}", kernel::LIST_HEADER);
    let mut out = io::BufWriter::new(out);
    kernel::write_list(&mut out, &functions.wanted)?;
    out.flush()?;
    if options.verbose {
        message!("Functions found in: {}", functions.source);
        for skipped in &functions.skipped {
            message!("Skipped {} [{}]: {}", skipped.name, skipped.module, skipped.reason);
        }
    }
    Ok(())
}
