//! Recordings as a stream: the files of one trace, one after the other, in batches like those of a live trace.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::BATCH;
use super::stdin::StoppableStdin;
use crate::event::{Batch, Function, Loss, Summary, Trace};
use crate::recording::layout::BlockHeader;
use crate::recording::{Content, End, Input, Reader, RecordingError};
use crate::text::visible;

/// The reason why recordings cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// One of them cannot be used at all.
    #[error("{path} {reason}", path = shown(path))]
    Recording {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: RecordingError,
    },
    /// They do not belong together.
    #[error(
        "{first} and {second} are of different traces; replay one after the other",
        first = shown(first),
        second = shown(second)
    )]
    Different {
        /// One of them.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// They are the same piece of a trace.
    #[error("{first} and {second} are the same part of a trace", first = shown(first), second = shown(second))]
    Twice {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

/// Files of one trace.
pub struct Recorded {
    /// In order.
    parts: Vec<Part>,
    /// The part that is read, and its place.
    reader: Reader,
    current: usize,
    /// The block that was read last may have more events.
    open: bool,
    /// Number of known functions, and those that were not taken yet.
    functions: u32,
    new_functions: Vec<Vec<Function>>,
    losses: Vec<Loss>,
    summary: Option<Summary>,
    notes: Vec<String>,
    /// The last file has its index, so that its end is known to be there.
    ends: bool,
    /// The first part is there, and each after it up to the last file.
    begins: bool,
    /// Something that was recorded in these files could not be read.
    lost: bool,
}

struct Part {
    path: PathBuf,
    number: u32,
    /// The file, if it was opened to be read later.
    file: Option<File>,
}

impl Part {
    /// Opens it from its beginning. Reading from standard input fails as soon as `stop` is readable.
    fn open(&self, stop: Option<OwnedFd>) -> Result<Reader, RecordedError> {
        let held = |file: &File| {
            let mut file = file.try_clone()?;
            file.rewind()?;
            Input::file(file)
        };
        reader(
            &self.path,
            match &self.file {
                Some(file) => held(file),
                None => input(&self.path, stop),
            },
        )
    }
}

impl Recorded {
    /// Opens files, which may be in any order; `-` is standard input. Reading from that fails as soon as `stop` is
    /// readable.
    pub fn open(paths: &[PathBuf], stop: Option<OwnedFd>) -> Result<Self, RecordedError> {
        let mut notes = Vec::new();
        let mut passed_over = Vec::new();
        let parts = order(paths, &mut notes, &mut passed_over)?;
        Recorded::begin(parts, notes, passed_over, stop)
    }

    fn begin(
        parts: Vec<Part>,
        notes: Vec<String>,
        passed_over: Vec<String>,
        stop: Option<OwnedFd>,
    ) -> Result<Self, RecordedError> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Err(RecordedError::Recording {
                path: PathBuf::new(),
                reason: RecordingError::Empty,
            });
        };
        let distance = u64::from(last.number - first.number);
        let reader = first.open(stop)?;
        let begins = reader.header().part == 0 && distance + 1 == parts.len() as u64;
        let mut recorded = Recorded {
            parts,
            functions: reader.trace().functions.len() as u32,
            new_functions: Vec::new(),
            reader,
            current: 0,
            open: false,
            losses: Vec::new(),
            summary: None,
            lost: !passed_over.is_empty(),
            notes,
            ends: false,
            begins,
        };
        recorded.notes.extend(passed_over);
        recorded.ends = recorded.has_end()?;
        Ok(recorded)
    }

    /// Opens all files, so that they can be read when no file can be opened any more. What is no file is open already,
    /// and can be read once.
    pub fn hold(&mut self) -> Result<(), RecordedError> {
        for part in &mut self.parts {
            if part.path == Path::new("-") || !std::fs::metadata(&part.path).is_ok_and(|known| known.is_file()) {
                continue;
            }
            let file = File::open(&part.path).map_err(|source| RecordedError::Recording {
                path: part.path.clone(),
                reason: source.into(),
            })?;
            part.file = Some(file);
        }
        Ok(())
    }

    /// Begins again with the same files, which were opened by [`Recorded::hold`]. Nothing is read here any more then.
    pub fn again(&self) -> Result<Self, RecordedError> {
        let part = |part: &Part| {
            let file = part.file.as_ref().map(File::try_clone).transpose();
            Ok(Part {
                path: part.path.clone(),
                number: part.number,
                file: file.map_err(|source| RecordedError::Recording {
                    path: part.path.clone(),
                    reason: source.into(),
                })?,
            })
        };
        let parts: Result<Vec<Part>, RecordedError> = self.parts.iter().map(part).collect();
        Recorded::begin(parts?, Vec::new(), Vec::new(), None)
    }

    fn has_end(&mut self) -> Result<bool, RecordedError> {
        let index = match &self.parts[..] {
            [.., last] if self.parts.len() > 1 => last.open(None)?.index(),
            _ => self.reader.index(),
        };
        let index = index.map_err(|source| RecordedError::Recording {
            path: self.parts.last().map(|last| last.path.clone()).unwrap_or_default(),
            reason: source.into(),
        })?;
        Ok(index.is_some_and(|index| {
            index
                .iter()
                .any(|entry| entry.kind == crate::recording::layout::Kind::DONE)
        }))
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        self.reader.trace()
    }

    /// Returns whether the whole trace should be present, from its beginning to its summary.
    pub fn is_complete(&self) -> bool {
        self.begins && self.ends
    }

    /// Returns whether a file read so far was cut or damaged, so that events are missing.
    pub fn has_lost(&self) -> bool {
        self.lost
    }

    /// The summary, once it was read.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Returns the losses read so far.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Returns warnings about the state of the files read so far.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Puts the next events into the batch, in place of those in it. Blocks that are not wanted are passed over. `false`
    /// at the end.
    pub fn read(
        &mut self,
        batch: &mut Batch,
        mut wanted: impl FnMut(&BlockHeader) -> bool,
    ) -> Result<bool, RecordedError> {
        batch.clear();
        loop {
            if self.open && self.reader.fill(batch, BATCH) {
                return Ok(true);
            }
            self.open = false;
            let next = self.reader.next(&mut wanted).map_err(|source| self.failed(source))?;
            match next {
                Some(Content::Events) => self.open = true,
                Some(Content::Functions(first, functions)) => self.append(first, functions),
                Some(Content::Losses(losses)) => self.losses = losses,
                Some(Content::Done(summary)) => self.summary = Some(summary),
                None => {
                    self.note();
                    let Some(part) = self.parts.get(self.current + 1) else {
                        return Ok(false);
                    };
                    self.reader = part.open(None)?;
                    self.current += 1;
                    // Each part has all names from the first on, in every block.
                    batch.names.clear();
                }
            }
        }
    }

    /// Adds functions, some of which may have been read before. If those in between are missing, their indexes have no
    /// meaning, and they become functions without a name.
    fn append(&mut self, first: u32, mut functions: Vec<Function>) {
        let Some(known) = self.functions.checked_sub(first) else {
            self.lost = true;
            return;
        };
        let new = functions.split_off((known as usize).min(functions.len()));
        self.functions = self.functions.saturating_add(new.len() as u32);
        if !new.is_empty() {
            self.new_functions.push(new);
        }
    }

    /// Functions that were appended to those of the trace before the events that were read last, and not taken yet: as
    /// they came, one list each time.
    pub fn take_functions(&mut self) -> Vec<Vec<Function>> {
        std::mem::take(&mut self.new_functions)
    }

    fn failed(&self, source: io::Error) -> RecordedError {
        RecordedError::Recording {
            path: self.path().to_owned(),
            reason: source.into(),
        }
    }

    /// Notes what was wrong with the file that has ended.
    fn note(&mut self) {
        let seen = self.reader.seen();
        self.lost |= seen.damaged.0 > 0 || matches!(seen.end, Some(End::Cut { done: false, .. }));
        let notes = notes_on(self.path(), &self.reader, self.is_last());
        self.notes.extend(notes);
    }

    fn path(&self) -> &Path {
        self.parts.get(self.current).map_or(Path::new(""), |part| &part.path)
    }

    fn is_last(&self) -> bool {
        self.current + 1 >= self.parts.len()
    }
}

