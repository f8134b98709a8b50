//! One trace from its start to its end: finds the functions, attaches, reads events until it is told to stop, and
//! hands everything to the sinks. This is where the rooms meet; each of them knows nothing of the others.

mod clock;
mod late;
mod reader;

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::cli::{self, BackendName, ExtensionFile, Options, RecordFile};
use crate::drawing;
use crate::empty;
use crate::event::{Function, Loss, LossKind, SkippedFunction, Summary, Trace};
use crate::extension::Extension;
use crate::extension::lua::Print;
use crate::kernel::{self, Candidate, LoadedModules, Root, checks};
use crate::limit::{Limit, Reached};
use crate::message;
use crate::plugins::Plugins;
use crate::privileges::{self, Needs};
use crate::probe::{self, Attachment, Buffer, ProbeError, Progress, Request, identity};
use crate::probe_server::ProbeServer;
use crate::signals::Signals;
use crate::sink::Flow;
use crate::waiting::{self, Waiting};
use clock::{clock_offset, monotonic};
use late::Late;
use reader::Reader;

// The command line knows nothing of the programs.
const _: () = assert!(cli::MOST_RECORD_BYTES == ipft_bpf::wire::MAX_RECORD_BYTES);

/// How a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// A sink failed and was set aside; the others got everything.
    SinkFailed,
    /// What was replayed was cut or damaged; all of the rest was drawn.
    Incomplete,
}

/// The functions of a trace: those that the user wants, and those that identity needs besides.
struct Functions {
    wanted: Vec<Candidate>,
    silent: Vec<Candidate>,
    skipped: Vec<SkippedFunction>,
    /// Modules without types, with the reason.
    missing: Vec<kernel::MissingModule>,
    /// Where it was learnt what can be traced.
    source: &'static str,
}

fn find_functions(root: &Root, filter: &cli::Filter) -> anyhow::Result<Functions> {
    let found = kernel::find_functions(root)?;
    let (wanted, rest): (Vec<_>, Vec<_>) = found
        .candidates
        .into_iter()
        .partition(|candidate| filter.matches(&candidate.name, &candidate.module));
    if wanted.is_empty() {
        bail!(
            "no function that takes a packet matches {}; see them all with 'ipft -l'",
            empty::filter(filter).unwrap_or_else(|| "the filter".to_owned())
        );
    }
    let skipped = found
        .skipped
        .into_iter()
        .filter(|skipped| filter.matches(&skipped.name, &skipped.module))
        .map(|skipped| SkippedFunction {
            name: skipped.name,
            module: skipped.module,
            reason: skipped.reason.to_string(),
        })
        .collect();
    Ok(Functions {
        wanted,
        silent: rest.into_iter().filter(identity::is_needed).collect(),
        skipped,
        missing: found.missing,
        source: found.source,
    })
}

