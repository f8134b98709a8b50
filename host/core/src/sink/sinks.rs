//! Runs several sinks at once, isolated from each other.

use super::{Sink, SinkError};
use crate::event::{Batch, Function, Progress, Summary, Trace};
use crate::output::{Full, Outlet};

/// Whether a run should continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// At least one sink takes events.
    Continue,
    /// The reader of stdout has gone, or no sink is left.
    Stop,
}

/// Destination of a sink's output, which decides the meaning of a closed reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output: `ipft | head` ends when `head` does.
    Stdout,
    /// Anywhere else: the sink is set aside and the run goes on.
    Elsewhere,
}

/// Callback with the name of a failing sink and its error, when it fails.
pub type Report = Box<dyn FnMut(&str, &SinkError)>;

/// The sinks of a run. One that fails is reported and gets no more calls; the others go on.
pub struct Sinks {
    entries: Vec<Entry>,
    /// Streams whose reader may be slow, the name of each, and what happens then while the trace goes on.
    outlets: Vec<(String, Outlet, Full)>,
    report: Report,
    flow: Flow,
}

struct Entry {
    name: String,
    destination: Destination,
    sink: Box<dyn Sink>,
    /// The reason why it was dropped.
    end: Option<SinkError>,
}

impl Sinks {
    /// None yet.
    pub fn new(report: Report) -> Self {
        Sinks {
            entries: Vec::new(),
            outlets: Vec::new(),
            report,
            flow: Flow::Continue,
        }
    }

    /// Adds a sink, with the name for reports of its failure.
    pub fn add(&mut self, name: impl Into<String>, destination: Destination, sink: Box<dyn Sink>) {
        self.entries.push(Entry {
            name: name.into(),
            destination,
            sink,
            end: None,
        });
    }

    /// A sink writes to this stream. `full`: what happens when its reader is slow and other sinks are beside it. One that
    /// is alone waits for its reader, and so do all when the trace has ended.
    pub fn add_outlet(&mut self, name: impl Into<String>, outlet: Outlet, full: Full) {
        self.outlets.push((name.into(), outlet, full));
    }

