//! The filter's function as a relocatable object, which libbpf's linker joins with the probes. Imports `bpf_assembly`.

use bpf_assembly::{Instruction, Line, Object, Parameter};

/// The functions of a filter, as `bpf/src/filter/frame.h` declares them.
pub(super) const FILTER: &str = "ipft_filter";
pub(super) const INNER: &str = "ipft_inner_filter";

/// Returns the object of a function of this name.
pub(super) fn write(name: &str, code: &[Instruction]) -> Vec<u8> {
    let lines = [Line {
        instruction: 0,
        text: "the compiled filter".to_owned(),
        line: 1,
        column: 0,
    }];
    let object = Object {
        name,
        parameters: &[
            ("header", Parameter::ConstPointer),
            ("start", Parameter::U64),
            ("available", Parameter::U32),
            ("length", Parameter::U32),
        ],
        code,
        file: "filter",
        lines: &lines,
    };
    object.write()
}
