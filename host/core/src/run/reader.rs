//! The loop of a live trace: reads events from the kernel's buffer and passes them on, until a signal, a limit, or the
//! end of all readers.

use std::time::Duration;

use super::clock::monotonic;
use super::deciders::Deciders;
use super::drop_totals::Counting;
use super::droppers::{Dropper, Droppers};
use super::late::Late;
use super::outcomes::Outcomes;
use super::stacks::Stacks;
use crate::event::{
    Batch, DropTotals, EventKind, Function, Loss, LossKind, NO_FUNCTION, OpenCalls, Outcome, Progress, Trace, Tracer,
};
use crate::extension::Extension;
use crate::kernel::Code;
use crate::limit::{Limit, Reached};
use crate::probe::{Attachment, Buffer, DropCount, sum};
use crate::signals::Signals;
use crate::sink::{Flow, Sinks};
use crate::stream::{
    Decoder, DropPlace, FunctionIds, PerfBuffer, PerfOptions, Rest, RingBuffer, RingBuffers, Source, StreamError,
};

/// Maximum time that events wait in the buffer. The programs wake the reader earlier when many come at once.
const PATIENCE: Duration = Duration::from_millis(20);

/// Interval of progress reports to the sinks, in nanoseconds: slightly less than a second, so that a recording closes
/// its blocks at least once a second.
const PROGRESS: u64 = 900_000_000;

/// Interval of checking for new modules, in nanoseconds.
const MODULES: u64 = 20_000_000;

/// Pause before an unfinished record is checked again.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the end of a trace waits for an unfinished record, in nanoseconds.
const STUCK: u64 = 500_000_000;

/// No packet has this identity.
const NONE: u64 = 0;

/// The reason why a trace cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object of the programs is not whole.
    #[error("the BPF object has no buffer")]
    NoBuffer,
    /// The buffer cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The decoder does not accept the trace.
    #[error("{0}")]
    Decoder(String),
}

/// Reads events and passes them on.
pub struct Reader<'a> {
    source: Box<dyn Source + 'a>,
    decoder: Decoder,
    extension: &'a mut Extension,
    calls: Option<OpenCalls>,
    batch: Batch,
    /// Whether there are events other than entries and returns.
    follow: bool,
    droppers: Droppers,
    stacks: Stacks,
    deciders: Deciders,
    /// Where drops are shown of packets of which nothing else is seen: counts them.
    counting: Option<Counting<'a>>,
    outcomes: Outcomes,
    /// The reason that says nothing: a fragment that is freed with its datagram has it.
    not_specified: u32,
    /// Entries and returns that the sinks were given.
    pub events: u64,
    /// Packets whose end was read.
    pub ended: u64,
    /// Those of them of which nothing is known but that they were dropped.
    pub alone: u64,
}