/// Traces until a signal, until a limit is reached, or until the reader of stdout goes away.
pub fn trace(options: &Options, command_line: Vec<String>) -> anyhow::Result<Outcome> {
    let root = Root::system();
    if let Some(failure) = checks::first_failure(&root) {
        bail!(
            "{}{}\n'ipft doctor' examines the rest",
            failure.found,
            failure.remedy.map(|remedy| format!("\n{remedy}")).unwrap_or_default()
        );
    }
    if options.set_rlimit {
        raise_limits();
    }
    let signals = Signals::install().context("cannot listen for signals")?;
    let server = options.probe_server.map(ProbeServer::bind).transpose()?;
    let mut plugins = Plugins::load(
        &options.drawing.plugins,
        options.drawing.own_output(),
        options.verbose,
        Some(signals.fd()),
    )?;
    let mut extension = extension(options, &plugins, &root, &signals)?;
    // Before anything is attached, which takes long: files that cannot be written are told here.
    let mut sinks = drawing::sinks(
        &options.drawing,
        drawing::memory(&options.drawing),
        &mut plugins,
        drawing::Source::Trace,
    )?;
    // Before the functions: what comes between the two is found twice and not missed.
    let loaded = LoadedModules::read(&root);
    let functions = find_functions(&root, &options.filter)?;
    let buffer = buffer(options, &root)?;
    let progress = Progress::until(signals.flag());
    let request = Request {
        root: &root,
        targets: probe::targets(&functions.wanted, 0, &functions.silent),
        tracer: options.tracer,
        mark: options.mark,
        mask: options.mask,
        buffer: &buffer,
        extension: extension.object(),
        record_bytes: options.record_bytes,
        progress: &progress,
        maps: probe::Maps::from([]),
    };
    let attachment = attach_visibly(options, &request)?;
    report_attachment(&attachment, &functions, options.verbose);

    let mut late = watch_modules(options, &request, &attachment, &functions, loaded);

    let trace = Trace {
        tracer: options.tracer,
        backend: attachment.backends(),
        functions: functions.wanted.iter().map(function).collect(),
        schema: extension.schema().clone(),
        clock_offset: clock_offset(),
        command_line,
        kernel_release: kernel_release(),
        mark: options.mark,
        mask: options.mask,
    };
    let mut reader = Reader::new(&attachment, &buffer, &trace, &mut extension)?;
    // Perf buffers are of the CPUs that are online now.
    let buffered = match buffer {
        Buffer::Perf { .. } => kernel::online_cpus(&root),
        Buffer::Ring { .. } => None,
    };
    let kernel_losses = || {
        let mut losses = attachment.losses();
        if let Some(cpus) = &buffered {
            probe::tell_missing_buffers(&mut losses, cpus);
        }
        losses
    };
    // All that needs privileges has been done, and none of what a plugin or a script does with the trace.
    if !options.keep_privileges {
        let needs = Needs {
            folders: drawing::folders(&options.drawing),
            accepts: server.is_some(),
        };
        let in_force = privileges::reduce(&needs)?;
        if options.verbose {
            message!("Privileges from now on: {}", in_force.describe());
        }
    }
    reader.start(&trace)?;
    if sinks.start(&trace) == Flow::Stop {
        // A plugin that could not start, with no other sink beside it, has been told.
        if sinks.failures().next().is_some() {
            return Ok(Outcome::SinkFailed);
        }
        bail!("nobody reads the output");
    }
    let _server = server.map(ProbeServer::serve).transpose()?;
    message!("Trace ready!");

    let mut limit = Limit::new(options.duration, options.stop_after, monotonic());
    let result = reader.run(&signals, &mut limit, &mut sinks, &mut || kernel_losses(), late.as_mut());
    if let Some(late) = &mut late {
        late.finish();
    }
    let mut losses = kernel_losses();
    losses.extend(reader.losses());
    losses = probe::sum(losses.into_iter().chain(late.iter().flat_map(Late::losses)));
    let summary = Summary {
        events: reader.events,
        packets: limit.packets(attachment.packets()),
        losses,
        attached: attachment.attached() + late.as_ref().map_or(0, |late| late.attached),
        skipped: (functions.skipped.iter())
            .chain(&attachment.skipped)
            .chain(late.iter().flat_map(|late| &late.skipped))
            .cloned()
            .collect(),
    };
    drop(reader);
    sinks.finish(&summary);
    drawing::tell_dropped(&sinks);
    let drawn = plugins.complete(&sinks);
    for message in extension.finish().messages {
        message!("ipft: {message}");
    }
    let reached = result.as_ref().ok().copied().flatten();
    if let Some(reached) = reached {
        message!("Stopped after {reached}");
    }
    let failed = |name: &str| sinks.failures().any(|(other, _)| other == name);
    if let Some(file) = options
        .drawing
        .record
        .as_ref()
        .map(RecordFile::name)
        .filter(|name| !failed(name))
    {
        message!(
            "Recorded {} events of {} packets in {file}",
            summary.events,
            summary.packets
        );
    }
    report_losses(&summary, reached);
    if summary.events == 0 {
        message!("{}", empty::trace(options, &summary, &root));
    }
    if attachment.attached() > 0 && options.verbose {
        message!("Detaching from {} functions", attachment.attached());
    }
    detach_visibly(attachment);
    result?;
    Ok(if drawn && sinks.failures().next().is_none() {
        Outcome::Done
    } else {
        Outcome::SinkFailed
    })
}

/// Starts to watch for modules that are loaded from now on. Without, the trace goes on as it is.
fn watch_modules(
    options: &Options,
    request: &Request<'_>,
    attachment: &Attachment,
    functions: &Functions,
    loaded: LoadedModules,
) -> Option<Late> {
    let backend = probe::backend(attachment.layers().next()?.backend)?;
    let started = attachment.maps().map_err(anyhow::Error::from).and_then(|maps| {
        let setup = late::Setup {
            request: Request {
                maps,
                ..request.clone()
            },
            backend,
            alone: options.backend.is_some(),
            filter: &options.filter,
            loaded,
            functions: &functions.wanted,
            silent: &functions.silent,
        };
        Ok(Late::start(setup, options.verbose)?)
    });
    match started {
        Ok(late) => Some(late),
        Err(error) => {
            message!("ipft: modules that are loaded from now on will not be traced: {error}");
            None
        }
    }
}

