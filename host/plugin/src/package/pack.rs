//! Puts a description into a component that was built without one: what `ipft plugin pack` does for plugins that are not
//! written with the Rust SDK, which does it when it compiles.
//!
//! A custom section can be added to a component, and taken out, without a look at any other: the sections are copied as
//! they are.

use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{BinaryReader, BinaryReaderError};

use super::inspect::{InspectError, inspect};
use super::{Description, DescriptionError, SECTION};

/// Bytes of the header of a component: `\0asm`, version, layer.
const HEADER: usize = 8;

/// The section whose meaning is up to whoever knows its name.
const CUSTOM: u8 = 0;

/// Why a component cannot be given a description.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file is no component.
    #[error(transparent)]
    Component(#[from] InspectError),
    /// The description is none.
    #[error(transparent)]
    Description(#[from] DescriptionError),
}

impl From<BinaryReaderError> for PackError {
    fn from(error: BinaryReaderError) -> Self {
        PackError::Component(error.into())
    }
}

/// The component with the description in place of what it may have had.
pub fn pack(component: &[u8], description: &[u8]) -> Result<Vec<u8>, PackError> {
    let description = Description::read(description)?;
    inspect(component)?;

    let json = serde_json::to_vec(&description).map_err(DescriptionError::from)?;
    let mut packed = Vec::with_capacity(component.len() + json.len() + SECTION.len() + 16);
    let mut reader = BinaryReader::new(component, 0);
    packed.extend_from_slice(reader.read_bytes(HEADER)?);
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()?;
        let mut content = BinaryReader::new(reader.read_bytes(length as usize)?, 0);
        if id == CUSTOM && content.read_string()? == SECTION {
            continue;
        }
        packed.extend_from_slice(&component[start..reader.original_position()]);
    }
    let section = CustomSection {
        name: SECTION.into(),
        data: json.into(),
    };
    section.append_to_component(&mut packed);
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{Component, Module, NestedComponentSection};

    const FIRST: &str = r#"{"contract":"0.1.0","name":"first","version":"1.0.0","about":"A","license":"MIT"}"#;

    fn custom<'a>(name: &'a str, data: &'a [u8]) -> CustomSection<'a> {
        CustomSection {
            name: name.into(),
            data: data.into(),
        }
    }

    /// A component with a custom section of its own, and a component inside that has a description.
    fn component() -> Vec<u8> {
        let mut inner = Component::new();
        inner.section(&custom(SECTION, b"not ours"));
        let mut component = Component::new();
        component.section(&custom("other", b"kept"));
        component.section(&NestedComponentSection(&inner));
        component.section(&custom("another", b"kept too"));
        component.finish()
    }

    fn described(component: &[u8]) -> Description {
        inspect(component).unwrap().description.unwrap().unwrap()
    }

    #[test]
    fn a_description_is_added_and_the_rest_stays_as_it_is() {
        let packed = pack(&component(), FIRST.as_bytes()).unwrap();
        assert!(packed.starts_with(&component()));
        assert_eq!(described(&packed), Description::read(FIRST.as_bytes()).unwrap());
    }

    #[test]
    fn packing_again_replaces_the_description() {
        let second = FIRST.replace("first", "second");
        let once = pack(&component(), second.as_bytes()).unwrap();
        let again = pack(&pack(&component(), FIRST.as_bytes()).unwrap(), second.as_bytes()).unwrap();
        assert_eq!(described(&again).name, "second");
        assert_eq!(again, once);
    }

    #[test]
    fn only_a_component_gets_a_description() {
        let error = |file: &[u8]| pack(file, FIRST.as_bytes()).unwrap_err().to_string();
        assert!(error(&Module::new().finish()).contains("core module"));
        assert!(error(b"\x7fELF").contains("no WebAssembly"));
        let whole = component();
        for length in HEADER + 1..whole.len() {
            // Cut between two sections it is a component still, only a smaller one.
            if let Err(error) = pack(&whole[..length], FIRST.as_bytes()) {
                assert!(matches!(error, PackError::Component(_)), "{error}");
            }
        }
    }

    #[test]
    fn a_wrong_description_is_not_put_into_anything() {
        let error = pack(&component(), FIRST.replace("\"A\"", "\"A\\n\"").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("about is not one line"), "{error}");
    }
}
