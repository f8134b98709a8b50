//! A plugin's description, as JSON in a custom section of its file, so that reading it runs no code. The JSON is built
//! at compile time, and a description that the host would refuse does not compile.

/// A plugin's description. [`plugin!`](crate::plugin) creates it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Short name: letters, digits, `-` and `_`.
    pub name: &'static str,
    /// Version of the plugin.
    pub version: &'static str,
    /// Purpose, in one line.
    pub about: &'static str,
    /// Licence, as an SPDX expression.
    pub license: &'static str,
    /// Options.
    pub options: &'static [OptionSpec],
}

/// An option of a plugin.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Letters, digits, `-` and `_`.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `bool` or `choice`.
    pub kind: &'static str,
    /// The values of a choice.
    pub values: &'static [&'static str],
    /// The default.
    pub default: DefaultValue,
    /// Purpose, in one line.
    pub help: &'static str,
}

/// Default of an option.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// Of a string or a choice.
    Text(&'static str),
    /// Of an integer.
    Integer(i64),
    /// Of a number, as written.
    Number(&'static str),
    /// Of a bool.
    Bool(bool),
}

impl std::fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DefaultValue::Text(text) | DefaultValue::Number(text) => f.write_str(text),
            DefaultValue::Integer(value) => value.fmt(f),
            DefaultValue::Bool(value) => value.fmt(f),
        }
    }
}

/// A plugin with a description.
pub trait Describe {
    /// The description.
    const DESCRIPTION: Description;
}

/// Maximum bytes of a name and of a line.
const MAX_NAME: usize = 64;
const MAX_LINE: usize = 200;

impl Description {
    /// Fails to compile for a description that the host would refuse.
    #[doc(hidden)]
    pub const fn check(&self) {
        assert!(
            is_name(self.name),
            "a plugin's name is up to 64 letters, digits, - and _"
        );
        assert!(
            is_line(self.about),
            "`about` is one line of at most 200 bytes, without control characters"
        );
        assert!(is_line(self.version) && is_line(self.license));
        let mut index = 0;
        while index < self.options.len() {
            let option = &self.options[index];
            assert!(
                is_name(option.name),
                "an option's name is up to 64 letters, digits, - and _"
            );
            assert!(
                is_line(option.help),
                "an option's help is one line of at most 200 bytes, without control characters"
            );
            option.check_default();
            let mut other = 0;
            while other < index {
                assert!(
                    !equal(self.options[other].name, option.name),
                    "two options have the same name"
                );
                other += 1;
            }
            index += 1;
        }
    }

    /// Returns the length of the JSON.
    #[doc(hidden)]
    pub const fn json_len(&self) -> usize {
        let mut writer = Writer::<0> { bytes: [], len: 0 };
        writer.description(self);
        writer.len
    }

    /// Returns the JSON, of `N` bytes.
    #[doc(hidden)]
    pub const fn json<const N: usize>(&self) -> [u8; N] {
        let mut writer = Writer { bytes: [0; N], len: 0 };
        writer.description(self);
        assert!(writer.len == N);
        writer.bytes
    }
}

impl OptionSpec {
    const fn check_default(&self) {
        match self.default {
            DefaultValue::Text(default) if !self.values.is_empty() => {
                let mut index = 0;
                while index < self.values.len() && !equal(self.values[index], default) {
                    index += 1;
                }
                assert!(index < self.values.len(), "a choice's default is one of its values");
            }
            DefaultValue::Number(default) => {
                let bytes = default.as_bytes();
                let mut index = 0;
                while index < bytes.len() {
                    assert!(
                        matches!(bytes[index], b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'),
                        "a number's default is written plainly, as 0.5"
                    );
                    index += 1;
                }
            }
            _ => {}
        }
    }
}

/// Writes JSON to an array, or only measures it if the array is too short.
struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    const fn description(&mut self, description: &Description) {
        self.raw("{\"contract\":");
        self.string(crate::CONTRACT);
        self.raw(",\"name\":");
        self.string(description.name);
        self.raw(",\"version\":");
        self.string(description.version);
        self.raw(",\"about\":");
        self.string(description.about);
        self.raw(",\"license\":");
        self.string(description.license);
        self.raw(",\"options\":[");
        let mut index = 0;
        while index < description.options.len() {
            if index > 0 {
                self.byte(b',');
            }
            self.option(&description.options[index]);
            index += 1;
        }
        self.raw("]}");
    }

