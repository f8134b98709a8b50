//! `cargo xtask`: parses the command line and calls the library.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::kernel::Kernel;
use xtask::vm::{Guest, Unfinished};
use xtask::{bench, build, demo, deny, dist, faults, fuzz, msrv, prose, sanitize, test};

const HELP: &str = "\
The project's own commands.

  cargo xtask demo            trace real packets and show the result; the first thing to run
  cargo xtask test [OPTIONS] [NAME] [ARGS]
                              run what a change has to pass, or all tests whose names have NAME; ARGS go to the
                              test programs
  cargo xtask vm [OPTIONS] [--] COMMAND [ARGS]
                              run a command in a guest, on a real kernel, with ipft in PATH
  cargo xtask bench kernel [OPTIONS]
                              count the instructions that tracing adds to a packet, on real kernels
  cargo xtask bench extension [--kernel VERSION]
                              count those that an empty extension adds to an event, and time decoding
  cargo xtask bench plugin    time what the boundary to a plugin costs
  cargo xtask bench sinks [OPTIONS]
                              count the instructions and bytes that an event costs from the buffer to the output
  cargo xtask fuzz [OPTIONS] [TARGET...]
                              feed made-up bytes to what reads bytes from outside
  cargo xtask sanitize        run the tests of code that is `unsafe` under valgrind
  cargo xtask deny            check the licences, versions and known weaknesses of the crates that ipft is built of
  cargo xtask prose           check the spelling and the words of pages, comments, messages and names of tests
  cargo xtask msrv            check that the oldest Rust that Cargo.toml allows builds everything
  cargo xtask faults [OPTIONS]
                              make allocations, system calls and clocks of ipft fail, one after the other
  cargo xtask dist            build ipft as one static file, and check what it needs
  cargo xtask setup           only install, fetch and build what the others need

Each does the set-up that it needs: packages through apt (as root; else it says what to run), kernels and guest images
from this machine's Debian mirror. What is fetched and built stays in target/vm; to have it made anew, remove that.

Options of test; with NAME, --kernel or --backend, only end-to-end tests are run, and what they need is made:
  --kernel 5.10|6.1|6.12|6.18|7.2   of tests that are made for several kernels, only those of this one
  --backend NAME                    of tests that try several backends, only this one
  --every-kernel                    of all tests, also those on 6.1 and 6.18 that are ignored because they take long

Options of vm:
  --kernel 5.10|6.1|6.12|6.18|7.2   the kernel (6.12)
  --file PATH                       a file or folder for the command's working directory; may be repeated
  --out DIR                         where the guest's /out goes when the command has ended
  --timeout SECONDS                 kill the guest after so long, and print its console (300)
  --release                         with ipft's release build; else it is the development build
  --icount                          count instructions: 1 ns of guest time is one instruction
  --smp N                           number of CPUs (2; with --icount 1)
  --memory MIB                      memory (2048)
  --append WORDS                    more words for the kernel's command line; may be repeated

Options of bench kernel, which measures every row of its table by default:
  --kernel 5.10|6.1|6.12|6.18|7.2   only rows of this kernel
  --backend NAME                    only rows of this backend
  --tracer function|function_graph  only rows of this tracer
  --without-floor                   do not measure programs that do nothing, too
  --markdown FILE                   also write the table to a file, as the book has it

Options of bench sinks:
  --profile                         also say where the instructions go
  --write                           also put the table into the book

Options of faults, which walks through replays by default:
  --live                            trace in a guest, with kernel 6.12
  --kernel 5.10|6.1|6.12|6.18|7.2   the same with this kernel
  --most N                          only the first N places of each kind (1000)
  --step N                          only each Nth of them (1)
  --seconds N                       begin nothing new after this time
  --only TEXT                       only what has this in its name, such as 'record: write'

Options of fuzz, which runs every target of tests/fuzz unless some are named:
  --seconds N                       how long each runs (20)

stdout, stderr and the exit code of vm are those of the command; 125 means that the guest did not finish.
Scripts find functions that build networks in /guest/lib.sh, and udpflood in PATH.
";

/// Exit code of `vm` for failures other than the command's own.
const NOT_FINISHED: u8 = 125;

