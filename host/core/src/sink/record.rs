//! `--record`: the trace as a file for later replays, or as a ring of files of bounded size.
//!
//! The file is written as the trace goes on, so that it is there whatever ends the program. What fails leaves the file as
//! it was after the last whole block.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::counter::Counter;
use super::{Sink, SinkError};
use crate::event::{Batch, Function, Progress, Summary, Trace};
use crate::output::{self, Entry, NewFile, Node, Outlet, Refused};
use crate::recording::Writer;

/// Numbers that a ring passes over because something else has their names; more are no accident.
const MAX_TAKEN: u32 = 1000;

/// A ring of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Bytes of a file: the block that fills it is its last.
    pub max_size: u64,
    /// Maximum number of files; older ones are deleted.
    pub files: u32,
}

/// The sink behind `--record`.
pub struct Record {
    ring: Option<Parts>,
    /// Before the trace begins.
    target: Option<Target>,
    /// The destination, if it is not a file.
    outlet: Option<Outlet>,
    writer: Option<Writer<Target>>,
    counter: Option<Counter>,
}

/// The files of a ring.
struct Parts {
    ring: Ring,
    /// Their names, without the number.
    path: PathBuf,
    /// Their folder.
    folder: Entry,
    /// The part that is written.
    number: u32,
    /// Those that are there, the oldest first.
    there: VecDeque<(Entry, Node)>,
}

/// The destination of a part.
enum Target {
    /// A file that has no name yet.
    New(NewFile),
    /// A file.
    File(File),
    /// A pipe, a device, stdout.
    Stream(Outlet),
    /// A file that could not get its name.
    Gone,
}

impl Record {
    /// Records to one file, or to a ring of files beside it. That it can be written is found out here; what was there stays
    /// until the trace begins.
    pub fn create(path: &Path, ring: Option<Ring>) -> io::Result<Self> {
        let parts = ring.map(|ring| Parts::find(path, ring)).transpose()?;
        let entry = match &parts {
            Some(parts) => parts.entry(0),
            None => Entry::find(path)?,
        };
        let target = if entry.is_special()? && parts.is_none() {
            let file = entry.open_special()?;
            match file.metadata()?.is_file() {
                true => Target::File(file),
                false => Target::Stream(Outlet::new(file)),
            }
        } else {
            entry.refuse_busy()?;
            Target::New(NewFile::create(entry, output::PRIVATE)?)
        };
        Ok(Record::to(target, parts))
    }

    /// Records to standard output.
    pub fn to_stdout() -> Self {
        Record::to(Target::Stream(output::stdout()), None)
    }

    fn to(target: Target, ring: Option<Parts>) -> Self {
        let outlet = match &target {
            Target::Stream(outlet) => Some(outlet.clone()),
            Target::New(_) | Target::File(_) | Target::Gone => None,
        };
        Record {
            ring,
            target: Some(target),
            outlet,
            writer: None,
            counter: None,
        }
    }

