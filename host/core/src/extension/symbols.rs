//! Names of kernel symbols for fields that hold addresses.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Field, FieldType};
    use crate::kernel::testing::Tree;

    fn schema(formats: &[FieldFormat]) -> Schema {
        let field = |format: &FieldFormat| Field {
            name: "caller".to_owned(),
            offset: 0,
            size: 8,
            bits: None,
            kind: FieldType::Pointer,
            format: format.clone(),
        };
        Schema {
            size: 8,
            fields: formats.iter().map(field).collect(),
            ..Schema::default()
        }
    }

    const KALLSYMS: &str = "0000000000000000 A fixed_percpu_data\n\
        ffffffff81002000 T kfree_skb\n\
        ffffffff81002000 t __pfx_alias\n\
        ffffffff81000000 T _text\n\
        ffffffffc0000010 d data_of\t[veth]\n\
        a line that is none\n";

    #[test]
    fn functions_and_data_are_sorted_by_address() {
        let tree = Tree::new().with("/proc/kallsyms", KALLSYMS);
        let mut schema = schema(&[FieldFormat::Symbol([].into()), FieldFormat::Plain]);
        assert_eq!(resolve(&mut schema, &tree.root()).unwrap(), 3);
        let FieldFormat::Symbol(symbols) = &schema.fields[0].format else {
            panic!("it stays a symbol");
        };
        let names: Vec<_> = symbols.iter().map(|symbol| (symbol.value, &symbol.name[..])).collect();
        assert_eq!(
            names,
            [
                (0xffff_ffff_8100_0000, "_text"),
                (0xffff_ffff_8100_2000, "kfree_skb"),
                (0xffff_ffff_c000_0010, "data_of")
            ]
        );
        assert_eq!(schema.fields[1].format, FieldFormat::Plain);
    }

    #[test]
    fn without_a_symbol_field_no_symbol_is_read() {
        let mut schema = schema(&[FieldFormat::Hex]);
        assert_eq!(resolve(&mut schema, &Root::at("/nowhere/at/all")).unwrap(), 0);
    }

    #[test]
    fn hidden_addresses_give_an_empty_table_without_error() {
        let tree = Tree::new().with(
            "/proc/kallsyms",
            "0000000000000000 T kfree_skb\n0000000000000000 T ip_rcv\n",
        );
        let mut schema = schema(&[FieldFormat::Symbol([].into())]);
        assert_eq!(resolve(&mut schema, &tree.root()).unwrap(), 0);
        let error = resolve(&mut schema, &Root::at("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/proc/kallsyms"), "{error}");
    }
}
