//! Attaching and detaching, with their output for the user.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use ipft_core::event::SkippedFunction;
use ipft_core::message;
use ipft_core::probe::{self, Attachment, ProbeError, Progress, Request, Unseen, UnseenReason};

use super::waiting::{self, Waiting};
use crate::args::{BackendName, Options};
use crate::command::functions::Functions;

/// Lines of the verifier's log shown without `-v`: the last ones have the reason.
const VERIFIER_LINES: usize = 12;

/// Returns the verifier's log of an extension, out of all messages of libbpf.
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

/// Attaches, and shows the progress if it takes long.
pub(super) fn attach_visibly(options: &Options, request: &Request<'_>) -> anyhow::Result<Attachment> {
    if options.drops.is_some() {
        return Ok(probe::attach_to_drops(request)?);
    }
    let since = Instant::now();
    let progress = request.progress;
    let functions = request.targets.len();
    // Before the first step the number of steps is not known.
    let total = || {
        if progress.total() == 0 {
            functions
        } else {
            progress.total()
        }
    };
    let line = || format!("Attaching: {}", waiting::share(progress.done(), total(), since));
    let once = || {
        // The steps of the functions that most packets pass say nothing about the others, which may need a single one.
        let done = if 2 * total() < functions { 0 } else { progress.done() };
        format!(
            "Attaching to {} takes {} on this kernel; -r and --module-regex select fewer",
            waiting::functions(functions),
            waiting::estimate(done, total(), since)
        )
    };
    std::thread::scope(|scope| {
        let _waiting = Waiting::show(scope, line, once);
        attach(options.backend, request, options.verbose)
    })
}

/// Detaches, and shows the progress if it takes long.
pub(super) fn detach_visibly(attachment: Attachment) {
    let functions = attachment.attached() as usize;
    let progress = Progress::default();
    // The counted descriptors are several per function.
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
        // The extension is the cause, whatever else fails: without it, a backend works.
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

/// Reports which verdicts are not shown. Most firewalls have one of the modules, so what is not loaded
/// is reported only if nothing is shown.
fn tell_unseen(attachment: &Attachment, verbose: bool) {
    let all = verbose || !attachment.sees_netfilter();
    let is_loaded = |unseen: &Unseen| !matches!(unseen.reason, UnseenReason::NotLoaded);
    for unseen in attachment.unseen.iter().filter(|unseen| all || is_loaded(unseen)) {
        message!("Cannot show verdicts of {}: {}", unseen.module, unseen.reason);
    }
}

/// Reports the attached and skipped functions, with reasons.
pub(super) fn report_attachment(attachment: &Attachment, functions: &Functions, verbose: bool) {
    let skipped = functions.skipped.len() + attachment.skipped.len();
    if let Some(error) = &attachment.drops_missing {
        message!("Cannot detect drops, so dropped packets are shown as released: {error}");
    }
    if let Some(error) = &attachment.other_drops_missing {
        message!("Cannot show the drops of other packets (--drops): {error}");
    }
    tell_unseen(attachment, verbose);
    if verbose {
        if !functions.wanted.is_empty() {
            message!("Functions found in: {}", functions.source);
        }
        for module in &functions.missing {
            message!("Module {} is not traced: {}", module.name, module.reason);
        }
        message!("Backend: {}", attachment.backends());
        for layer in attachment.layers() {
            message!("Functions attached by {}: {}", layer.backend, layer.attached);
        }
        if !attachment.hot().is_empty() {
            message!(
                "Attached by ftrace, as most packets pass them: {}",
                attachment.hot().join(", ")
            );
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

/// Returns the reason why more functions were skipped than attached, if there is one: it then concerns the machine.
fn common_reason(skipped: &[SkippedFunction], attached: u32) -> Option<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for function in skipped {
        *counts.entry(&function.reason).or_default() += 1;
    }
    let (reason, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > attached as usize).then_some(reason)
}
