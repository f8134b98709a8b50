//! `--record`: the trace as a file that can be drawn later, or as a ring of files in bounded space.
//!
//! The file is written as the trace goes on, so that it is there whatever ends the program. What fails leaves the file as
//! it was after the last whole block.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::counter::Counter;
use super::{Sink, SinkError};
use crate::event::{Batch, Progress, Summary, Trace};
use crate::recording::Writer;

/// A ring of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Bytes of a file: the block that fills it is its last.
    pub max_size: u64,
    /// How many files there are at most; older ones are deleted.
    pub files: u32,
}

/// The sink behind `--record`.
pub struct Record {
    /// What files of a ring are called, and how large and how many they are.
    ring: Option<(PathBuf, Ring)>,
    /// Before the trace begins: the file, as yet untouched.
    file: Option<Target>,
    writer: Option<Writer<Target>>,
    /// Parts that are there, the oldest first.
    parts: VecDeque<PathBuf>,
    number: u32,
    counter: Option<Counter>,
}

/// What a part is written to.
struct Target {
    output: Output,
    /// Its name, if it was made by us and nothing of use is in it yet.
    fresh: Option<PathBuf>,
}

enum Output {
    /// A file, and whether it is one that has a length.
    File(File, bool),
    Stdout(io::Stdout),
}

impl Record {
    /// Records to one file, or to a ring of files beside it. That it can be written is found out here; what was in it
    /// stays until the trace begins.
    pub fn create(path: &Path, ring: Option<Ring>) -> io::Result<Self> {
        let first = match ring {
            Some(_) => part_name(path, 0),
            None => path.to_owned(),
        };
        Ok(Record {
            file: Some(Target::open(&first)?),
            ring: ring.map(|ring| (path.to_owned(), ring)),
            writer: None,
            parts: VecDeque::from([first]),
            number: 0,
            counter: None,
        })
    }

    /// The files there are that a ring of this name may write over.
    pub fn parts_there(path: &Path) -> Vec<PathBuf> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let is_part = |found: &Path| {
            let number = found
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .and_then(|name| {
                    let rest = name.strip_prefix(&*path.file_stem()?.to_string_lossy())?;
                    rest.strip_prefix('.')?.split('.').next()?.parse().ok()
                });
            number.is_some_and(|number| part_name(path, number).file_name() == found.file_name())
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| is_part(path)).collect()
    }

    /// Records to standard output.
    pub fn to_stdout() -> Self {
        Record {
            ring: None,
            file: Some(Target {
                output: Output::Stdout(io::stdout()),
                fresh: None,
            }),
            writer: None,
            parts: VecDeque::new(),
            number: 0,
            counter: None,
        }
    }

    /// Shows how many events there are so far.
    pub fn with_counter(mut self, counter: Option<Counter>) -> Self {
        self.counter = counter;
        self
    }

    /// Goes on in a new file if this one is full.
    fn rotate(&mut self) -> io::Result<()> {
        let (Some((path, ring)), Some(writer)) = (&self.ring, &mut self.writer) else {
            return Ok(());
        };
        if writer.position() < ring.max_size {
            return Ok(());
        }
        self.number += 1;
        let next = part_name(path, self.number);
        let mut target = Target::open(&next)?;
        target.empty()?;
        // Until it says what was traced, it is of no use, also if a file of an older ring was there.
        target.fresh = Some(next.clone());
        if let Err(error) = writer.next_part(target) {
            take_back(writer);
            return Err(error);
        }
        writer.get_mut().fresh = None;
        self.parts.push_back(next);
        while self.parts.len() > ring.files as usize {
            if let Some(oldest) = self.parts.pop_front() {
                remove(&oldest)?;
            }
        }
        Ok(())
    }

    /// Writes, and if that fails, takes back what is of no use.
    fn write(&mut self, what: impl FnOnce(&mut Writer<Target>) -> io::Result<()>) -> Result<(), SinkError> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let Err(error) = what(writer) else {
            return Ok(());
        };
        take_back(writer);
        Err(error.into())
    }
}