/// Returns warnings about a file after reading it; `last`: whether it is the last available file of its trace.
pub fn notes_on(path: &Path, reader: &Reader, last: bool) -> Vec<String> {
    let seen = reader.seen();
    let path = shown(path);
    let (pieces, bytes) = seen.damaged;
    let mut notes = Vec::new();
    if pieces > 0 {
        let lost: u64 = seen
            .damage
            .iter()
            .filter_map(|damage| damage.events)
            .map(u64::from)
            .sum();
        let unsure = seen.damage.len() as u64 != pieces || seen.damage.iter().any(|damage| damage.events.is_none());
        let first = seen.damage.first().map_or(0, |damage| damage.offset);
        let reason = seen.damage.first().and_then(|damage| damage.reason);
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        notes.push(format!(
            "{path} is damaged: {bytes} bytes in {pieces} {}, the first at byte {first}{reason}, cannot be read; {}{lost} \
                 events were in them",
            if pieces == 1 { "place" } else { "places" },
            if unsure { "at least " } else { "" }
        ));
    }
    match seen.end {
        Some(End::Cut { done: true, .. }) => notes.push(format!(
            "{path} was cut at its very end; nothing of the trace is missing"
        )),
        Some(End::Cut { offset, done: false }) => notes.push(format!(
            "{path} was cut: it has no end, and what follows byte {offset} was not recorded or is lost"
        )),
        Some(End::Continued) if last => notes.push(format!(
            "{path} is not the last part of its trace; what follows is in part {}",
            u64::from(reader.header().part) + 1
        )),
        _ => {}
    }
    notes
}

