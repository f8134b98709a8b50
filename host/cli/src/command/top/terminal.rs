//! The terminal that `ipft top` draws on: its modes, which are put back whatever ends the program, and the escapes that
//! draw. Everything is opened before privileges are dropped. May import `kernel::signals`.
//!
//! What anything writes to stderr while the screen is drawn is kept, and written when it is put back, if stderr is a
//! terminal.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// To the alternate screen, without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J";
/// Back, with the cursor and plain characters.
const LEAVE: &[u8] = b"\x1b[0m\x1b[2J\x1b[?25h\x1b[?1049l";
/// How long a terminal that takes nothing is waited for when it is put back.
const PATIENCE: Duration = Duration::from_millis(300);
/// Bytes of messages that are kept, at most.
const MOST_MESSAGES: u64 = 1 << 20;

/// What puts the terminal back. It is where the panic hook and the last signal find it.
static ENTERED: Mutex<Option<Entered>> = Mutex::new(None);

struct Entered {
    output: OwnedFd,
    input: OwnedFd,
    modes: Termios,
    stderr: Option<Kept>,
}

/// What is written to stderr, and where it goes in the end.
#[derive(Debug)]
struct Kept {
    messages: OwnedFd,
    stderr: OwnedFd,
}

/// The files that a screen needs.
#[derive(Debug)]
pub(super) struct Tty {
    input: OwnedFd,
    output: OwnedFd,
    messages: Option<OwnedFd>,
}

impl Tty {
    /// Opens the terminal.
    pub(super) fn open() -> anyhow::Result<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !io::stdout().is_terminal() || dumb {
            bail!("the output 'top' needs a terminal that can move its cursor, as stdout; use -o text");
        }
        let output = io::stdout().as_fd().try_clone_to_owned();
        let input = match io::stdin().is_terminal() {
            true => io::stdin().as_fd().try_clone_to_owned(),
            false => File::open("/dev/tty").map(OwnedFd::from),
        };
        let messages = match io::stderr().is_terminal() {
            true => Some(rustix::fs::memfd_create("messages", rustix::fs::MemfdFlags::CLOEXEC)?),
            false => None,
        };
        Ok(Tty {
            input: input.context("cannot read keys from the terminal; use -o text")?,
            output: output.context("cannot use the terminal")?,
            messages,
        })
    }

    /// Begins to draw: keys come one by one and unseen from now on.
    pub(super) fn enter(&self) -> io::Result<()> {
        let modes = tcgetattr(&self.input)?;
        let mut raw = modes.clone();
        raw.make_raw();
        let stderr = match &self.messages {
            Some(messages) => Some(Kept {
                messages: messages.try_clone()?,
                stderr: io::stderr().as_fd().try_clone_to_owned()?,
            }),
            None => None,
        };
        let entered = Entered {
            output: self.output.try_clone()?,
            input: self.input.try_clone()?,
            modes,
            stderr,
        };
        // From here on, whatever fails, it is put back.
        *ENTERED.lock().unwrap_or_else(PoisonError::into_inner) = Some(entered);
        tcsetattr(&self.input, OptionalActions::Now, &raw)?;
        if let Some(messages) = &self.messages {
            replace_stderr(messages)?;
        }
        write_all(&self.output, ENTER, None)
    }

    /// Makes the terminal again what it was when something else may have changed it.
    pub(super) fn renew(&self) -> io::Result<()> {
        let mut raw = tcgetattr(&self.input)?;
        raw.make_raw();
        tcsetattr(&self.input, OptionalActions::Now, &raw)?;
        write_all(&self.output, ENTER, None)
    }

    /// Waits for keys, at most so long, and reads them. `None`: the terminal has gone.
    pub(super) fn read(&self, wait: Duration, buffer: &mut [u8]) -> Option<usize> {
        let timeout = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut polled = [PollFd::new(&self.input, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(_) => return Some(0),
            Ok(_) => {}
        }
        match rustix::io::read(&self.input, buffer) {
            Ok(0) => None,
            Ok(length) => Some(length),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Some(0),
            Err(_) => None,
        }
    }

    /// Returns the last line of the messages that are kept, if there are any. Forgets them if they are many.
    pub(super) fn last_message(&self) -> Option<String> {
        let messages = self.messages.as_ref()?;
        let length = rustix::fs::fstat(messages).ok()?.st_size as u64;
        let mut tail = vec![0; length.min(1024) as usize];
        let from = length - tail.len() as u64;
        let read = rustix::io::pread(messages, &mut tail, from).ok()?;
        tail.truncate(read);
        if length > MOST_MESSAGES && rustix::fs::ftruncate(messages, 0).is_ok() {
            let _ = rustix::fs::seek(messages, rustix::fs::SeekFrom::Start(0));
        }
        let text = String::from_utf8_lossy(&tail).into_owned();
        text.lines().rfind(|line| !line.is_empty()).map(str::to_owned)
    }
}

/// Puts the terminal back, if it is drawn on, and writes the messages that were kept.
pub(super) fn leave() {
    let entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(entered) = entered else {
        return;
    };
    let _ = write_all(&entered.output, LEAVE, Some(PATIENCE));
    let _ = tcsetattr(&entered.input, OptionalActions::Now, &entered.modes);
    let Some(kept) = &entered.stderr else {
        return;
    };
    let _ = replace_stderr(&kept.stderr);
    let length = rustix::fs::fstat(&kept.messages).map_or(0, |known| known.st_size as u64);
    let mut text = vec![0; length.min(MOST_MESSAGES) as usize];
    let from = length - text.len() as u64;
    let read = rustix::io::pread(&kept.messages, &mut text, from).unwrap_or(0);
    let _ = write_all(&kept.stderr, &text[..read], Some(PATIENCE));
    if rustix::fs::ftruncate(&kept.messages, 0).is_ok() {
        let _ = rustix::fs::seek(&kept.messages, rustix::fs::SeekFrom::Start(0));
    }
}

