//! One trace from start to end: finds the functions, attaches, reads events until the end, and passes everything to the
//! sinks. The layers meet here and do not know each other.

mod attach;
mod limits;
mod probe_server;
mod rate;
mod waiting;

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use ipft_core::event::{DropTotals, EnumMember, Function, Summary, Trace};
use ipft_core::expression;
use ipft_core::extension::Extension;
use ipft_core::extension::lua::Print;
use ipft_core::filter::{self, Filter};
use ipft_core::kernel::{
    self, Candidate, Code, Contexts, Drops, LoadedModules, Root, TypeBytes, Types, checks, control_group,
    network_namespace,
};
use ipft_core::limit::Limit;
use ipft_core::message;
use ipft_core::output;
use ipft_core::privileges::{self, Needs, User};
use ipft_core::probe::{self, Attachment, Buffer, Following, Progress, Request, SelectionPlace};
use ipft_core::run::clock::{clock_offset, monotonic};
use ipft_core::run::{Late, Reader, Setup};
use ipft_core::signals::Signals;
use ipft_core::sink::Flow;

use super::functions::{Functions, find_functions, no_functions};
use super::plugins::Plugins;
use super::report::{Outcome, report_losses};
use super::{drawing, empty};
use crate::args::{self, ExtensionFile, Options, Output, RecordFile, SelectAt};
use attach::{attach_visibly, detach_visibly, report_attachment};
use limits::raise_limits;
use probe_server::ProbeServer;
use rate::RateWarning;

// The command line does not know the programs.
const _: () = assert!(args::MOST_RECORD_BYTES == ipft_bpf::wire::MAX_RECORD_BYTES);

/// Drops per second of each place in the kernel, on each CPU, that are shown beside a trace.
const OTHER_DROPS: u32 = 10;