    /// The files there are that a ring of this name may write over.
    pub fn parts_there(path: &Path) -> Vec<PathBuf> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let parts = entries.filter(|entry| number_of(path, &entry.file_name()).is_some());
        parts.map(|entry| entry.path()).collect()
    }

    /// Shows how many events there are so far.
    pub fn with_counter(mut self, counter: Option<Counter>) -> Self {
        self.counter = counter;
        self
    }

    /// Returns the destination, if it is not a file, since its reader may be slow.
    pub fn outlet(&self) -> Option<Outlet> {
        self.outlet.clone()
    }

    /// Goes on in a new file if this one is full.
    fn rotate(&mut self) -> io::Result<()> {
        let (Some(parts), Some(writer)) = (&mut self.ring, &mut self.writer) else {
            return Ok(());
        };
        if writer.position() < parts.ring.max_size {
            return Ok(());
        }
        let next = parts.next()?;
        let target = Target::New(NewFile::create(next, output::PRIVATE)?);
        if let Err(error) = writer.next_part(target, parts.number) {
            take_back(writer);
            return Err(error);
        }
        // Until it says what was traced, it is of no use, and has no name.
        parts.publish(writer.get_mut())?;
        parts.remove_oldest()
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

/// Cuts off an incomplete block. If this fails too, a reader skips it.
fn take_back(writer: &mut Writer<Target>) {
    let whole = writer.whole();
    if let Target::File(file) = writer.get_mut() {
        let _ = file.set_len(whole);
    }
}

impl Parts {
    /// Returns the location of a ring with this name. An older ring must not be open any more.
    fn find(path: &Path, ring: Ring) -> io::Result<Self> {
        let parts = Parts {
            ring,
            path: path.to_owned(),
            folder: Entry::find_name(&part_name(path, 0))?,
            number: 0,
            there: VecDeque::new(),
        };
        for (entry, _) in parts.older()? {
            entry.refuse_busy()?;
        }
        let first = parts.entry(0);
        if first.stat()?.is_some() && !output::is_part(&first, 0)? {
            let name = part_name(path, 0);
            return Err(Refused::NotOfRing { name }.into());
        }
        Ok(parts)
    }

    /// The part of this number.
    fn entry(&self, number: u32) -> Entry {
        let name = part_name(&self.path, number);
        self.folder.beside(name.file_name().unwrap_or_default().to_owned())
    }

    /// Returns the file with the name of a part.
    fn older(&self) -> io::Result<Vec<(Entry, u32)>> {
        let names = self.folder.names_beside()?.into_iter();
        let parts = names.filter_map(|name| Some((number_of(&self.path, &name)?, name)));
        Ok(parts.map(|(number, name)| (self.folder.beside(name), number)).collect())
    }

    /// Returns the location of the next part. Names with foreign files are skipped.
    fn next(&mut self) -> io::Result<Entry> {
        let mut taken = 0;
        loop {
            self.number = self.number.checked_add(1).ok_or(io::ErrorKind::QuotaExceeded)?;
            let next = self.entry(self.number);
            if next.stat()?.is_none() || output::is_part(&next, self.number)? {
                return Ok(next);
            }
            taken += 1;
            if taken == MAX_TAKEN {
                let name = part_name(&self.path, self.number);
                return Err(Refused::NotOfRing { name }.into());
            }
        }
    }

    /// The part that is written has its beginning: from now on it is there.
    fn publish(&mut self, target: &mut Target) -> io::Result<()> {
        let entry = self.entry(self.number);
        let number = self.number;
        if let Some(node) = target.publish(|file| file.publish_part(number))? {
            self.there.push_back((entry, node));
        }
        Ok(())
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        while self.there.len() > self.ring.files as usize {
            if let Some((oldest, node)) = self.there.pop_front() {
                output::remove_own(&oldest, node)?;
            }
        }
        Ok(())
    }

    /// Removes the parts of an older ring, which this one takes the place of.
    fn remove_older(&self) -> io::Result<()> {
        for (entry, number) in self.older()? {
            if number != self.number {
                output::remove_part(&entry, number)?;
            }
        }
        Ok(())
    }
}

impl Sink for Record {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        if let Some(parts) = &self.ring {
            let beginning = Writer::new(Vec::new(), trace, 0)?.position();
            if beginning >= parts.ring.max_size {
                return Err(SinkError::SmallRing { beginning });
            }
        }
        if let Target::File(file) = &target {
            file.set_len(0)?;
        }
        let mut writer = Writer::new(target, trace, new_id())?;
        match &mut self.ring {
            Some(parts) => {
                parts.publish(writer.get_mut())?;
                parts.remove_older()?;
            }
            None => {
                writer.get_mut().publish(NewFile::publish)?;
            }
        }
        self.writer = Some(writer);
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.write(|writer| writer.functions(new))
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
    /// Gives a new file its name.
    fn publish(&mut self, publish: impl FnOnce(NewFile) -> io::Result<(File, Node)>) -> io::Result<Option<Node>> {
        // Nothing stands in its place if that fails: the sink is set aside then. (No file can be opened here any more.)
        match std::mem::replace(self, Target::Gone) {
            Target::New(new) => {
                let (file, node) = publish(new)?;
                *self = Target::File(file);
                Ok(Some(node))
            }
            other => {
                *self = other;
                Ok(None)
            }
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::New(file) => file.file().write(bytes),
            Target::File(file) => file.write(bytes),
            Target::Stream(outlet) => outlet.write(bytes),
            Target::Gone => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::New(_) | Target::Gone => Ok(()),
            Target::File(file) => file.flush(),
            Target::Stream(outlet) => outlet.flush(),
        }
    }
}

/// The number of the part of this recording that has this name, if one has.
fn number_of(path: &Path, name: &OsStr) -> Option<u32> {
    let rest = name.as_bytes().strip_prefix(path.file_stem()?.as_bytes())?;
    let digits = rest.strip_prefix(b".")?.split(|byte| *byte == b'.').next()?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (part_name(path, number).file_name() == Some(name)).then_some(number)
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
            .field("parts", &self.ring.as_ref().map(|parts| &parts.there))
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
    fn a_trace_that_never_begins_changes_no_file() {
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
