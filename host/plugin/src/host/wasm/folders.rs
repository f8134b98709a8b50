//! Granted folders: WASI's own files, with calls that end at the plugin's time limit, and with a limit of written
//! bytes.
//!
//! The system may block in opening or reading a file, which the engine does not see. So WASI's work on another thread
//! is waited for only until the call's time limit; the thread may be left behind, and ends with the program. Only files
//! and folders can be opened: a pipe would wait for its other end, and a device is not a file of a granted folder.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types as waiting;
use wasmtime_wasi::p2::bindings::filesystem::types::{HostDescriptor as Wasi, HostDirectoryEntryStream as WasiList};
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::runtime::in_tokio;

use super::pace::{Interrupted, Pace};
use super::state::State;

/// Bytes that a new name counts as: an empty file takes space as well.
const NAME: u64 = 4096;

/// Limit of open folder lists: WASI reads each of them whole.
const MAX_LISTS: usize = 16;

/// Remaining bytes of the write limit.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicU64>);

/// The limit was reached.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more was written to folders than may be")]
pub(super) struct UsedUp;

impl Allowance {
    pub(super) fn new(bytes: u64) -> Self {
        Allowance(Arc::new(AtomicU64::new(bytes)))
    }

    /// Counts bytes before they are written.
    fn take(&self, bytes: u64) -> Result<(), UsedUp> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(bytes).ok_or(UsedUp)?;
        // Only the plugin's thread writes.
        self.0.store(left, Ordering::Relaxed);
        Ok(())
    }
}

/// The view for each call of the linker.
pub(super) struct Folders;

impl HasData for Folders {
    type Data<'a> = FoldersOf<'a>;
}

/// The folders of one plugin.
pub(super) struct FoldersOf<'a>(pub(super) &'a mut State);

impl FoldersOf<'_> {
    /// Runs an operation that may block, within the plugin's time limit.
    fn wait<T>(&mut self, run: impl AsyncFnOnce(&mut WasiFilesystemCtxView<'_>) -> FsResult<T>) -> FsResult<T> {
        let pace = self.0.pace();
        let mut view = self.0.filesystem();
        in_tokio(async { pace.within(pin!(run(&mut view))).await })
            .map_err(FsError::trap)
            .flatten()
    }

    /// Counts bytes before they are written.
    fn take(&self, bytes: u64) -> FsResult<()> {
        self.0.allowance().take(bytes).map_err(FsError::trap)
    }

    fn limited(&mut self, stream: Resource<DynOutputStream>) -> FsResult<Resource<DynOutputStream>> {
        let (pace, left) = (self.0.pace(), self.0.allowance());
        let table = self.0.filesystem().table;
        let stream = table.delete(stream)?;
        let limited: DynOutputStream = Box::new(Limited { stream, pace, left });
        Ok(table.push(limited)?)
    }
}

impl types::Host for FoldersOf<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        types::Host::convert_error_code(&mut self.0.filesystem(), error)
    }

    fn filesystem_error_code(&mut self, error: Resource<streams::Error>) -> wasmtime::Result<Option<types::ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.0.filesystem(), error)
    }
}

type Descriptor = Resource<types::Descriptor>;