impl<'a> Reader<'a> {
    /// One for the buffer that is attached.
    pub fn new(
        attachment: &'a Attachment,
        buffer: &Buffer,
        trace: &Trace,
        extension: &'a mut Extension,
    ) -> Result<Self, ReadError> {
        let maps = attachment.buffer_maps(buffer);
        let first = *maps.first().ok_or(ReadError::NoBuffer)?;
        let source: Box<dyn Source + 'a> = match *buffer {
            Buffer::Ring { bytes, count: 1 } => Box::new(RingBuffer::new(first, bytes)?),
            Buffer::Ring { bytes, count } => {
                let rings: Result<Vec<RingBuffer<'a>>, StreamError> = maps
                    .into_iter()
                    .map(|map| RingBuffer::new(map, bytes / count))
                    .collect();
                Box::new(RingBuffers::new(rings?, monotonic))
            }
            Buffer::Perf {
                pages,
                sample_period,
                wakeup_events,
            } => Box::new(PerfBuffer::new(
                first,
                PerfOptions {
                    pages,
                    sample_period,
                    wakeup_events,
                },
            )?),
        };
        Ok(Reader::with_source(source, trace, extension))
    }

    /// Creates a reader of any source whose records are of this trace.
    pub fn with_source(source: Box<dyn Source + 'a>, trace: &Trace, extension: &'a mut Extension) -> Self {
        let functions = FunctionIds::new(trace.functions.iter().map(|function| function.address));
        Reader {
            source,
            decoder: Decoder::new(functions, trace.schema.builtin as usize + extension.payload_size()),
            extension,
            calls: (trace.tracer == Tracer::FunctionGraph).then(OpenCalls::default),
            batch: Batch::default(),
            follow: trace.follow,
            droppers: Droppers::default(),
            stacks: Stacks::default(),
            deciders: Deciders::default(),
            counting: None,
            outcomes: Outcomes::new(trace),
            not_specified: not_specified(trace),
            events: 0,
            ended: 0,
            alone: 0,
        }
    }

    /// Finds the functions that drop packets in this code.
    pub fn with_code(mut self, code: Code) -> Self {
        self.droppers = Droppers::new(code);
        self
    }

    /// Reads drops of packets of which nothing else is seen: `counts` are those of the kernel's side, and `totals` are kept
    /// up to date with them.
    pub fn of_drops(mut self, counts: Box<dyn Fn() -> Vec<DropCount> + 'a>, totals: DropTotals) -> Self {
        self.counting = Some(Counting::new(counts, totals));
        self
    }

    /// Tells what decodes payloads what is traced.
    pub fn start(&mut self, trace: &Trace) -> Result<(), ReadError> {
        match self.extension.decoder() {
            Some(decoder) => decoder.start(trace).map_err(ReadError::Decoder),
            None => Ok(()),
        }
    }

    /// Runs until a signal, until no sink takes events, or until a limit is reached, which it returns.
    pub fn run(
        &mut self,
        signals: &Signals,
        limit: &mut Limit,
        sinks: &mut Sinks,
        losses: &mut dyn FnMut() -> Vec<Loss>,
        mut late: Option<&mut Late>,
    ) -> Result<Option<Reached>, ReadError> {
        let mut reported = monotonic();
        let mut requested = reported;
        // Since when the trace is to end, and why.
        let mut ending = None;
        // Everything is looked at after each batch: in a flood the buffer is never empty.
        loop {
            let now = monotonic();
            if ending.is_none() {
                let over = limit.time_is_over(now);
                if over.is_some() || signals.stop_requested() {
                    ending = Some((now, over));
                }
            }
            if let Some(late) = late.as_deref_mut().filter(|_| now - requested >= MODULES) {
                requested = now;
                late.receive(|new| {
                    let first = self.decoder.functions();
                    add_functions(&mut self.decoder, &mut self.outcomes, sinks, &new);
                    first
                });
                if sinks.flow() == Flow::Stop {
                    return Ok(None);
                }
            }
            self.batch.clear();
            let rest = self.source.read(&mut self.decoder, &mut self.batch)?;
            // Where stdout closes at a new function, the other sinks get this batch, complete.
            self.name_deciders(sinks);
            self.name_droppers(sinks);
            if self.follow {
                self.outcomes.complete(&mut self.batch);
            }
            // Everything before this has been read.
            let seen = match rest {
                Rest::Nothing => now,
                Rest::More | Rest::Unfinished => newest(&self.batch),
            };
            limit.admit(&mut self.batch, seen);
            if self.pass_on(sinks) == Flow::Stop {
                return Ok(None);
            }
            let complete = limit.is_complete();
            if complete.is_some() {
                return Ok(complete);
            }
            match ending {
                // What was in the buffer when the end came is part of the trace; what comes meanwhile is not, or a
                // flood would never end it.
                Some((since, why)) if seen >= since => return Ok(why),
                // A writer that takes this long has been stopped for good, or nearly so.
                Some((since, why)) if rest == Rest::Unfinished && now - since > STUCK => return Ok(why),
                Some(_) if rest == Rest::Unfinished => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            if now - reported >= PROGRESS {
                reported = now;
                self.count_drops(sinks);
                let mut progress = Progress {
                    timestamp: now,
                    losses: losses(),
                };
                progress.losses.extend(self.losses());
                if let Some(late) = &late {
                    progress.losses = sum(progress.losses.into_iter().chain(late.losses()));
                }
                if sinks.progress(&progress) == Flow::Stop {
                    return Ok(None);
                }
            }
            match rest {
                Rest::Nothing => self.source.wait(signals.fd(), PATIENCE)?,
                // There is something to read, so that waiting for it would be over at once.
                Rest::Unfinished => std::thread::sleep(PAUSE),
                Rest::More => {}
            }
        }
    }

    /// Completes the decisions of the batch by what decided, which is appended to the function table if it is not there.
    fn name_deciders(&mut self, sinks: &mut Sinks) {
        for (at, decider) in self.decoder.take_decisions() {
            let (decoder, outcomes) = (&mut self.decoder, &mut self.outcomes);
            let index = self
                .deciders
                .index(&decider, |function| index_of(decoder, outcomes, sinks, &function));
            if let Some(event) = self.batch.events.get_mut(at) {
                event.function = index;
            }
        }
    }

    /// Completes the drops of the batch by the function that dropped the packet. One that is not in the function table
    /// is appended to it.
    fn name_droppers(&mut self, sinks: &mut Sinks) {
        if self.follow {
            let ends = self.batch.events.iter().filter(|event| event.kind == EventKind::ENDED);
            self.ended += ends.count() as u64;
        }
        let mut refuted = false;
        for (at, place) in self.decoder.take_drops() {
            let before = at.checked_sub(1).and_then(|before| self.batch.events.get(before));
            let joined = before.is_some_and(|before| before.kind == EventKind::JOINED);
            // The entry that the decoder has made of it.
            if before.is_some_and(|before| before.kind == EventKind::ENTRY && before.function == NO_FUNCTION) {
                refuted |= !self.name_drop(at, &place, sinks);
                continue;
            }
            let Dropper { function, part, stack } = self.droppers.find(&place);
            let Some(event) = self.batch.events.get_mut(at) else {
                continue;
            };
            if *part
                && event
                    .outcome()
                    .is_some_and(|outcome| is_unspecific(outcome, self.not_specified))
            {
                let outcome = if joined { Outcome::Joined } else { Outcome::Released };
                event.spare = outcome.to_word();
                continue;
            }
            // It was dropped before it could join.
            if joined && let Some(before) = self.batch.events.get_mut(at - 1) {
                before.packet = NONE;
                refuted = true;
            }
            let (Some(function), Some(event)) = (function, self.batch.events.get_mut(at)) else {
                continue;
            };
            event.function = index_of(&mut self.decoder, &mut self.outcomes, sinks, function);
            if let Some(stack) = stack {
                let table = (&mut self.decoder, &mut self.outcomes, &mut *sinks);
                note_stack(&mut self.stacks, at, stack, table);
            }
        }
        self.stacks.insert(&mut self.batch);
        if refuted {
            self.batch.events.retain(|event| event.packet != NONE);
        }
    }

    /// Completes a drop of which nothing else is seen, and the entry before it: all that the trace has of the packet.
    /// Returns false if it was none: a part of a packet that is freed with it. Then both have no packet.
    fn name_drop(&mut self, at: usize, place: &DropPlace, sinks: &mut Sinks) -> bool {
        let Dropper { function, part, stack } = self.droppers.find(place).clone();
        let Some([entry, end]) = (at.checked_sub(1)).and_then(|first| self.batch.events.get_mut(first..=at)) else {
            return true;
        };
        let outcome = end.outcome().unwrap_or(Outcome::Released);
        let reason = match outcome {
            Outcome::Dropped { reason } => reason,
            _ => 0,
        };
        if part && is_unspecific(outcome, self.not_specified) {
            (entry.packet, end.packet) = (NONE, NONE);
            if let Some(counting) = &mut self.counting {
                counting.learn(place.location, reason, NO_FUNCTION);
            }
            return false;
        }
        self.alone += 1;
        let function = function.unwrap_or_else(|| unnamed(place.location));
        let index = index_of(&mut self.decoder, &mut self.outcomes, sinks, &function);
        (entry.function, end.function) = (index, index);
        if let Some(stack) = stack {
            let table = (&mut self.decoder, &mut self.outcomes, &mut *sinks);
            note_stack(&mut self.stacks, at, &stack, table);
        }
        if let Some(counting) = &mut self.counting {
            counting.learn(place.location, reason, index);
        }
        true
    }

    /// Brings the totals of a trace of drops up to date.
    pub fn count_drops(&mut self, sinks: &mut Sinks) {
        let Some(counting) = &mut self.counting else {
            return;
        };
        let (decoder, droppers) = (&mut self.decoder, &mut self.droppers);
        let outcomes = &mut self.outcomes;
        counting.count(|location| {
            let place = DropPlace {
                location,
                ..DropPlace::default()
            };
            let function = (droppers.find(&place).function.clone()).unwrap_or_else(|| unnamed(location));
            index_of(decoder, outcomes, sinks, &function)
        });
    }

    /// Hands the batch to the sinks.
    fn pass_on(&mut self, sinks: &mut Sinks) -> Flow {
        if self.batch.is_empty() {
            return sinks.flow();
        }
        if let Some(calls) = &mut self.calls {
            calls.pair(&mut self.batch.events);
        }
        if let Some(decoder) = self.extension.decoder() {
            decoder.decode(&mut self.batch);
        }
        self.events += match self.follow {
            true => self.batch.calls().count() as u64,
            false => self.batch.events.len() as u64,
        };
        sinks.events(&self.batch)
    }

    /// Losses in user space.
    pub fn losses(&self) -> Vec<Loss> {
        let mut losses = Vec::new();
        if self.decoder.undecodable() > 0 {
            losses.push(Loss {
                kind: LossKind::Undecodable,
                cpu: None,
                count: self.decoder.undecodable(),
            });
        }
        losses
    }
}