/// Removes a file that somebody else may have removed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Cuts off half a block, which is no use to anybody. If this fails too, a reader passes over it.
fn take_back(writer: &mut Writer<Target>) {
    let whole = writer.whole();
    if let Output::File(file, true) = &writer.get_mut().output {
        let _ = file.set_len(whole);
    }
}

impl Sink for Record {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let Some(target) = self.file.take() else {
            return Ok(());
        };
        if let Some((_, ring)) = &self.ring {
            let beginning = Writer::new(Vec::new(), trace, 0)?.position();
            if beginning >= ring.max_size {
                return Err(SinkError::SmallRing { beginning });
            }
        }
        target.empty()?;
        let mut writer = Writer::new(target, trace, new_id())?;
        writer.get_mut().fresh = None;
        if let Some((path, _)) = &self.ring {
            // Of an older ring, which this one takes the place of.
            for part in Record::parts_there(path) {
                if part.file_name() != self.parts[0].file_name() {
                    remove(&part)?;
                }
            }
        }
        self.writer = Some(writer);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.write(|writer| writer.push(batch))?;
        if let Some(counter) = &mut self.counter {
            counter.add(batch.events.len());
        }
        Ok(self.rotate()?)
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), SinkError> {
        self.write(|writer| writer.progress(progress))?;
        Ok(self.rotate()?)
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        if let Some(counter) = &mut self.counter {
            counter.clear();
        }
        self.write(|writer| writer.finish(summary))
    }
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        let was_there = fs::symlink_metadata(path).is_ok();
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        let regular = file.metadata()?.is_file();
        Ok(Target {
            output: Output::File(file, regular),
            fresh: (!was_there).then(|| path.to_owned()),
        })
    }

    /// From now on it is ours.
    fn empty(&self) -> io::Result<()> {
        match &self.output {
            Output::File(file, true) => file.set_len(0),
            _ => Ok(()),
        }
    }
}

impl Drop for Target {
    /// A trace that never began leaves nothing, and neither does a part that has no beginning.
    fn drop(&mut self) {
        if let Some(path) = &self.fresh {
            let _ = fs::remove_file(path);
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.output {
            Output::File(file, _) => file.write(bytes),
            Output::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::File(file, _) => file.flush(),
            Output::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// `trace.ipft` becomes `trace.000007.ipft`.
fn part_name(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number:06}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// A number that no other trace has: unless two begin in the same nanosecond in processes of the same number.
fn new_id() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |since| since.as_nanos() as u64);
    nanoseconds ^ u64::from(std::process::id()).rotate_left(42)
}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        let name = |path: &str| part_name(Path::new(path), 7);
        assert_eq!(name("a/trace.ipft"), Path::new("a/trace.000007.ipft"));
        assert_eq!(name("trace"), Path::new("trace.000007"));
        assert_eq!(name("a.b/x.y.ipft"), Path::new("a.b/x.y.000007.ipft"));
    }

    #[test]
    fn the_parts_of_a_ring_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "trace.000000.ipft",
            "trace.000012.ipft",
            "trace.1000000.ipft",
            "trace.ipft",
            "trace.12.ipft",
            "trace.000000.txt",
            "other.000000.ipft",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut found = Record::parts_there(&folder.path().join("trace.ipft"));
        found.sort();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["trace.000000.ipft", "trace.000012.ipft", "trace.1000000.ipft"]);
    }

    #[test]
    fn a_trace_that_never_begins_leaves_no_file_and_changes_none() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new.ipft");
        let old = folder.path().join("old.ipft");
        fs::write(&old, "something").unwrap();
        drop(Record::create(&new, None).unwrap());
        drop(Record::create(&old, None).unwrap());
        assert!(!new.exists());
        assert_eq!(fs::read_to_string(&old).unwrap(), "something");
    }
}
