//! Adds a description to a component: `ipft plugin pack`, for plugins that are not written with the Rust SDK, which
//! adds it at compile time.
//!
//! A custom section can be added or removed independently: the other sections are copied unchanged.

use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{BinaryReader, BinaryReaderError};

use super::inspect::{InspectError, inspect};
use super::{Description, DescriptionError, SECTION};

/// Bytes of the header of a component: `\0asm`, version, layer.
const HEADER: usize = 8;

/// Section id of custom sections.
const CUSTOM: u8 = 0;

/// The reason why a component gets no description.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file is not a component.
    #[error(transparent)]
    Component(#[from] InspectError),
    /// The description is invalid.
    #[error(transparent)]
    Description(#[from] DescriptionError),
}

impl From<BinaryReaderError> for PackError {
    fn from(error: BinaryReaderError) -> Self {
        PackError::Component(error.into())
    }
}

/// Returns the component with this description, replacing an existing one.
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

    /// A component with its own custom section, and a nested component that has a description.
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
    fn a_description_is_added_without_other_changes() {
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
            // Cut between two sections it is still a component, only a smaller one.
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