/// Appends functions to the function table.
fn add_functions(decoder: &mut Decoder, outcomes: &mut Outcomes, sinks: &mut Sinks, new: &[Function]) {
    outcomes.append(new);
    decoder.add_functions(new.iter().map(|function| function.address));
    // Whether to go on is looked at when the batch has been passed on.
    let _ = sinks.functions(new);
}

/// Notes the stack of the drop at this place of the batch. `table`: what knows the function table, to which a new stack is
/// appended.
fn note_stack(
    stacks: &mut Stacks,
    at: usize,
    name: &str,
    (decoder, outcomes, sinks): (&mut Decoder, &mut Outcomes, &mut Sinks),
) {
    stacks.note(at, name, |stack| index_of(decoder, outcomes, sinks, &stack));
}

/// Returns the index of a function in the function table, to which it is appended if it is not there.
fn index_of(decoder: &mut Decoder, outcomes: &mut Outcomes, sinks: &mut Sinks, function: &Function) -> u32 {
    // 0 is no address, but the index of the first function.
    let known = (function.address != 0).then(|| decoder.function_at(function.address));
    if let Some(index) = known.flatten() {
        return index;
    }
    let index = decoder.functions();
    add_functions(decoder, outcomes, sinks, std::slice::from_ref(function));
    index
}

/// Code that has no name: that of BPF, or all where addresses are hidden. Address 0 is that of the places for which a
/// CPU has no slot left.
fn unnamed(address: u64) -> Function {
    Function {
        name: match address {
            0 => "other places".to_owned(),
            address => format!("{address:#x}"),
        },
        module: "vmlinux".to_owned(),
        address,
    }
}

/// Returns the reason of a trace that says nothing, 0 if there is none.
fn not_specified(trace: &Trace) -> u32 {
    let mut reasons = trace.drop_reasons.iter();
    let found = reasons.find(|reason| reason.name == "NOT_SPECIFIED");
    found.and_then(|reason| u32::try_from(reason.value).ok()).unwrap_or(0)
}

fn is_unspecific(outcome: Outcome, not_specified: u32) -> bool {
    matches!(outcome, Outcome::Dropped { reason } if reason == 0 || reason == not_specified)
}

/// When the last that the batch tells of was.
fn newest(batch: &Batch) -> u64 {
    let event = batch.events.last().map_or(0, |event| event.timestamp);
    let capture = batch.captures.last().map_or(0, |capture| capture.timestamp);
    event.max(capture)
}

#[cfg(test)]
mod tests;