/// Traces until a signal, until a limit is reached, or until the reader of stdout closes it.
pub fn trace(options: &Options, command_line: Vec<String>) -> anyhow::Result<Outcome> {
    let root = Root::system();
    let user = user(options, &root)?;
    let packet_filter = packet_filter(options)?;
    let inner_filter = inner_filter(options)?;
    let place = place(options, &root)?;
    let type_bytes = TypeBytes::new(&root);
    let types = type_bytes.types();
    let condition = options
        .condition
        .as_deref()
        .map(|text| expression::condition(text, &types));
    let condition = condition.transpose()?;
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
    let mut extension = extension(options, &plugins, &root, &types, &signals)?;
    let show = match options.show.beside(extension.schema()) {
        Ok(show) => show,
        Err(name) => bail!(
            "{} has a field `{name}`, as --show has; rename it, or leave it out of --show",
            if options.expressions.is_empty() {
                "the extension"
            } else {
                "an expression"
            }
        ),
    };
    let totals = DropTotals::default();
    let drops_drawing = drawing::OfDrops {
        all: options.drops.is_some_and(|drops| drops.all),
        table: options.drops.is_some_and(|drops| drops.table),
        totals: totals.clone(),
    };
    // Before attaching, which takes long: errors of output files are reported here.
    let mut sinks = drawing::sinks(
        &options.drawing,
        drawing::memory(&options.drawing),
        &mut plugins,
        drawing::Source::Trace,
        drops_drawing,
        signals.stop(),
    )?;
    // Before the functions: modules loaded in between are found twice rather than missed.
    let loaded = LoadedModules::read(&root);
    let functions = match options.drops {
        Some(_) => no_functions(),
        None => find_functions(&root, &types, &options.filter, options.follow.is_some())?,
    };
    let drops = options.follow.map(|_| Drops::read(&root, &types));
    let drops = drops.unwrap_or_default();
    // Megabytes, of which a trace that runs for weeks needs nothing more.
    drop(types);
    drop(type_bytes);
    let buffer = buffer(options, &root)?;
    let show = match buffer {
        Buffer::Ring { .. } => show,
        Buffer::Perf { .. } => {
            let (show, left_out) = show.by_perf_buffer();
            for name in left_out {
                message!(
                    "The field `{name}` is left out: it needs the BPF ring buffer (5.8 or later, without --perf-*)"
                );
            }
            show
        }
    };
    let progress = Progress::until(signals.flag());
    let following = (packet_filter.as_ref().zip(options.follow)).map(|(filter, at)| Following {
        filter,
        inner: inner_filter.as_ref(),
        condition: condition.as_ref(),
        anywhere: at != SelectAt::Gates,
        judges_each: at == SelectAt::Each,
        place: &place,
        drops_have_reason: drops.tells_reason,
    });
    let judges_process = options.place.process.is_some() || options.place.thread.is_some();
    let contexts = (show.has_proc() || judges_process)
        .then(|| Contexts::find(&root))
        .flatten();
    if judges_process && contexts.is_none() {
        bail!(
            "--pid and --comm need kernel addresses, which /proc/kallsyms hides (kernel.kptr_restrict, or no CAP_SYSLOG)"
        );
    }
    if show.has_proc() && contexts.is_none() {
        message!(
            "The fields `pid` and `comm` stay empty: /proc/kallsyms hides addresses (kernel.kptr_restrict, or no CAP_SYSLOG)"
        );
    }
    if options.follow.is_none() || options.drops.is_some() {
        for (is_requested, of) in [(show.has_netfilter(), "netfilter"), (show.has_tc(), "tc and XDP")] {
            if is_requested {
                message!(
                    "Verdicts of {of} are left out: only traces that follow packets show them (FILTER or --follow)"
                );
            }
        }
    }
    if options.follow.is_none() && show.has_stack() {
        message!("Stacks of drops are left out: only traces that follow packets show drops (FILTER or --follow)");
    }
    let request = Request {
        root: &root,
        targets: probe::targets(&functions.wanted, 0, &functions.silent, following.is_some()),
        tracer: options.tracer,
        mark: options.mark,
        mask: options.mask,
        following,
        buffer: &buffer,
        extension: extension.object(),
        record_bytes: options.record_bytes,
        max_events_per_second: options.max_events_per_second,
        fields: show.bits(),
        contexts,
        progress: &progress,
        maps: probe::Maps::from([]),
    };
    // Opened before rights are given up.
    let code = options.follow.map(|_| Code::open(&root)).unwrap_or_default();
    let attachment = attach_visibly(options, &request)?;
    report_attachment(&attachment, &functions, options.verbose);

    let mut late = watch_modules(options, &request, &attachment, &functions, loaded);

    let trace = Trace {
        tracer: options.tracer,
        backend: attachment.backends(),
        functions: functions.wanted.iter().map(function).collect(),
        schema: show.schema(extension.schema()),
        clock_offset: clock_offset(),
        command_line,
        kernel_release: kernel_release(),
        mark: options.mark,
        mask: options.mask,
        filter: options.packets.clone(),
        follow: options.follow.is_some(),
        drop_reasons: drop_reasons(&drops),
    };
    let mut reader = Reader::new(&attachment, &buffer, &trace, &mut extension)?.with_code(code);
    if options.drops.is_some() || options.other_drops {
        reader = reader.of_drops(Box::new(|| attachment.drop_counts()), totals.clone());
    }
    // Perf buffers are those of the CPUs that are online now.
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
    // Everything that needs privileges is done, and no plugin or script has run yet.
    if !options.keep_privileges {
        let needs = Needs {
            folders: drawing::folders(&options.drawing),
            accepts: server.is_some(),
            terminal: options.drawing.output == Output::Top,
            user,
        };
        let in_force = privileges::reduce(&needs)?;
        if options.verbose {
            message!("Privileges from now on: {}", in_force.describe());
        }
    }
    reader.start(&trace)?;
    // A script may wait for a message; people see the screen. Once that is drawn, stderr is something else.
    let shown_on_screen = options.drawing.output == Output::Top && io::stderr().is_terminal();
    if sinks.start(&trace) == Flow::Stop {
        // A plugin that failed to start, as the only sink, has been reported.
        if sinks.failures().next().is_some() {
            return Ok(Outcome::SinkFailed);
        }
        bail!("output closed before the trace started");
    }
    let _server = server.map(ProbeServer::serve).transpose()?;
    if !shown_on_screen {
        message!("Trace ready!");
    }

    let mut limit = Limit::new(options.duration, options.stop_after, monotonic());
    let mut warning = RateWarning::on_stderr(options.max_events_per_second);
    let mut losses = || {
        let losses = kernel_losses();
        warning.warn(&losses);
        losses
    };
    let result = reader.run(&signals, &mut limit, &mut sinks, &mut losses, late.as_mut());
    // Sinks that stop now get their end nevertheless.
    reader.count_drops(&mut sinks);
    if let Some(late) = &mut late {
        late.finish();
    }
    let mut losses = kernel_losses();
    losses.extend(reader.losses());
    losses = probe::sum(losses.into_iter().chain(late.iter().flat_map(Late::losses)));
    let summary = Summary {
        events: reader.events,
        packets: match options.drops {
            // Some were given an identity and turned out to be parts of others.
            Some(_) => reader.events,
            None => limit.packets(attachment.packets()),
        },
        losses,
        attached: attachment.attached() + late.as_ref().map_or(0, |late| late.attached),
        skipped: (functions.skipped.iter())
            .chain(&attachment.skipped)
            .chain(late.iter().flat_map(|late| &late.skipped))
            .cloned()
            .collect(),
    };
    let (ended, alone) = (reader.ended, reader.alone);
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
        .filter(|name| !failed(name) && options.drawing.output != Output::Top)
    {
        message!(
            "Recorded {} events of {} packets in {file}",
            summary.events,
            summary.packets
        );
    }
    report_losses(&summary, reached, drawing::shows_losses(&options.drawing, &plugins));
    if options.verbose && options.follow.is_some() && options.drops.is_none() {
        // Those of which only the drop is seen were never followed.
        message!(
            "{} packets were followed: {} ended, {} live",
            attachment.packets().saturating_sub(alone),
            ended - alone,
            attachment.followed()
        );
    }
    let unjudged = attachment.unjudged();
    if unjudged > 0 {
        message!(
            "The filter could not judge a packet {unjudged} times: it looks at bytes that the kernel keeps apart from the \
             headers; these packets were not selected"
        );
    }
    let left_out = attachment.left_out();
    if left_out > 0 {
        message!("--sample rejected packets {left_out} times, once at each function that selects");
    }
    let undecided = attachment.undecided();
    if undecided > 0 {
        message!("{}", undecided_packets(options, undecided));
    }
    let over_rate = attachment.over_rate();
    if over_rate > 0 {
        message!("--max-packets-per-second rejected packets {over_rate} times, once at each function that selects");
    }
    if options.drops.is_some() {
        let sent = summary.events;
        let all = totals.all();
        if options.drawing.output != Output::Drops && all > sent {
            message!(
                "{sent} of {all} drops were shown; --max-per-place and --max-events-per-second set how many are in a second"
            );
        }
        if all == 0 {
            message!("{}", empty::drops(options));
        }
    } else if options.other_drops && totals.all() > alone {
        message!(
            "{alone} of {} drops of packets that were not selected were shown; 'ipft drops' counts them by their place",
            totals.all()
        );
    }
    if options.drops.is_none() && summary.events == 0 {
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

/// Compiles the packet filter, if packets are followed. Without an expression, every packet matches.
fn packet_filter(options: &Options) -> anyhow::Result<Option<Filter>> {
    let compile = |_| filter::compile(&options.packets, &filter::SystemNames);
    Ok(options.follow.map(compile).transpose()?)
}

/// Compiles the filter of packets in tunnels, if there is one.
fn inner_filter(options: &Options) -> anyhow::Result<Option<Filter>> {
    let compile = |expression: &String| filter::compile(expression, &filter::SystemNames);
    Ok(options.inner.as_ref().map(compile).transpose()?)
}

/// Returns the message on packets of which it was not known whose they are.
fn undecided_packets(options: &Options, count: u64) -> String {
    let reason = match options.place.group {
        Some(_) => "they had no socket there, or passed in a softirq",
        None => "they passed in a softirq",
    };
    format!(
        "--pid, --comm or --cgroup could not decide {count} times whose a packet is, and did not select it: {reason}"
    )
}

/// Finds the namespace in which packets are selected.
fn place(options: &Options, root: &Root) -> anyhow::Result<SelectionPlace> {
    let namespace = options.place.namespace.as_deref();
    let group = options.place.group.as_deref();
    if let Some(process) = options.place.process
        && !root.path(&format!("/proc/{process}")).exists()
    {
        bail!("there is no process {process} (--pid); ps -e lists them");
    }
    Ok(SelectionPlace {
        device: options.place.device.as_ref().map(|(_, pattern)| *pattern),
        namespace: namespace.map(|text| network_namespace(root, text)).transpose()?,
        sample: options.place.sample,
        rate: options.place.rate,
        process: options.place.process,
        thread: options.place.thread.as_ref().map(|(_, name)| *name),
        group: group.map(|path| control_group(root, path)).transpose()?,
        drops: options.drops.map_or(0, |drops| drops.per_place),
        other_drops: options.other_drops.then_some(OTHER_DROPS),
    })
}

/// Finds the user to become after attaching. Files written from now on belong to it.
fn user(options: &Options, root: &Root) -> anyhow::Result<Option<User>> {
    let Some(name) = &options.user else {
        return Ok(None);
    };
    let user = User::find(name, &root.path("/"))?;
    user.check_rights()?;
    output::set_owner(user.uid, user.gid);
    Ok(Some(user))
}

/// Starts to watch for modules that are loaded from now on. The trace also works without.
fn watch_modules(
    options: &Options,
    request: &Request<'_>,
    attachment: &Attachment,
    functions: &Functions,
    loaded: LoadedModules,
) -> Option<Late> {
    let backend = probe::backend(attachment.backend())?;
    let started = attachment.maps().map_err(anyhow::Error::from).and_then(|maps| {
        let setup = Setup {
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

fn drop_reasons(drops: &Drops) -> Vec<EnumMember> {
    let member = |(value, name): &(u32, String)| EnumMember {
        name: name.clone(),
        value: u64::from(*value),
    };
    drops.reasons.iter().map(member).collect()
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
    if options.other_drops && !probe::has_ring_buffer(root) {
        bail!(
            "this kernel has no BPF ring buffer that tracepoints can use (Linux 5.8, with PREEMPT_RT 6.12), which the drops \
             of other packets are reported through; leave --drops out"
        );
    }
    if options.drops.is_some() && !probe::has_ring_buffer(root) {
        bail!(
            "this kernel has no BPF ring buffer that tracepoints can use (Linux 5.8, with PREEMPT_RT 6.12), which drops are \
             reported through; ipft FILTER shows the drops of the packets that match"
        );
    }
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
        let cpus = kernel::online_cpus(root).map_or(1, |cpus| cpus.len());
        Buffer::rings(buffers.ring_size, cpus)
    })
}

fn extension(
    options: &Options,
    plugins: &Plugins,
    root: &Root,
    types: &Types<'_>,
    signals: &Signals,
) -> anyhow::Result<Extension> {
    if !options.expressions.is_empty() {
        if options.extension.is_some() || plugins.extension(root)?.is_some() {
            bail!(
                "--show NAME=EXPR and an extension (-e, -s, or a plugin's) fill the same bytes of an event; leave one of \
                 them out"
            );
        }
        let fields = expression::fields(&options.expressions, types)?;
        return Ok(Extension::from_fields(fields));
    }
    if let Some(extension) = plugins.extension(root)? {
        if options.extension.is_some() {
            bail!("a plugin brings an extension, and -e (or -s) another; leave one of them out");
        }
        return Ok(extension);
    }
    let print = match options.drawing.is_for_people() {
        true => Print::Stdout,
        false => Print::Stderr,
    };
    Ok(match &options.extension {
        None => Extension::default(),
        Some(ExtensionFile::Source(path)) => Extension::from_source(path, root, signals.fd())?,
        Some(ExtensionFile::Object(path)) => Extension::from_object(path, root)?,
        Some(ExtensionFile::Script(path)) => {
            let tell = Box::new(|message: &str| message!("ipft: {message}"));
            match Extension::from_function(path, types)? {
                Some(extension) => extension,
                None => Extension::from_script(path, print, signals.fd(), tell)?,
            }
        }
    })
}

/// `uname -r`.
fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
