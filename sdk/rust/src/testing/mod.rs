//! Runs a plugin natively, as the host would, in an ordinary test.
//!
//! ```
//! # use ipft_plugin::{Batch, Error, Output, Plugin, Summary, Trace, plugin, testing};
//! # use std::io::Write;
//! # #[derive(Default)]
//! # struct Count;
//! # impl Plugin for Count {
//! #     fn events(&mut self, _: &Batch, _: &mut Output) -> Result<(), Error> { Ok(()) }
//! #     fn finish(&mut self, _: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
//! #         Ok(writeln!(out, "{} events", summary.events)?)
//! #     }
//! # }
//! # plugin! { Count, about: "Counts events" }
//! for recording in testing::traces() {
//!     let ran = testing::run(Count::default(), &recording, &[]).expect("it draws every trace");
//!     assert_eq!(ran.text(), format!("{} events\n", recording.summary.events));
//! }
//! ```

mod line;
mod recording;
mod symbols;
mod traces;
mod value;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use crate::event::Event;
use crate::trace::{Function, Summary, Trace};
use crate::{DefaultValue, Describe, Description, Driver, Error, Level, Options, Output, Plugin, set_logger};

pub use recording::RecordingError;
pub use traces::traces;

/// A whole trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Name.
    pub name: String,
    /// Properties known before the first event, without functions and names.
    pub trace: Trace,
    /// The events, in order.
    pub chunks: Vec<Chunk>,
    /// Properties known at the end.
    pub summary: Summary,
}

/// A part of a [`Recording`]: new functions and names, and the events after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Functions, appended to those of earlier chunks.
    pub functions: Vec<Function>,
    /// Names of tagged values, appended to those of earlier chunks.
    pub names: Vec<String>,
    /// Number of events that the plugin misses before these.
    pub missed: u64,
    /// The events.
    pub events: Vec<Event>,
    /// Their payload bytes.
    pub payload: Vec<u8>,
}

/// Result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Bytes written.
    pub output: Vec<u8>,
    /// Messages to the user.
    pub log: Vec<(Level, String)>,
}

impl Ran {
    /// Returns the written text, which must be UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.output).expect("the plugin writes UTF-8")
    }
}

/// Runs a plugin on a recording, with these options and defaults for the others.
pub fn run<P: Plugin + Describe>(plugin: P, recording: &Recording, options: &[(&str, &str)]) -> Result<Ran, Error> {
    let options = options_of(&P::DESCRIPTION, options)?;
    let ran = Rc::new(RefCell::new(Ran::default()));
    let written = Rc::clone(&ran);
    let logged = Rc::clone(&ran);
    set_logger(move |level, message| logged.borrow_mut().log.push((level, message.to_owned())));
    let output = Output::new(move |bytes| written.borrow_mut().output.extend_from_slice(bytes));
    let mut driver = Driver::new(plugin, output);
    driver.start(recording.trace.clone(), &options)?;
    if recording.chunks.is_empty() {
        driver.learn(Vec::new(), Vec::new());
    }
    for (index, chunk) in recording.chunks.iter().enumerate() {
        if index == 0 || !chunk.functions.is_empty() || !chunk.names.is_empty() {
            driver.learn(chunk.functions.clone(), chunk.names.clone());
        }
        if chunk.missed > 0 {
            driver.missed(chunk.missed);
        }
        driver.events(&chunk.events, &chunk.payload)?;
    }
    driver.finish(&recording.summary)?;
    drop(driver);
    set_logger(|_, _| {});
    let ran = ran.take();
    Ok(ran)
}