fn function(candidate: &Candidate) -> Function {
    Function {
        name: candidate.name.clone(),
        module: candidate.module.clone(),
        address: candidate.address,
    }
}

fn buffer(options: &Options, root: &Root) -> anyhow::Result<Buffer> {
    let buffers = options.buffers;
    Ok(if buffers.perf_requested || !probe::has_ring_buffer(root) {
        if options.record_bytes > 0 {
            bail!(
                "this kernel has no BPF ring buffer that probes can use (Linux 5.8, with PREEMPT_RT 6.12), which the \
                 first bytes of packets are recorded through; leave out --record-bytes and --pcapng"
            );
        }
        Buffer::Perf {
            pages: buffers.perf.pages,
            sample_period: buffers.perf.sample_period,
            wakeup_events: buffers.perf.wakeup_events,
        }
    } else {
        Buffer::Ring {
            bytes: buffers.ring_size,
        }
    })
}

fn extension(options: &Options, plugins: &Plugins, root: &Root, signals: &Signals) -> anyhow::Result<Extension> {
    if let Some(extension) = plugins.extension(root)? {
        if options.extension.is_some() {
            bail!("a plugin brings an extension, and -e (or -s) another; leave one of them out");
        }
        return Ok(extension);
    }
    let print = match options.drawing.output {
        cli::Output::Aggregate if !options.drawing.stdout_is_binary() => Print::Stdout,
        cli::Output::Aggregate | cli::Output::Json | cli::Output::Jsonl => Print::Stderr,
    };
    Ok(match &options.extension {
        None => Extension::default(),
        Some(ExtensionFile::Source(path)) => Extension::from_source(path, root, signals.fd())?,
        Some(ExtensionFile::Object(path)) => Extension::from_object(path, root)?,
        Some(ExtensionFile::Script(path)) => {
            let tell = Box::new(|message: &str| message!("ipft: {message}"));
            Extension::from_script(path, print, signals.fd(), tell)?
        }
    })
}

/// Lines of the verifier's log that are shown without `-v`: its last words say what it minds.
const VERIFIER_LINES: usize = 12;

/// What the verifier said of an extension, out of all that libbpf said.
fn refusal(log: &str, verbose: bool) -> String {
    let log = log.split_once("-- BEGIN PROG LOAD LOG --").map_or(log, |(_, log)| log);
    let log = log.split_once("-- END PROG LOAD LOG --").map_or(log, |(log, _)| log);
    let lines: Vec<&str> = log.trim().lines().collect();
    let first = if verbose {
        0
    } else {
        lines.len().saturating_sub(VERIFIER_LINES)
    };
    let more = match first {
        0 => String::new(),
        left_out => format!("({left_out} lines before; -v shows them)\n"),
    };
    format!("{more}{}", lines[first..].join("\n"))
}

/// Attaches, and tells the user how far it is if it takes long.
fn attach_visibly(options: &Options, request: &Request<'_>) -> anyhow::Result<Attachment> {
    let since = Instant::now();
    let progress = request.progress;
    let total = || progress.total().max(request.targets.len());
    let line = || format!("Attaching: {}", waiting::share(progress.done(), total(), since));
    let once = || {
        format!(
            "Attaching to {} takes {} on this kernel; -r and --module-regex select fewer",
            waiting::functions(request.targets.len()),
            waiting::estimate(progress.done(), total(), since)
        )
    };
    std::thread::scope(|scope| {
        let _waiting = Waiting::show(scope, line, once);
        attach(options.backend, request, options.verbose)
    })
}

/// Detaches, and tells the user how far it is if it takes long.
fn detach_visibly(attachment: Attachment) {
    let functions = attachment.attached() as usize;
    let progress = Progress::default();
    // What is counted are descriptors, of which a function has several.
    let done = || (functions * progress.done()).checked_div(progress.total()).unwrap_or(0);
    let line = || {
        format!(
            "Detaching: {} of {functions} (once more to leave it to the background)",
            done()
        )
    };
    let once = || {
        format!(
            "Detaching from {} takes this kernel a while; a second signal ends ipft at once, and the rest is detached in \
             the background",
            waiting::functions(functions)
        )
    };
    std::thread::scope(|scope| {
        let _waiting = Waiting::show(scope, line, once);
        attachment.detach(&progress);
    });
}

