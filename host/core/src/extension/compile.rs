//! Compiles an extension's C source, with the compiler of the user's choice and headers that we bring, in a folder of
//! its own that is gone afterwards.
//!
//! No shell is started: the file's name is one argument, whatever is in it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;

use crate::kernel::arch::BPF_TARGET;

/// The reason why there is no object.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// `$CC` or `$CFLAGS` cannot be split into words.
    #[error("{name} has a quote that is never closed: {value}\nquote as in a shell: {name}=\"-DNAME='a b'\"")]
    Quotes {
        /// The variable.
        name: &'static str,
        /// Content of the variable.
        value: String,
    },
    /// The source is not there, or not a file.
    #[error("cannot read {path}: {source}", path = path.display())]
    Source {
        /// The source file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// No compiler.
    #[error(
        "cannot compile {path}: {compiler} was not found\ninstall clang (Debian: apt-get install clang), or name it in \
         $CC; an extension that is compiled already (.o) needs none",
        path = path.display()
    )]
    NoCompiler {
        /// The source file.
        path: PathBuf,
        /// The compiler.
        compiler: String,
    },
    /// The compiler could not be started or waited for.
    #[error("cannot run {compiler}: {source}")]
    Run {
        /// The compiler.
        compiler: String,
        /// The reason.
        source: io::Error,
    },
    /// It said what is wrong itself.
    #[error("cannot compile {path}: {compiler} failed ({status}); its messages are above", path = path.display())]
    Failed {
        /// The source file.
        path: PathBuf,
        /// The compiler.
        compiler: String,
        /// Exit status.
        status: ExitStatus,
    },
    /// The temporary folder.
    #[error("cannot use a temporary folder in {folder}: {source}\nname a folder that can be written in $TMPDIR", folder = folder.display())]
    Folder {
        /// The folder for temporary files.
        folder: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The user ended it.
    #[error("cannot compile {path}: interrupted", path = path.display())]
    Interrupted {
        /// The source file.
        path: PathBuf,
    },
}

/// `$CC` and `$CFLAGS`, split like a shell would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    program: String,
    arguments: Vec<String>,
    flags: Vec<String>,
}

impl Compiler {
    /// Reads the environment; the default is clang without flags.
    pub fn from_environment() -> Result<Self, CompileError> {
        Compiler::new(std::env::var_os("CC"), std::env::var_os("CFLAGS"))
    }

    fn new(cc: Option<OsString>, cflags: Option<OsString>) -> Result<Self, CompileError> {
        let mut words = split("CC", cc)?.into_iter();
        Ok(Compiler {
            program: words.next().unwrap_or_else(|| "clang".to_owned()),
            arguments: words.collect(),
            flags: split("CFLAGS", cflags)?,
        })
    }
}

fn split(name: &'static str, value: Option<OsString>) -> Result<Vec<String>, CompileError> {
    let value = value.unwrap_or_default().to_string_lossy().into_owned();
    shlex::split(&value).ok_or(CompileError::Quotes { name, value })
}

/// Integer types as the standard has them. The C library's own header wants the headers of 32-bit programs where the
/// target is BPF.
const STDINT: &str = "\
#ifndef _STDINT_H
#define _STDINT_H
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef long intptr_t;
typedef unsigned long uintptr_t;
#endif
";

/// Compiles the source and returns the object. The compiler's messages go to stderr. A readable `stop` ends it.
pub fn compile(source: &Path, compiler: &Compiler, stop: BorrowedFd<'_>) -> Result<Vec<u8>, CompileError> {
    // The compiler would say so too, but it would leave it to the user to see that it is about this name.
    std::fs::File::open(source).map_err(|error| CompileError::Source {
        path: source.to_owned(),
        source: error,
    })?;
    let folder_failed = |error| CompileError::Folder {
        folder: std::env::temp_dir(),
        source: error,
    };
    let folder = tempfile::Builder::new()
        .prefix("ipft-")
        .tempdir()
        .map_err(folder_failed)?;
    let headers = write_headers(&folder).map_err(folder_failed)?;
    let object = folder.path().join("extension.o");

    let run_failed = |error| CompileError::Run {
        compiler: compiler.program.clone(),
        source: error,
    };
    let mut command = Command::new(&compiler.program);
    command
        .args(&compiler.arguments)
        .args(["-target", "bpf", "-O2", "-g", "-c"])
        .arg(BPF_TARGET)
        // Behind the folders that the user names with -I.
        .arg("-isystem")
        .arg(headers)
        .arg("-idirafter")
        .arg(format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(&compiler.flags)
        .arg("-o")
        .arg(&object)
        // A file name may begin with a dash.
        .arg("--")
        .arg(source);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CompileError::NoCompiler {
                path: source.to_owned(),
                compiler: compiler.program.clone(),
            });
        }
        Err(error) => return Err(run_failed(error)),
    };
    let Some(status) = wait(&mut child, stop).map_err(run_failed)? else {
        return Err(CompileError::Interrupted {
            path: source.to_owned(),
        });
    };
    if !status.success() {
        return Err(CompileError::Failed {
            path: source.to_owned(),
            compiler: compiler.program.clone(),
            status,
        });
    }
    std::fs::read(&object).map_err(folder_failed)
}