/// Returns the values of all options, checked as by the host.
fn options_of(description: &Description, given: &[(&str, &str)]) -> Result<Options, Error> {
    let mut values: Vec<(String, String)> = description
        .options
        .iter()
        .map(|option| (option.name.to_owned(), option.default.to_string()))
        .collect();
    for (name, value) in given {
        let position = description.options.iter().position(|option| option.name == *name);
        let position = position.ok_or_else(|| Error::new(format!("it has no option '{name}'")))?;
        let option = &description.options[position];
        let good = match option.default {
            DefaultValue::Integer(_) => value.parse::<i64>().is_ok(),
            DefaultValue::Number(_) => value.parse::<f64>().is_ok_and(f64::is_finite),
            DefaultValue::Bool(_) => matches!(*value, "true" | "false"),
            DefaultValue::Text(_) => option.values.is_empty() || option.values.contains(value),
        };
        if !good {
            return Err(Error::new(format!("its option '{name}' cannot be '{value}'")));
        }
        (*value).clone_into(&mut values[position].1);
    }
    Ok(Options::new(values))
}

/// Compares with a file's content, and panics at a difference. With `UPDATE_GOLDEN=1` in the environment it writes the
/// file instead.
pub fn golden(path: impl AsRef<Path>, actual: &[u8]) {
    let path = path.as_ref();
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(path, actual).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        return;
    }
    let expected = std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let (expected, actual) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(actual));
    let line = expected
        .split('\n')
        .zip(actual.split('\n'))
        .position(|(expected, actual)| expected != actual)
        .unwrap_or(expected.lines().count().min(actual.lines().count()));
    let of = |text: &str| text.split('\n').nth(line).unwrap_or("the end").to_owned();
    assert!(
        expected == actual,
        "{} differs in line {}; UPDATE_GOLDEN=1 writes it anew\n  expected: {}\n  actual:   {}",
        path.display(),
        line + 1,
        of(&expected),
        of(&actual)
    );
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{Batch, OptionSpec, log};

    /// Writes the sequence of its calls.
    #[derive(Default)]
    struct Calls(String);

    impl Describe for Calls {
        const DESCRIPTION: Description = Description {
            name: "calls",
            version: "1.0.0",
            about: "",
            license: "",
            options: &[OptionSpec {
                name: "most",
                kind: "integer",
                values: &[],
                default: DefaultValue::Integer(7),
                help: "",
            }],
        };
    }

    impl Plugin for Calls {
        fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
            assert!(trace.functions.is_empty());
            log(Level::Info, "hello");
            self.0 = format!("start {}", options.integer_in("most", 0..=10)?);
            Ok(())
        }

        fn learn(&mut self, trace: &Trace) {
            self.0 += &format!(" learn {}", trace.functions.len());
        }

        fn events(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Error> {
            self.0 += &format!(" events {}", batch.events.len());
            Ok(out.write_all(b"!")?)
        }

        fn missed(&mut self, events: u64) {
            self.0 += &format!(" missed {events}");
        }

        fn finish(&mut self, _trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
            Ok(write!(out, "{} finish {}", self.0, summary.events)?)
        }
    }

    fn calls(name: &str, options: &[(&str, &str)]) -> Result<Ran, Error> {
        let recording = traces().into_iter().find(|recording| recording.name == name);
        run(Calls::default(), &recording.expect("it is there"), options)
    }

    #[test]
    fn a_plugin_is_called_as_in_the_contract() {
        let text = |name| calls(name, &[]).unwrap().text().to_owned();
        assert_eq!(text("late"), "!!start 7 learn 1 events 1 learn 3 events 5 finish 6");
        assert_eq!(
            text("losses"),
            "!!start 7 learn 2 events 2 missed 17 events 1 finish 20"
        );
        assert_eq!(calls("empty", &[]).unwrap().log, [(Level::Info, "hello".to_owned())]);
        let nothing = run(Calls::default(), &Recording::default(), &[]).unwrap();
        assert_eq!(nothing.text(), "start 7 learn 0 finish 0");
    }

    #[test]
    fn options_that_the_host_would_refuse_are_refused() {
        assert!(calls("empty", &[("most", "3")]).unwrap().text().contains("start 3"));
        for (option, expected) in [
            (("least", "3"), "it has no option 'least'"),
            (("most", "x"), "its option 'most' cannot be 'x'"),
            (
                ("most", "11"),
                "the option 'most' cannot be 11: it must be from 0 to 10",
            ),
        ] {
            assert_eq!(calls("empty", &[option]).unwrap_err().to_string(), expected);
        }
    }
}
