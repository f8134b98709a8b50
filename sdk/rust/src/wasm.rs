//! The plugin as a component: the interface `sink` of the contract on one side, a [`Driver`] on the other.
//!
//! The bindings are generated from `wit/`. Events are not converted: the generated code is told to use [`Event`], and
//! takes the list over as it lies in memory, which is right because the record is integers only and [`Event`] asserts
//! its layout.
//!
//! [`Event`]: crate::Event

use crate::trace::{Encoding, Field, Format, Function, Kind, Loss, Member, Skipped, Summary, Trace};
use crate::{Describe, Driver, Level, Options, Output, Plugin, set_logger};

#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "sink-plugin",
        pub_export_macro: true,
        default_bindings_module: "ipft_plugin::wasm::bindings",
        with: { "ipft:plugin/types@0.1.0/event": crate::Event },
    });
}

use bindings::exports::ipft::plugin::sink::Guest;
use bindings::ipft::plugin::{host, types};

/// Where [`plugin!`](crate::plugin) keeps its one driver.
pub trait Component {
    /// The plugin.
    type Plugin: Plugin + Default + Describe + 'static;

    /// Runs this with the driver.
    fn with<R>(run: impl FnOnce(&mut Driver<Self::Plugin>) -> R) -> R;
}

/// A driver whose plugin writes to, and speaks through, the host.
pub fn driver<P: Plugin + Default>() -> Driver<P> {
    Driver::new(P::default(), Output::new(host::write))
}

impl<C: Component> Guest for C {
    fn start(trace: types::Trace, options: Vec<types::OptionValue>) -> Result<(), String> {
        set_logger(|level, message| host::log(of_level(level), message));
        // The trap that follows says only where.
        std::panic::set_hook(Box::new(|panic| host::log(host::Level::Error, &panic.to_string())));
        let options = Options::new(options);
        C::with(|driver| driver.start(of_trace(trace), &options)).map_err(|error| error.to_string())
    }

    fn learn(functions: Vec<types::Function>, names: Vec<String>) {
        let functions = functions.into_iter().map(|function| Function {
            name: function.name,
            module: function.module,
            address: function.address,
        });
        C::with(|driver| driver.learn(functions.collect(), names));
    }

    fn events(events: Vec<crate::Event>, payload: Vec<u8>) -> Result<(), String> {
        C::with(|driver| driver.events(&events, &payload)).map_err(|error| error.to_string())
    }

    fn missed(events: u64) {
        C::with(|driver| driver.missed(events));
    }

    fn finish(summary: types::Summary) -> Result<(), String> {
        C::with(|driver| driver.finish(&of_summary(summary))).map_err(|error| error.to_string())
    }
}

fn of_level(level: Level) -> host::Level {
    match level {
        Level::Error => host::Level::Error,
        Level::Warning => host::Level::Warning,
        Level::Info => host::Level::Info,
        Level::Debug => host::Level::Debug,
    }
}

fn of_trace(trace: types::Trace) -> Trace {
    Trace {
        tracer: trace.tracer,
        backend: trace.backend,
        fields: trace.fields.into_iter().map(of_field).collect(),
        payload_size: trace.payload_size,
        encoding: match trace.encoding.as_str() {
            "fixed" => Encoding::Fixed,
            "tagged" => Encoding::Tagged,
            _ => Encoding::Unknown,
        },
        clock_offset: trace.clock_offset,
        command_line: trace.command_line,
        kernel_release: trace.kernel_release,
        mark: trace.mark,
        mask: trace.mask,
        more: trace.more,
        functions: Vec::new(),
        names: Vec::new(),
    }
}

fn of_field(field: types::Field) -> Field {
    let member = |member: types::Member| Member {
        name: member.name,
        value: member.value,
    };
    Field {
        name: field.name,
        offset: field.offset,
        size: field.size,
        bit_offset: field.bit_offset,
        bit_width: field.bit_width,
        kind: Kind::named(&field.kind),
        format: Format::named(&field.format),
        members: field.members.into_iter().map(member).collect(),
    }
}

fn of_summary(summary: types::Summary) -> Summary {
    let loss = |loss: types::Loss| Loss {
        kind: loss.kind,
        cpu: loss.cpu,
        count: loss.count,
    };
    let skipped = |skipped: types::SkippedFunction| Skipped {
        name: skipped.name,
        module: skipped.module,
        reason: skipped.reason,
    };
    Summary {
        events: summary.events,
        packets: summary.packets,
        losses: summary.losses.into_iter().map(loss).collect(),
        missed: summary.missed,
        attached: summary.attached,
        skipped: summary.skipped.into_iter().map(skipped).collect(),
        more: summary.more,
    }
}
