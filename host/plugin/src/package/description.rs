//! What a plugin says of itself, in a custom section of its file: JSON, so that it can be read without running anything.
//!
//! ```json
//! { "contract": "0.1.0", "name": "flame", "version": "0.3.1", "about": "one line", "license": "MIT",
//!   "options": [ { "name": "by", "type": "choice", "values": ["time", "count"], "default": "time", "help": "..." } ] }
//! ```
//!
//! The options that the user gives are checked against it before the plugin starts.

use serde::{Deserialize, Serialize};

use ipft_core::text::visible;

/// The name of the custom section, of the component or of a core module in it. Native plugins have a symbol instead.
pub const SECTION: &str = "ipft-plugin";

/// Bytes that a description may have at most.
pub const MAX_DESCRIPTION: usize = 64 << 10;

/// Bytes of a name, and of a line.
const MAX_NAME: usize = 64;
const MAX_LINE: usize = 200;

/// The values of all options of a plugin, in the order of its description.
pub type OptionValues = Vec<(String, String)>;

/// Why a description is none.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It is far too long.
    #[error("its description has {0} bytes; {MAX_DESCRIPTION} are the most")]
    TooLong(usize),
    /// It is no JSON, or not of the right shape.
    #[error("its description cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A value that makes no sense.
    #[error("its description is wrong: {0}")]
    Wrong(String),
}

/// Why an option cannot be given to a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The plugin has no such option.
    #[error("it has no option '{name}'; {known}")]
    Unknown {
        /// As the user wrote it.
        name: String,
        /// Which it has, in words.
        known: String,
    },
    /// The value is not of the option's type.
    #[error("its option '{name}' cannot be '{value}': {wanted}")]
    Value {
        /// The option.
        name: String,
        /// As the user wrote it.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The version of `wit/` that it was written for.
    pub contract: String,
    /// A short name: letters, digits, `-` and `_`.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What it does, in one line.
    pub about: String,
    /// Its licence, as SPDX has it.
    pub license: String,
    /// What the user may set.
    #[serde(default)]
    pub options: Vec<OptionSpec>,
}

/// One thing that the user may set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// What values it takes.
    #[serde(rename = "type")]
    pub kind: OptionType,
    /// Of a choice: the values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What it is when the user says nothing.
    pub default: String,
    /// What it does, in one line.
    pub help: String,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionType {
    /// Any text.
    String,
    /// A whole number of 64 bits with a sign.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Bool,
    /// One of some words.
    Choice,
}

impl Description {
    /// Reads and checks the content of the section.
    pub fn read(json: &[u8]) -> Result<Self, DescriptionError> {
        if json.len() > MAX_DESCRIPTION {
            return Err(DescriptionError::TooLong(json.len()));
        }
        let description: Description = serde_json::from_slice(json)?;
        description.check().map_err(DescriptionError::Wrong)?;
        Ok(description)
    }

    fn check(&self) -> Result<(), String> {
        name(&self.name)?;
        for (what, text) in [
            ("version", &self.version),
            ("about", &self.about),
            ("license", &self.license),
            ("contract", &self.contract),
        ] {
            line(what, text)?;
        }
        for (index, option) in self.options.iter().enumerate() {
            name(&option.name)?;
            line("help", &option.help)?;
            if self.options[..index].iter().any(|other| other.name == option.name) {
                return Err(format!("the option '{}' is there twice", option.name));
            }
            if (option.kind == OptionType::Choice) == option.values.is_empty() {
                return Err(format!(
                    "the option '{}': a choice has values, nothing else has",
                    option.name
                ));
            }
            option
                .check(&option.default)
                .map_err(|error| format!("a default: {error}"))?;
        }
        Ok(())
    }