impl types::HostDescriptor for FoldersOf<'_> {
    fn advise(&mut self, fd: Descriptor, offset: u64, length: u64, advice: types::Advice) -> FsResult<()> {
        self.wait(async |view| Wasi::advise(view, fd, offset, length, advice.into()).await)
    }

    fn sync_data(&mut self, fd: Descriptor) -> FsResult<()> {
        self.wait(async |view| Wasi::sync_data(view, fd).await)
    }

    fn get_flags(&mut self, fd: Descriptor) -> FsResult<types::DescriptorFlags> {
        self.wait(async |view| Ok(Wasi::get_flags(view, fd).await?.into()))
    }

    fn get_type(&mut self, fd: Descriptor) -> FsResult<types::DescriptorType> {
        self.wait(async |view| Ok(Wasi::get_type(view, fd).await?.into()))
    }

    fn set_size(&mut self, fd: Descriptor, size: u64) -> FsResult<()> {
        let same = Resource::new_borrow(fd.rep());
        let now = self.wait(async |view| Ok(Wasi::stat(view, same).await?.size))?;
        self.take(size.saturating_sub(now))?;
        self.wait(async |view| Wasi::set_size(view, fd, size).await)
    }

    fn set_times(
        &mut self,
        fd: Descriptor,
        access: types::NewTimestamp,
        modification: types::NewTimestamp,
    ) -> FsResult<()> {
        self.wait(async |view| Wasi::set_times(view, fd, access.into(), modification.into()).await)
    }

    fn read(&mut self, fd: Descriptor, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        self.wait(async |view| Wasi::read(view, fd, length, offset).await)
    }

    fn write(&mut self, fd: Descriptor, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        self.take(bytes.len() as u64)?;
        self.wait(async |view| Wasi::write(view, fd, bytes, offset).await)
    }

    fn read_directory(&mut self, fd: Descriptor) -> FsResult<Resource<types::DirectoryEntryStream>> {
        if self.0.lists() >= MAX_LISTS {
            return Err(waiting::ErrorCode::InsufficientMemory.into());
        }
        let list = self.wait(async |view| Wasi::read_directory(view, fd).await)?;
        self.0.add_list();
        Ok(list)
    }

    fn sync(&mut self, fd: Descriptor) -> FsResult<()> {
        self.wait(async |view| Wasi::sync(view, fd).await)
    }

    fn create_directory_at(&mut self, fd: Descriptor, path: String) -> FsResult<()> {
        self.take(NAME)?;
        self.wait(async |view| Wasi::create_directory_at(view, fd, path).await)
    }

    fn stat(&mut self, fd: Descriptor) -> FsResult<types::DescriptorStat> {
        self.wait(async |view| Ok(Wasi::stat(view, fd).await?.into()))
    }

    fn stat_at(&mut self, fd: Descriptor, flags: types::PathFlags, path: String) -> FsResult<types::DescriptorStat> {
        self.wait(async |view| Ok(Wasi::stat_at(view, fd, flags.into(), path).await?.into()))
    }

    fn set_times_at(
        &mut self,
        fd: Descriptor,
        flags: types::PathFlags,
        path: String,
        access: types::NewTimestamp,
        modification: types::NewTimestamp,
    ) -> FsResult<()> {
        self.wait(async |view| {
            Wasi::set_times_at(view, fd, flags.into(), path, access.into(), modification.into()).await
        })
    }

    fn link_at(
        &mut self,
        fd: Descriptor,
        old_flags: types::PathFlags,
        old_path: String,
        new_fd: Descriptor,
        new_path: String,
    ) -> FsResult<()> {
        self.take(NAME)?;
        self.wait(async |view| Wasi::link_at(view, fd, old_flags.into(), old_path, new_fd, new_path).await)
    }

    fn open_at(
        &mut self,
        fd: Descriptor,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Descriptor> {
        if open_flags.contains(types::OpenFlags::CREATE) {
            self.take(NAME)?;
        }
        self.wait(async |view| {
            let (same, path_flags) = (Resource::new_borrow(fd.rep()), path_flags.into());
            // A missing name may become a file. Another process may exchange it between the two calls: then opening
            // blocks, and the time limit ends it.
            if let Ok(found) = Wasi::stat_at(view, same, path_flags, path.clone()).await {
                refuse_special(found.type_)?;
            }
            let opened = Wasi::open_at(view, fd, path_flags, path, open_flags.into(), flags.into()).await?;
            let found = Wasi::get_type(view, Resource::new_borrow(opened.rep())).await?;
            if let Err(refused) = refuse_special(found) {
                Wasi::drop(view, opened).map_err(FsError::trap)?;
                return Err(refused);
            }
            Ok(opened)
        })
    }

    fn drop(&mut self, fd: Descriptor) -> wasmtime::Result<()> {
        Wasi::drop(&mut self.0.filesystem(), fd)
    }

    fn readlink_at(&mut self, fd: Descriptor, path: String) -> FsResult<String> {
        self.wait(async |view| Wasi::readlink_at(view, fd, path).await)
    }

    fn remove_directory_at(&mut self, fd: Descriptor, path: String) -> FsResult<()> {
        self.wait(async |view| Wasi::remove_directory_at(view, fd, path).await)
    }

    fn rename_at(&mut self, fd: Descriptor, old_path: String, new_fd: Descriptor, new_path: String) -> FsResult<()> {
        self.wait(async |view| Wasi::rename_at(view, fd, old_path, new_fd, new_path).await)
    }

    fn symlink_at(&mut self, fd: Descriptor, target: String, path: String) -> FsResult<()> {
        self.take(NAME)?;
        self.wait(async |view| Wasi::symlink_at(view, fd, target, path).await)
    }

    fn unlink_file_at(&mut self, fd: Descriptor, path: String) -> FsResult<()> {
        self.wait(async |view| Wasi::unlink_file_at(view, fd, path).await)
    }

    fn read_via_stream(&mut self, fd: Descriptor, offset: u64) -> FsResult<Resource<DynInputStream>> {
        let stream = Wasi::read_via_stream(&mut self.0.filesystem(), fd, offset)?;
        let pace = self.0.pace();
        let table = self.0.filesystem().table;
        let stream = table.delete(stream)?;
        let timed: DynInputStream = Box::new(Timed { stream, pace });
        Ok(table.push(timed)?)
    }

    fn write_via_stream(&mut self, fd: Descriptor, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        let stream = Wasi::write_via_stream(&mut self.0.filesystem(), fd, offset)?;
        self.limited(stream)
    }

    fn append_via_stream(&mut self, fd: Descriptor) -> FsResult<Resource<DynOutputStream>> {
        let stream = Wasi::append_via_stream(&mut self.0.filesystem(), fd)?;
        self.limited(stream)
    }

    fn is_same_object(&mut self, one: Descriptor, other: Descriptor) -> wasmtime::Result<bool> {
        let pace = self.0.pace();
        let mut view = self.0.filesystem();
        in_tokio(async { pace.within(pin!(Wasi::is_same_object(&mut view, one, other))).await })?
    }

    fn metadata_hash(&mut self, fd: Descriptor) -> FsResult<types::MetadataHashValue> {
        self.wait(async |view| Ok(Wasi::metadata_hash(view, fd).await?.into()))
    }

    fn metadata_hash_at(
        &mut self,
        fd: Descriptor,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        self.wait(async |view| Ok(Wasi::metadata_hash_at(view, fd, flags.into(), path).await?.into()))
    }
}