    /// Number of lines dropped because the reader of a stream was slow, if any.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, u64)> {
        let dropped = self
            .outlets
            .iter()
            .map(|(name, outlet, _)| (name.as_str(), outlet.dropped()));
        dropped.filter(|(_, lines)| *lines > 0)
    }

    /// Passes the start on to all.
    pub fn start(&mut self, trace: &Trace) -> Flow {
        let alone = self.entries.len() < 2;
        for (_, outlet, full) in &self.outlets {
            outlet.when_full(if alone { Full::Wait } else { *full });
        }
        self.each(|sink| sink.start(trace))
    }

    /// Passes functions that are new on to all that have not failed.
    pub fn functions(&mut self, new: &[Function]) -> Flow {
        self.each(|sink| sink.functions(new))
    }

    /// Passes a batch on to all that have not failed.
    pub fn events(&mut self, batch: &Batch) -> Flow {
        self.each(|sink| sink.events(batch))
    }

    /// Passes the progress on to all that have not failed.
    pub fn progress(&mut self, progress: &Progress) -> Flow {
        self.each(|sink| sink.progress(progress))
    }

    /// Passes the end on to all that have not failed. Files come first, as the reader of a stream may take its time.
    pub fn finish(&mut self, summary: &Summary) {
        for (_, outlet, _) in &self.outlets {
            outlet.when_full(Full::Wait);
        }
        self.entries
            .sort_by_key(|entry| entry.destination == Destination::Stdout);
        let _ = self.each(|sink| sink.finish(summary));
    }

    /// The sinks that failed, and at what. One whose reader has gone did not fail.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &SinkError)> {
        self.entries.iter().filter_map(|entry| match &entry.end {
            None | Some(SinkError::Closed) => None,
            Some(error) => Some((entry.name.as_str(), error)),
        })
    }

    /// Returns whether the run should continue after the calls so far.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    fn each(&mut self, mut call: impl FnMut(&mut dyn Sink) -> Result<(), SinkError>) -> Flow {
        for entry in &mut self.entries {
            if entry.end.is_some() {
                continue;
            }
            let Err(error) = call(entry.sink.as_mut()) else {
                continue;
            };
            if !matches!(error, SinkError::Closed) {
                (self.report)(&entry.name, &error);
            } else if entry.destination == Destination::Stdout {
                self.flow = Flow::Stop;
            }
            entry.end = Some(error);
        }
        if self.entries.iter().all(|entry| entry.end.is_some()) {
            self.flow = Flow::Stop;
        }
        self.flow
    }
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.entries.iter().map(|entry| (&entry.name, &entry.end)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::ErrorKind;
    use std::rc::Rc;

    use super::*;
    use crate::sink::test_support::trace;

    type Log = Rc<RefCell<Vec<String>>>;

    /// Notes its calls, and fails at the event batch with this number.
    struct Fragile {
        name: &'static str,
        fails: Fails,
        batches: usize,
        log: Log,
    }

    impl Fragile {
        fn note(&self, what: &str) {
            self.log.borrow_mut().push(format!("{} {what}", self.name));
        }
    }

    impl Sink for Fragile {
        fn start(&mut self, _: &Trace) -> Result<(), SinkError> {
            self.note("start");
            Ok(())
        }

        fn functions(&mut self, _: &[Function]) -> Result<(), SinkError> {
            self.note("functions");
            Ok(())
        }

        fn events(&mut self, _: &Batch) -> Result<(), SinkError> {
            self.note("events");
            self.batches += 1;
            match self.fails {
                Some((batch, kind)) if batch == self.batches => Err(std::io::Error::from(kind).into()),
                _ => Ok(()),
            }
        }

        fn finish(&mut self, _: &Summary) -> Result<(), SinkError> {
            self.note("finish");
            Ok(())
        }
    }

    /// At which batch a sink fails, and how.
    type Fails = Option<(usize, ErrorKind)>;

    fn sinks(list: &[(&'static str, Destination, Fails)]) -> (Sinks, Log) {
        let log = Log::default();
        let reports = log.clone();
        let mut sinks = Sinks::new(Box::new(move |name, error| {
            reports.borrow_mut().push(format!("report {name}: {error}"));
        }));
        for &(name, destination, fails) in list {
            let log = log.clone();
            let sink = Fragile {
                name,
                fails,
                batches: 0,
                log,
            };
            sinks.add(name, destination, Box::new(sink));
        }
        (sinks, log)
    }

    #[test]
    fn a_failing_sink_is_reported_once_others_go_on() {
        let (mut sinks, log) = sinks(&[
            ("full", Destination::Elsewhere, Some((1, ErrorKind::StorageFull))),
            ("good", Destination::Stdout, None),
        ]);
        assert_eq!(sinks.start(&trace()), Flow::Continue);
        assert_eq!(sinks.events(&Batch::default()), Flow::Continue);
        assert_eq!(sinks.events(&Batch::default()), Flow::Continue);
        sinks.finish(&Summary::default());
        assert_eq!(
            *log.borrow(),
            [
                "full start",
                "good start",
                "full events",
                "report full: cannot write the output: no storage space",
                "good events",
                "good events",
                "good finish",
            ]
        );
        assert_eq!(sinks.failures().map(|(name, _)| name).collect::<Vec<_>>(), ["full"]);
    }

    #[test]
    fn a_closed_stdout_ends_the_run_and_is_no_failure() {
        let (mut sinks, log) = sinks(&[
            ("stdout", Destination::Stdout, Some((1, ErrorKind::BrokenPipe))),
            ("file", Destination::Elsewhere, None),
        ]);
        assert_eq!(sinks.start(&trace()), Flow::Continue);
        assert_eq!(sinks.events(&Batch::default()), Flow::Stop);
        sinks.finish(&Summary::default());
        assert_eq!(sinks.failures().count(), 0);
        assert_eq!(log.borrow().last().unwrap(), "file finish");
        assert!(!log.borrow().iter().any(|line| line.starts_with("report")));
    }

    #[test]
    fn a_reader_elsewhere_may_go_and_the_run_goes_on() {
        let (mut sinks, _) = sinks(&[
            ("fifo", Destination::Elsewhere, Some((1, ErrorKind::BrokenPipe))),
            ("stdout", Destination::Stdout, None),
        ]);
        assert_eq!(sinks.events(&Batch::default()), Flow::Continue);
        assert_eq!(sinks.failures().count(), 0);
    }

    #[test]
    fn a_run_without_a_sink_left_ends() {
        let (mut sinks, _) = sinks(&[
            ("one", Destination::Elsewhere, Some((1, ErrorKind::StorageFull))),
            ("two", Destination::Elsewhere, Some((2, ErrorKind::StorageFull))),
        ]);
        assert_eq!(sinks.events(&Batch::default()), Flow::Continue);
        assert_eq!(sinks.events(&Batch::default()), Flow::Stop);
        assert_eq!(sinks.failures().count(), 2);
    }
}
