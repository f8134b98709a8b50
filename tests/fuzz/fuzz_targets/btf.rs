//! Fuzzes the BTF reader: it must not panic, hang or allocate more than the input warrants.
//!
//! Run with `cargo xtask fuzz btf`; any `.BTF` section is a good seed.

#![no_main]

use ipft_core::kernel::btf::Btf;
use libfuzzer_sys::fuzz_target;

fn walk(btf: &Btf) {
    for each in btf.types() {
        let _ = (
            each.name(),
            each.int(),
            each.array(),
            each.linkage(),
            each.tag_component(),
        );
        let _ = (btf.peel(each.id()), btf.size_of(each.id()));
        let _ = each.members().count();
        let _ = each.enumerators().count();
        let _ = each.parameters().map(|parameter| parameter.name().len()).sum::<usize>();
        let _ = each.section_variables().count();
    }
}

fuzz_target!(|data: &[u8]| {
    // The first byte says where a base ends and its split BTF begins.
    let Some((cut, data)) = data.split_first() else { return };
    let (base, split) = data.split_at(data.len() * usize::from(*cut) / 255);
    let Ok(base) = Btf::parse(base) else { return };
    walk(&base);
    if let Ok(split) = Btf::parse_split(split, &base) {
        walk(&split);
    }
});
