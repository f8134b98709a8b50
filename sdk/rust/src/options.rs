//! Option values. The host checks them against the description before the plugin starts.

use crate::Error;

/// The values of all options in the description: those that the user set, and the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(String, String)>);

impl Options {
    /// Creates options from names and values.
    pub fn new(values: Vec<(String, String)>) -> Self {
        Options(values)
    }

    /// Returns the value of an option as text. Fails only for an option that is not in the description.
    pub fn get(&self, name: &str) -> Result<&str, Error> {
        let found = self.0.iter().find(|(other, _)| other == name);
        let (_, value) = found.ok_or_else(|| Error::new(format!("it describes no option '{name}'")))?;
        Ok(value)
    }

    /// Returns the value of an option of type `integer`.
    pub fn integer(&self, name: &str) -> Result<i64, Error> {
        self.parsed(name, "a whole number")
    }

    /// Returns the value of an option of type `number`.
    pub fn number(&self, name: &str) -> Result<f64, Error> {
        self.parsed(name, "a number")
    }

    /// Returns the value of an option of type `bool`.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        self.parsed(name, "true or false")
    }

    /// Returns the value of an option of type `integer` that must lie in a range.
    pub fn integer_in(&self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<i64, Error> {
        let value = self.integer(name)?;
        match range.contains(&value) {
            true => Ok(value),
            false => Err(Error::new(format!(
                "the option '{name}' cannot be {value}: it must be from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, wanted: &str) -> Result<T, Error> {
        let value = self.get(name)?;
        value.parse().map_err(|_| {
            Error::new(format!(
                "the option '{name}' cannot be '{}': it must be {wanted}",
                value.escape_debug()
            ))
        })
    }
}
