//! A plugin's description, in a custom section of its file: JSON, so that reading it runs no code.
//!
//! ```json
//! { "contract": "0.1.0", "name": "flame", "version": "0.3.1", "about": "one line", "license": "MIT",
//!   "options": [ { "name": "by", "type": "choice", "values": ["time", "count"], "default": "time", "help": "..." } ] }
//! ```
//!
//! Options of the user are checked against it before the plugin starts.

use serde::{Deserialize, Serialize};

use ipft_core::text::visible;

/// Name of the custom section, of the component or of a core module in it. Native plugins have a symbol instead.
pub const SECTION: &str = "ipft-plugin";

/// Maximum bytes of a description.
pub const MAX_DESCRIPTION: usize = 64 << 10;

/// Maximum bytes of a name, and of a line.
const MAX_NAME: usize = 64;
const MAX_LINE: usize = 200;

/// The values of all options of a plugin, in the order of its description.
pub type OptionValues = Vec<(String, String)>;

/// The reason why a description is invalid.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It is too long.
    #[error("its description has {0} bytes; {MAX_DESCRIPTION} are the most")]
    TooLong(usize),
    /// It is not JSON, or not of the right shape.
    #[error("its description cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A value is invalid.
    #[error("its description is wrong: {0}")]
    Wrong(String),
}

/// The reason why an option is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The plugin has no such option.
    #[error("it has no option '{name}'; {known}")]
    Unknown {
        /// As the user wrote it.
        name: String,
        /// The plugin's options, in words.
        known: String,
    },
    /// The value is not of the option's type.
    #[error("its option '{name}' cannot be '{value}': {wanted}")]
    Value {
        /// The option.
        name: String,
        /// As the user wrote it.
        value: String,
        /// The accepted values.
        wanted: String,
    },
}

/// A plugin's description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The version of `wit/` that it was written for.
    pub contract: String,
    /// Short name: letters, digits, `-` and `_`.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Purpose, in one line.
    pub about: String,
    /// Licence, as an SPDX expression.
    pub license: String,
    /// Options.
    #[serde(default)]
    pub options: Vec<OptionSpec>,
}

/// An option of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Type of its values.
    #[serde(rename = "type")]
    pub kind: OptionType,
    /// The values of a choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The default.
    pub default: String,
    /// Purpose, in one line.
    pub help: String,
}

/// Types of option values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionType {
    /// Any text.
    String,
    /// A signed 64-bit integer.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Bool,
    /// One of several words.
    Choice,
}

impl Description {
    /// Parses and checks the content of the section.
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

    /// Returns the values of all options: the user's, checked, and defaults. Of several values for one option, the last
    /// one counts.
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

/// Checks a name of a plugin or an option; the error describes valid names.
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
    fn options_have_defaults_and_take_given_values() {
        let flame = Description::read(FLAME.as_bytes()).unwrap();
        let values = flame
            .values(&given(&[("width", "10"), ("by", "count"), ("width", "-3")]))
            .unwrap();
        assert_eq!(values, given(&[("by", "count"), ("width", "-3"), ("from", "")]));
    }

    #[test]
    fn a_wrong_option_is_refused_with_accepted_values() {
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
    fn invalid_descriptions_are_refused() {
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
