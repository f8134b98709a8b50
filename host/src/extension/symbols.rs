//! Gives fields that hold addresses of the kernel the names of what is there.

use crate::event::{EnumMember, FieldFormat, Schema};
use crate::kernel::{KernelError, Root, read_symbols};
use std::sync::Arc;

/// Fills the tables of the fields that are shown as symbols, from one reading of `/proc/kallsyms`; without such a field
/// nothing is read. Returns how many symbols there are: none where the kernel hides their addresses, in which case
/// fields show addresses.
pub fn resolve(schema: &mut Schema, root: &Root) -> Result<usize, KernelError> {
    let mut wanting = schema
        .fields
        .iter_mut()
        .filter_map(|field| match &mut field.format {
            FieldFormat::Symbol(symbols) => Some(symbols),
            _ => None,
        })
        .peekable();
    if wanting.peek().is_none() {
        return Ok(0);
    }
    let table: Arc<[EnumMember]> = read_symbols(root)?
        .into_iter()
        .map(|(value, name)| EnumMember { name, value })
        .collect();
    wanting.for_each(|symbols| *symbols = Arc::clone(&table));
    Ok(table.len())
}