impl types::HostDirectoryEntryStream for FoldersOf<'_> {
    fn read_directory_entry(
        &mut self,
        list: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.wait(async |view| Ok(WasiList::read_directory_entry(view, list).await?.map(Into::into)))
    }

    fn drop(&mut self, list: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        WasiList::drop(&mut self.0.filesystem(), list)?;
        self.0.remove_list();
        Ok(())
    }
}

fn refuse_special(kind: waiting::DescriptorType) -> FsResult<()> {
    use waiting::DescriptorType::*;
    match kind {
        // Opening a link without following it fails by itself.
        RegularFile | Directory | SymbolicLink => Ok(()),
        _ => Err(waiting::ErrorCode::NotPermitted.into()),
    }
}

/// A file for reading: waits end at the plugin's time limit.
struct Timed {
    stream: DynInputStream,
    pace: Arc<Pace>,
}

/// A file for writing: as above, within the write limit.
struct Limited {
    stream: DynOutputStream,
    pace: Arc<Pace>,
    left: Allowance,
}

fn interrupted(why: Interrupted) -> StreamError {
    StreamError::Trap(why.into())
}

#[async_trait]
impl Pollable for Timed {
    async fn ready(&mut self) {
        // The next check finds that the time is over.
        let _ = self.pace.within(self.stream.ready()).await;
    }
}

#[async_trait]
impl InputStream for Timed {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.pace.check().map_err(interrupted)?;
        self.stream.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.pace.within(self.stream.blocking_read(size)).await;
        read.map_err(interrupted).flatten()
    }

    async fn cancel(&mut self) {
        let _ = self.pace.within(self.stream.cancel()).await;
    }
}

#[async_trait]
impl Pollable for Limited {
    async fn ready(&mut self) {
        let _ = self.pace.within(self.stream.ready()).await;
    }
}

#[async_trait]
impl OutputStream for Limited {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let taken = self.left.take(bytes.len() as u64);
        taken.map_err(|why| StreamError::Trap(why.into()))?;
        self.stream.write(bytes)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let taken = self.left.take(bytes.len() as u64);
        taken.map_err(|why| StreamError::Trap(why.into()))?;
        let written = self.pace.within(self.stream.blocking_write_and_flush(bytes)).await;
        written.map_err(interrupted).flatten()
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.pace.check().map_err(interrupted)?;
        self.stream.check_write()
    }

    async fn cancel(&mut self) {
        let _ = self.pace.within(self.stream.cancel()).await;
    }
}