fn attach(backend: Option<BackendName>, request: &Request<'_>, verbose: bool) -> anyhow::Result<Attachment> {
    let refused = |log: &str| {
        anyhow::anyhow!(
            "the kernel did not accept the extension's code; its verifier says:\n{}",
            refusal(log, verbose)
        )
    };
    if let Some(name) = backend {
        let backend = probe::backend(name.name()).context("the backend is not built in")?;
        return probe::attach_with(backend, request).map_err(|error| match error {
            ProbeError::Extension { log } => refused(&log),
            ProbeError::Stopped => stopped(),
            other => other.into(),
        });
    }
    probe::attach_with_any(request).map_err(|failures| {
        // The extension is the cause, whatever else does not work: without it, a backend does.
        for (_, error) in &failures {
            match error {
                ProbeError::Extension { log } => return refused(log),
                ProbeError::Stopped => return stopped(),
                ProbeError::Link(_) | ProbeError::Machine { .. } => return anyhow::anyhow!("{error}"),
                _ => {}
            }
        }
        let reasons: Vec<String> = failures
            .iter()
            .map(|(name, error): &(_, ProbeError)| format!("  {name}: {error}"))
            .collect();
        anyhow::anyhow!(
            "no backend works on this kernel; 'ipft doctor' says what would fix it\n{}",
            reasons.join("\n")
        )
    })
}

fn stopped() -> anyhow::Error {
    anyhow::anyhow!("a signal stopped it while it attached; nothing was traced")
}

fn report_attachment(attachment: &Attachment, functions: &Functions, verbose: bool) {
    let skipped = functions.skipped.len() + attachment.skipped.len();
    if verbose {
        message!("Functions found in: {}", functions.source);
        for module in &functions.missing {
            message!("Module {} is not traced: {}", module.name, module.reason);
        }
        message!("Backend: {}", attachment.backends());
        for layer in attachment.layers() {
            message!("Functions attached by {}: {}", layer.backend, layer.attached);
        }
        message!("Functions: {} attached, {skipped} skipped", attachment.attached());
        for skipped in functions.skipped.iter().chain(&attachment.skipped) {
            message!("Skipped {} [{}]: {}", skipped.name, skipped.module, skipped.reason);
        }
    } else if skipped > 0 {
        message!(
            "{} functions attached, {skipped} skipped (-v says which and why){}",
            attachment.attached(),
            common_reason(&attachment.skipped, attachment.attached())
                .map_or(String::new(), |reason| format!("; most of them: {reason}"))
        );
    }
}

/// The reason that more functions were skipped for than are attached, if there is one: it is of the machine then.
fn common_reason(skipped: &[SkippedFunction], attached: u32) -> Option<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for function in skipped {
        *counts.entry(&function.reason).or_default() += 1;
    }
    let (reason, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > attached as usize).then_some(reason)
}

/// Tells the user what was lost; `reached` is what ended the trace, if it was a limit.
pub fn report_losses(summary: &Summary, reached: Option<Reached>) {
    if summary.losses.is_empty() {
        return;
    }
    message!("Lost {} events:", summary.lost());
    for Loss { kind, cpu, count } in &summary.losses {
        match cpu {
            Some(cpu) => message!("  {count} on CPU {cpu}: {}", kind.description()),
            None => message!("  {count}: {}", kind.description()),
        }
    }
    if summary.losses.iter().any(|loss| loss.kind == LossKind::BufferFull) {
        message!("A larger --ring-size (or --perf-page-count) loses fewer to a full buffer.");
    }
    if let Some(Reached::StopAfter(_)) = reached {
        // The kernel counts without knowing what is wanted.
        message!("Some of them may belong to what --stop-after leaves out.");
    }
}

/// `uname -r`.
fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Locked memory (which BPF maps are counted as before 5.11) and open files (one or two per function) without limit,
/// as far as we may.
fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Without the right to raise it, later failures say what is missing.
    let _ = setrlimit(Resource::Memlock, unlimited);
    let files = getrlimit(Resource::Nofile);
    let enough = files.maximum.map_or(1 << 20, |maximum| maximum.max(1 << 16));
    if setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(enough),
            maximum: Some(enough),
        },
    )
    .is_err()
    {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files.maximum,
                ..files
            },
        );
    }
}

/// Lists the functions that can be traced.
pub fn list(options: &cli::ListOptions, out: &mut impl Write) -> anyhow::Result<()> {
    let root = Root::system();
    let functions = find_functions(&root, &options.filter)?;
    message!("{}", kernel::LIST_HEADER);
    let mut out = io::BufWriter::new(out);
    kernel::write_list(&mut out, &functions.wanted)?;
    out.flush()?;
    if options.verbose {
        message!("Functions found in: {}", functions.source);
        for skipped in &functions.skipped {
            message!("Skipped {} [{}]: {}", skipped.name, skipped.module, skipped.reason);
        }
    }
    Ok(())
}