/// Makes a panic put the terminal back before its message is written.
pub(super) fn leave_on_panic() {
    static HOOK: Once = Once::new();

    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            hook(panic);
        }));
    });
}

/// Makes stderr this file.
fn replace_stderr(file: &OwnedFd) -> io::Result<()> {
    // SAFETY: both are numbers of descriptors, and the call changes only what the second one stands for: who writes
    // to stderr writes to the new file.
    match unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Writes everything. `patience`: for how long to wait each time that the terminal takes nothing; for ever without.
fn write_all(output: &OwnedFd, mut bytes: &[u8], patience: Option<Duration>) -> io::Result<()> {
    while !bytes.is_empty() {
        let timeout = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        });
        match poll(&mut [PollFd::new(output, PollFlags::OUT)], timeout.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        match rustix::io::write(output, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Draws on the terminal, with the escapes that all of them know.
#[derive(Debug)]
pub(super) struct Escapes<'a> {
    tty: &'a Tty,
    color: bool,
    text: Vec<u8>,
}

impl<'a> Escapes<'a> {
    /// Without `color`, what is coloured is plain.
    pub(super) fn new(tty: &'a Tty, color: bool) -> Self {
        Escapes {
            tty,
            color,
            text: Vec::new(),
        }
    }

    fn style(&mut self, cell: &Cell) {
        self.text.extend_from_slice(b"\x1b[0");
        for (modifier, code) in [
            (Modifier::BOLD, b";1"),
            (Modifier::DIM, b";2"),
            (Modifier::UNDERLINED, b";4"),
            (Modifier::REVERSED, b";7"),
        ] {
            if cell.modifier.contains(modifier) {
                self.text.extend_from_slice(code);
            }
        }
        let code: &[u8] = match cell.fg {
            Color::Red => b";31",
            Color::Green => b";32",
            Color::Yellow => b";33",
            Color::Cyan => b";36",
            _ => b"",
        };
        if self.color {
            self.text.extend_from_slice(code);
        }
        self.text.push(b'm');
    }
}

impl Backend for Escapes<'_> {
    type Error = io::Error;

    fn draw<'c, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'c Cell)>,
    {
        let mut next = None;
        let mut style = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                self.text
                    .extend_from_slice(format!("\x1b[{};{}H", y + 1, x + 1).as_bytes());
            }
            if style != Some((cell.fg, cell.modifier)) {
                style = Some((cell.fg, cell.modifier));
                self.style(cell);
            }
            self.text.extend_from_slice(cell.symbol().as_bytes());
            // A wide character takes two columns, and the cell behind it is not drawn.
            next = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        if style.is_some() {
            self.text.extend_from_slice(b"\x1b[0m");
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.text.extend_from_slice(b"\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.text.extend_from_slice(b"\x1b[?25h");
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.text
            .extend_from_slice(format!("\x1b[{};{}H", y + 1, x + 1).as_bytes());
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, kind: ClearType) -> io::Result<()> {
        self.text.extend_from_slice(match kind {
            ClearType::All => b"\x1b[0m\x1b[2J",
            ClearType::AfterCursor => b"\x1b[J",
            ClearType::BeforeCursor => b"\x1b[1J",
            ClearType::CurrentLine => b"\x1b[2K",
            ClearType::UntilNewLine => b"\x1b[K",
        });
        Ok(())
    }

    fn size(&self) -> io::Result<Size> {
        let size = tcgetwinsize(&self.tty.output)?;
        // A terminal that does not say has the usual size.
        Ok(match (size.ws_col, size.ws_row) {
            (0, _) | (_, 0) => Size::new(80, 24),
            (columns, rows) => Size::new(columns, rows),
        })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = write_all(&self.tty.output, &self.text, None);
        self.text.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::FromRawFd;

    use super::*;

    /// Opens a terminal: the side that a terminal emulator has, and that of programs.
    fn pair() -> (File, OwnedFd) {
        let (mut emulator, mut program) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: both numbers are written to variables that live until the call is over, and the rest may be null.
        let opened = unsafe { libc::openpty(&raw mut emulator, &raw mut program, none, none.cast(), none.cast()) };
        assert_eq!(opened, 0, "{}", io::Error::last_os_error());
        // SAFETY: both are new descriptors, which nothing else owns.
        unsafe { (File::from_raw_fd(emulator), OwnedFd::from_raw_fd(program)) }
    }

    #[test]
    fn a_panic_puts_the_terminal_back() {
        let (mut emulator, program) = pair();
        let tty = Tty {
            input: program.try_clone().unwrap(),
            output: program.try_clone().unwrap(),
            messages: None,
        };
        let modes = |fd: &OwnedFd| format!("{:?}", tcgetattr(fd).unwrap());
        let before = modes(&program);
        leave_on_panic();
        let drawing = std::thread::spawn(move || {
            tty.enter().unwrap();
            let during = modes(&tty.input);
            let cause = if during == before {
                "the modes are the same"
            } else {
                "on purpose"
            };
            std::panic::panic_any((cause, before));
        });
        let cause = drawing.join().unwrap_err();
        let (cause, before) = *cause.downcast::<(&str, String)>().unwrap();
        assert_eq!(cause, "on purpose");
        assert_eq!(modes(&program), before);
        let expected = [ENTER, LEAVE].concat();
        let mut written = vec![0; expected.len()];
        emulator.read_exact(&mut written).unwrap();
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&expected));
    }
}