    const fn option(&mut self, option: &OptionSpec) {
        self.raw("{\"name\":");
        self.string(option.name);
        self.raw(",\"type\":");
        self.string(option.kind);
        if !option.values.is_empty() {
            self.raw(",\"values\":[");
            let mut index = 0;
            while index < option.values.len() {
                if index > 0 {
                    self.byte(b',');
                }
                self.string(option.values[index]);
                index += 1;
            }
            self.byte(b']');
        }
        self.raw(",\"default\":");
        match option.default {
            DefaultValue::Text(text) | DefaultValue::Number(text) => self.string(text),
            DefaultValue::Integer(value) => self.integer(value),
            DefaultValue::Bool(true) => self.string("true"),
            DefaultValue::Bool(false) => self.string("false"),
        }
        self.raw(",\"help\":");
        self.string(option.help);
        self.byte(b'}');
    }

    const fn integer(&mut self, value: i64) {
        self.byte(b'"');
        if value < 0 {
            self.byte(b'-');
        }
        let value = value.unsigned_abs();
        let mut place: u64 = 1;
        while value / place >= 10 {
            place *= 10;
        }
        while place > 0 {
            self.byte(b'0' + (value / place % 10) as u8);
            place /= 10;
        }
        self.byte(b'"');
    }

    const fn string(&mut self, text: &str) {
        self.byte(b'"');
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            let byte = bytes[index];
            match byte {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(byte);
                }
                0..0x20 => {
                    self.raw("\\u00");
                    self.byte(b"0123456789abcdef"[(byte >> 4) as usize]);
                    self.byte(b"0123456789abcdef"[(byte & 15) as usize]);
                }
                _ => self.byte(byte),
            }
            index += 1;
        }
        self.byte(b'"');
    }

    const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            self.byte(bytes[index]);
            index += 1;
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }
}

const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if !(bytes[index].is_ascii_alphanumeric() || matches!(bytes[index], b'-' | b'_')) {
            return false;
        }
        index += 1;
    }
    !bytes.is_empty() && bytes.len() <= MAX_NAME
}

const fn is_line(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        // U+0080 to U+009F are control characters as well; in UTF-8 they begin with 0xc2.
        let c1 = bytes[index] == 0xc2 && bytes[index + 1] < 0xa0;
        if bytes[index].is_ascii_control() || c1 {
            return false;
        }
        index += 1;
    }
    bytes.len() <= MAX_LINE
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: Description = Description {
        name: "a-b_1",
        version: "1.0.0",
        about: "quote \" back\\slash, é 😀",
        license: "",
        options: &[
            OptionSpec {
                name: "x",
                kind: "choice",
                values: &["a\"", "b\n\u{1}\u{7f}"],
                default: DefaultValue::Text("a\""),
                help: "\\",
            },
            OptionSpec {
                name: "y",
                kind: "integer",
                values: &[],
                default: DefaultValue::Integer(i64::MIN),
                help: "",
            },
            OptionSpec {
                name: "z",
                kind: "number",
                values: &[],
                default: DefaultValue::Number("-0.5"),
                help: "",
            },
            OptionSpec {
                name: "w",
                kind: "bool",
                values: &[],
                default: DefaultValue::Bool(true),
                help: "",
            },
        ],
    };

    #[test]
    fn the_json_is_valid_for_all_texts() {
        const { HOSTILE.check() };
        const JSON: [u8; HOSTILE.json_len()] = HOSTILE.json();
        let expected = concat!(
            r#"{"contract":"0.1.0","name":"a-b_1","version":"1.0.0","about":"quote \" back\\slash, é 😀","license":"","#,
            r#""options":[{"name":"x","type":"choice","values":["a\"","b\u000a\u0001"#,
            "\u{7f}",
            r#""],"default":"a\"","help":"\\"},"#,
            r#"{"name":"y","type":"integer","default":"-9223372036854775808","help":""},"#,
            r#"{"name":"z","type":"number","default":"-0.5","help":""},"#,
            r#"{"name":"w","type":"bool","default":"true","help":""}]}"#,
        );
        assert_eq!(std::str::from_utf8(&JSON).unwrap(), expected);
    }

    #[test]
    fn integers_are_written_as_by_the_standard_library() {
        for value in [0, 1, 9, 10, 99, 100, 1200, -1, -10, i64::MAX, i64::MIN] {
            let mut writer = Writer::<32> { bytes: [0; 32], len: 0 };
            writer.integer(value);
            assert_eq!(&writer.bytes[..writer.len], format!("\"{value}\"").as_bytes());
        }
    }

    #[test]
    fn lines_and_names_have_the_limits_of_the_host() {
        assert!(is_line("é – 😀") && is_line(""));
        assert!(!is_line("a\nb") && !is_line("\u{7f}") && !is_line("\u{9b}") && !is_line(&"x".repeat(201)));
        assert!(is_name("a-B_9") && !is_name("") && !is_name("é") && !is_name("a b") && !is_name(&"x".repeat(65)));
    }
}