/// Waits for the child; `None` if it was stopped instead.
fn wait(child: &mut Child, stop: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let ended = Pid::from_raw(child.id() as i32)
        .ok_or(io::Error::from(io::ErrorKind::NotFound))
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    let waited = ended.and_then(|ended| {
        loop {
            let mut wanted = [
                PollFd::new(&stop, PollFlags::IN),
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            ];
            match poll(&mut wanted, None) {
                Ok(_) => break Ok(!wanted[0].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => break Err(error.into()),
            }
        }
    });
    let stopped = match waited {
        Ok(false) => return child.wait().map(Some),
        Ok(true) => Ok(None),
        Err(error) => Err(error),
    };
    // It may have ended by itself in between.
    let _ = child.kill();
    child.wait()?;
    stopped
}

/// Writes what an extension may include into the folder, and returns the include folder.
fn write_headers(folder: &TempDir) -> io::Result<PathBuf> {
    let include = folder.path().join("include");
    let all = ipft_bpf::HEADERS.iter().copied().chain([("stdint.h", STDINT)]);
    for (name, text) in all {
        let path = include.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(include)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn never() -> OwnedFd {
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
    }

    fn clang() -> Compiler {
        Compiler::new(None, None).unwrap()
    }

    #[test]
    fn words_are_split_like_in_a_shell_without_running_it() {
        let compiler = Compiler::new(
            Some("ccache 'my clang'".into()),
            Some("-DA='x y' -DB=\"$(rm -rf /)\" -I a\\ b ; touch".into()),
        )
        .unwrap();
        assert_eq!(compiler.program, "ccache");
        assert_eq!(compiler.arguments, ["my clang"]);
        assert_eq!(
            compiler.flags,
            ["-DA=x y", "-DB=$(rm -rf /)", "-I", "a b", ";", "touch"]
        );
        let error = Compiler::new(None, Some("-DA='x".into())).unwrap_err();
        assert!(error.to_string().contains("CFLAGS"), "{error}");
    }

    #[test]
    fn templates_compile_without_system_headers() {
        let folder = tempfile::tempdir().unwrap();
        // A name that a shell would make a mess of.
        let source = folder.path().join("-a 'b\"; touch pwned $(c).c");
        let text = format!("#include <stdint.h>\n{}", super::super::generate::skeleton());
        std::fs::write(&source, text).unwrap();
        let compiler = Compiler::new(None, Some("-nostdinc -Wall -Werror".into())).unwrap();
        let object = compile(&source, &compiler, never().as_fd()).unwrap();
        assert!(object.starts_with(b"\x7fELF"));
    }

    #[test]
    fn a_source_that_is_not_there_is_named() {
        let error = compile(Path::new("/nowhere/x.c"), &clang(), never().as_fd()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/x.c"), "{error}");
    }

    #[test]
    fn a_missing_compiler_is_named_with_alternatives() {
        let source = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
        let compiler = Compiler::new(Some("no-such-compiler".into()), None).unwrap();
        let error = compile(source.path(), &compiler, never().as_fd())
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such-compiler") && error.contains(".o"), "{error}");
    }

    #[test]
    fn a_signal_ends_a_hanging_compiler_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("x.c");
        std::fs::write(&source, "").unwrap();
        let seen = folder.path().join("folder");
        let script = folder.path().join("slow");
        let text = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >{}\nexec sleep 1000\n",
            seen.display()
        );
        std::fs::write(&script, text).unwrap();
        let sh = Compiler::new(Some(format!("sh {}", script.display()).into()), None).unwrap();
        let stop = never();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| compile(&source, &sh, stop.as_fd()));
            while !std::fs::read_to_string(&seen).is_ok_and(|text| text.ends_with("x.c\n")) {
                std::thread::yield_now();
            }
            rustix::io::write(&stop, &1u64.to_ne_bytes()).unwrap();
            let error = waiting.join().unwrap().unwrap_err();
            assert!(matches!(error, CompileError::Interrupted { .. }), "{error}");
        });
        let arguments = std::fs::read_to_string(&seen).unwrap();
        let object = arguments.lines().find(|word| word.ends_with("extension.o")).unwrap();
        assert!(!Path::new(object).parent().unwrap().exists(), "{object}");
    }
}