/// The files in the order of their trace, and the warnings about them.
pub fn in_order(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<String>), RecordedError> {
    let mut notes = Vec::new();
    let mut passed_over = Vec::new();
    let parts = order(paths, &mut notes, &mut passed_over)?;
    notes.append(&mut passed_over);
    Ok((parts.into_iter().map(|part| part.path).collect(), notes))
}

/// Brings the files into the order of their trace, and notes what is missing between them. One whose beginning is
/// missing says nothing alone; beside others it is passed over: it is what a full disk or a crash leaves of the last part.
fn order(
    paths: &[PathBuf],
    notes: &mut Vec<String>,
    passed_over: &mut Vec<String>,
) -> Result<Vec<Part>, RecordedError> {
    if let [only] = paths {
        return Ok(vec![Part {
            path: only.clone(),
            number: 0,
            file: None,
        }]);
    }
    let mut trace: Option<(u64, &PathBuf)> = None;
    let mut parts = Vec::new();
    let mut useless = None;
    for path in paths {
        let header = match open(path) {
            Ok(reader) => reader.header(),
            Err(RecordedError::Recording {
                path,
                reason: reason @ (RecordingError::Empty | RecordingError::Beginning(_)),
            }) => {
                passed_over.push(format!("{} {reason}; it is passed over", shown(&path)));
                useless.get_or_insert(RecordedError::Recording { path, reason });
                continue;
            }
            Err(error) => return Err(error),
        };
        match trace {
            Some((trace, first)) if trace != header.trace => {
                return Err(RecordedError::Different {
                    first: first.clone(),
                    second: path.clone(),
                });
            }
            _ => trace = Some((header.trace, path)),
        }
        parts.push(Part {
            path: path.clone(),
            number: header.part,
            file: None,
        });
    }
    if let (true, Some(error)) = (parts.is_empty(), useless) {
        return Err(error);
    }
    parts.sort_by_key(|part| part.number);
    for pair in parts.windows(2) {
        let [one, other] = pair else { continue };
        match other.number - one.number {
            0 => {
                return Err(RecordedError::Twice {
                    first: one.path.clone(),
                    second: other.path.clone(),
                });
            }
            1 => {}
            gap => notes.push(format!(
                "{} missing between {} and {}",
                match gap - 1 {
                    1 => "1 part is".to_owned(),
                    parts => format!("{parts} parts are"),
                },
                shown(&one.path),
                shown(&other.path)
            )),
        }
    }
    Ok(parts)
}

/// Escapes a path for a terminal: the authors of the files have named them.
fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy()).to_string()
}

/// Opens one file; `-` is standard input.
pub fn open(path: &Path) -> Result<Reader, RecordedError> {
    reader(path, input(path, None))
}

fn reader(path: &Path, input: io::Result<Input>) -> Result<Reader, RecordedError> {
    input
        .map_err(RecordingError::from)
        .and_then(Reader::open)
        .map_err(|reason| RecordedError::Recording {
            path: path.to_owned(),
            reason,
        })
}

fn input(path: &Path, stop: Option<OwnedFd>) -> io::Result<Input> {
    if path == Path::new("-") {
        return Ok(Input::Stream(match stop {
            Some(stop) => Box::new(BufReader::new(StoppableStdin::new(stop))),
            None => Box::new(io::stdin().lock()),
        }));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Input::file(file)
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorded")
            .field("path", &self.path())
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}