    /// The values of all options: what the user gave, checked, and the defaults. Of several values for one option, the
    /// last one counts.
    pub fn values(&self, given: &[(String, String)]) -> Result<OptionValues, OptionError> {
        let mut values: OptionValues = self
            .options
            .iter()
            .map(|option| (option.name.clone(), option.default.clone()))
            .collect();
        for (name, value) in given {
            let Some(index) = self.options.iter().position(|option| option.name == *name) else {
                return Err(OptionError::Unknown {
                    name: name.clone(),
                    known: self.known(),
                });
            };
            self.options[index].check(value)?;
            values[index].1.clone_from(value);
        }
        Ok(values)
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.options.iter().map(|option| option.name.as_str()).collect();
        match names[..] {
            [] => "it has none".to_owned(),
            [..] => format!("it has {}", names.join(", ")),
        }
    }
}

impl OptionSpec {
    fn check(&self, value: &str) -> Result<(), OptionError> {
        let (good, wanted) = match self.kind {
            OptionType::String => (true, String::new()),
            OptionType::Integer => (value.parse::<i64>().is_ok(), "a whole number".to_owned()),
            OptionType::Number => (value.parse::<f64>().is_ok_and(f64::is_finite), "a number".to_owned()),
            OptionType::Bool => (matches!(value, "true" | "false"), "true or false".to_owned()),
            OptionType::Choice => (
                self.values.iter().any(|each| each == value),
                format!("one of {}", self.values.join(", ")),
            ),
        };
        if good {
            return Ok(());
        }
        Err(OptionError::Value {
            name: self.name.clone(),
            value: value.to_owned(),
            wanted: format!("it wants {wanted}"),
        })
    }
}

/// Whether it is a name, of a plugin or an option; the error says what one is.
pub(super) fn name(text: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(good) {
        return Err(format!(
            "'{}' is no name: up to {MAX_NAME} letters, digits, - and _",
            visible(text)
        ));
    }
    Ok(())
}

fn line(what: &str, text: &str) -> Result<(), String> {
    if text.len() > MAX_LINE || text.chars().any(char::is_control) {
        return Err(format!("{what} is not one line of at most {MAX_LINE} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAME: &str = r#"{"contract":"0.1.0","name":"flame","version":"1.0.0","about":"A","license":"MIT","options":[
        {"name":"by","type":"choice","values":["time","count"],"default":"time","help":"What"},
        {"name":"width","type":"integer","default":"1200","help":"Pixels"},
        {"name":"from","type":"string","default":"","help":"A function"}]}"#;

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn options_have_their_defaults_and_take_what_is_given() {
        let flame = Description::read(FLAME.as_bytes()).unwrap();
        let values = flame
            .values(&given(&[("width", "10"), ("by", "count"), ("width", "-3")]))
            .unwrap();
        assert_eq!(values, given(&[("by", "count"), ("width", "-3"), ("from", "")]));
    }

    #[test]
    fn a_wrong_option_is_told_with_what_would_be_right() {
        let flame = Description::read(FLAME.as_bytes()).unwrap();
        let error = |pair| flame.values(&given(&[pair])).unwrap_err().to_string();
        assert_eq!(error(("x", "1")), "it has no option 'x'; it has by, width, from");
        assert_eq!(
            error(("by", "size")),
            "its option 'by' cannot be 'size': it wants one of time, count"
        );
        assert_eq!(
            error(("width", "ten")),
            "its option 'width' cannot be 'ten': it wants a whole number"
        );
    }

    #[test]
    fn descriptions_that_make_no_sense_are_refused() {
        let with = |from: &str, to: &str| {
            assert!(FLAME.contains(from));
            Description::read(FLAME.replace(from, to).as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(with(r#""flame""#, r#""fl\u001bame""#).contains("is no name"));
        assert!(with(r#""about":"A""#, r#""about":"A\nB""#).contains("about is not one line"));
        assert!(with(r#""default":"time""#, r#""default":"size""#).contains("a default"));
        assert!(with(r#""width""#, r#""by""#).contains("twice"));
        assert!(with(r#""type":"integer""#, r#""type":"choice""#).contains("a choice has values"));
        assert!(with(r#""type":"integer""#, r#""type":"color""#).contains("cannot be read"));
        assert!(Description::read(&vec![b' '; MAX_DESCRIPTION + 1]).is_err());
    }
}