/// Exit code of a program that was ended by a closed pipe, as a shell reports it.
const BROKEN_PIPE: u8 = 128 + 13;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let requested = |names: &[&str]| names.contains(&command.as_str());
    if requested(&["", "help", "-h", "--help"]) || rest.first().is_some_and(|first| first == "--help" || first == "-h")
    {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if requested(&["vm"]) {
        return vm(rest).unwrap_or_else(|error| {
            let closed = error.downcast_ref::<std::io::Error>();
            if closed.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
                // `cargo xtask vm -- COMMAND | head`: the output pipe is closed, which is not worth a message.
                return ExitCode::from(BROKEN_PIPE);
            }
            match error.downcast_ref::<Unfinished>() {
                Some(unfinished) => eprintln!("xtask: {unfinished}"),
                None => eprintln!("xtask: {error:#}"),
            }
            ExitCode::from(NOT_FINISHED)
        });
    }
    let done = match command.as_str() {
        "test" => test::run(&rest),
        "bench" => bench::run(&rest),
        "faults" => faults::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "demo" | "deny" | "dist" | "msrv" | "prose" | "sanitize" | "setup" if !rest.is_empty() => {
            eprintln!("xtask: {command} takes no arguments, and got: {}", rest.join(" "));
            return ExitCode::from(2);
        }
        "demo" => demo::run(),
        "deny" => deny::run(),
        "dist" => dist::run(),
        "msrv" => msrv::run(),
        "prose" => prose::run(),
        "sanitize" => sanitize::run(),
        "setup" => test::set_up(),
        unknown => {
            eprintln!("xtask: no command '{unknown}'. `cargo xtask help` lists them");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn vm(arguments: Vec<String>) -> Result<ExitCode> {
    let mut arguments = arguments.into_iter().peekable();
    let mut kernel = Kernel::V6_12;
    let mut changes: Vec<Box<dyn FnOnce(Guest) -> Guest>> = Vec::new();
    while let Some(argument) = arguments.next_if(|argument| argument.starts_with('-')) {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        if name == "--" {
            break;
        }
        if name == "--release" && inline.is_none() {
            let ipft = build::release()?;
            changes.push(Box::new(move |guest| guest.ipft(ipft)));
            continue;
        }
        if name == "--icount" && inline.is_none() {
            changes.push(Box::new(|guest| guest.icount(true)));
            continue;
        }
        if ![
            "--kernel",
            "--file",
            "--out",
            "--timeout",
            "--smp",
            "--memory",
            "--append",
        ]
        .contains(&name.as_str())
        {
            bail!("vm has no option {name}; `cargo xtask help` lists them");
        }
        let value = inline
            .or_else(|| arguments.next())
            .with_context(|| format!("{name} needs a value"))?;
        let number = |least: u32, most: u32| {
            let number = value.parse().ok().filter(|number| (least..=most).contains(number));
            number.with_context(|| format!("{name}: '{value}' is not a number from {least} to {most}"))
        };
        changes.push(match name.as_str() {
            "--kernel" => {
                kernel = value.parse()?;
                continue;
            }
            "--timeout" => {
                let seconds = number(1, 1_000_000)?;
                Box::new(move |guest| guest.timeout(Duration::from_secs(seconds.into())))
            }
            "--smp" => {
                let cpus = number(1, 64)?;
                Box::new(move |guest| guest.cpus(cpus))
            }
            "--memory" => {
                let mib = number(256, 1 << 20)?;
                Box::new(move |guest| guest.memory(mib))
            }
            "--append" => Box::new(move |guest| guest.append(&value)),
            "--file" => Box::new(move |guest| guest.file(value)),
            _ => Box::new(move |guest| guest.out(value)),
        });
    }
    let command: Vec<String> = arguments.collect();
    if command.is_empty() {
        bail!("vm needs a command to run in the guest, such as: cargo xtask vm -- uname -r");
    }
    let guest = changes
        .into_iter()
        .fold(Guest::new(kernel), |guest, change| change(guest));
    let code = guest.pass_through(&command)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(NOT_FINISHED)))
}
