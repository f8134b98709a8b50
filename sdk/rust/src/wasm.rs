//! The plugin as a component: the interfaces of the contract on one side, a [`Driver`] or [`DecoderDriver`] on the other.
//!
//! Each interface that a plugin may export has its own bindings. A component does not belong to one world: the linker
//! merges the worlds of all exports.
//!
//! The bindings are generated from `wit/`. Events are not converted: the generated code uses [`Event`] and takes the
//! list over as it is in memory, which is sound because the record has only integers and [`Event`] asserts its layout.
//!
//! [`Event`]: crate::Event

use crate::trace::{Field, Format, Function, Kind, Loss, Member, Skipped, Summary, Trace};
use crate::{Content, Decoder, DecoderDriver, Driver, Level, Options, Output, Plugin, set_logger};

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

#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
pub mod decoder {
    wit_bindgen::generate!({
        path: "wit",
        world: "decoder-plugin",
        pub_export_macro: true,
        default_bindings_module: "ipft_plugin::wasm::decoder",
        with: {
            "ipft:plugin/types@0.1.0": crate::wasm::bindings::ipft::plugin::types,
            "ipft:plugin/host@0.1.0": crate::wasm::bindings::ipft::plugin::host,
        },
    });
}

#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
pub mod program {
    wit_bindgen::generate!({
        path: "wit",
        world: "program-plugin",
        pub_export_macro: true,
        default_bindings_module: "ipft_plugin::wasm::program",
        with: {
            "ipft:plugin/types@0.1.0": crate::wasm::bindings::ipft::plugin::types,
            "ipft:plugin/host@0.1.0": crate::wasm::bindings::ipft::plugin::host,
        },
    });
}

use bindings::exports::ipft::plugin::sink;
use bindings::ipft::plugin::{host, types};

/// The storage of a plugin's only driver, for [`plugin!`](crate::plugin).
pub trait Component {
    /// The plugin.
    type Plugin: Plugin;

    /// Calls a function with the driver.
    fn with<R>(run: impl FnOnce(&mut Driver<Self::Plugin>) -> R) -> R;
}

/// Creates a driver whose plugin writes and logs through the host.
pub fn driver<P: Plugin + Default>() -> Driver<P> {
    Driver::new(P::default(), Output::new(host::write))
}

impl<C: Component> sink::Guest for C {
    fn start(trace: types::Trace, options: Vec<types::OptionValue>) -> Result<(), String> {
        speak();
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

/// The storage of a decoder's only driver, for [`plugin!`](crate::plugin).
pub trait DecoderComponent {
    /// The decoder.
    type Decoder: Decoder;

    /// Calls a function with the driver.
    fn with<R>(run: impl FnOnce(&mut DecoderDriver<Self::Decoder>) -> R) -> R;
}

impl<C: DecoderComponent> decoder::exports::ipft::plugin::decoder::Guest for C {
    fn start(trace: types::Trace, options: Vec<types::OptionValue>) -> Result<(), String> {
        speak();
        let options = Options::new(options);
        C::with(|driver| driver.start(&of_trace(trace), &options)).map_err(|error| error.to_string())
    }

    fn decode(payloads: Vec<u8>, size: u32) -> Result<decoder::exports::ipft::plugin::decoder::Decoded, String> {
        use decoder::exports::ipft::plugin::decoder::{Content as Holds, Decoded, Value};
        let decoded = C::with(|driver| driver.decode(&payloads, size)).map_err(|error| error.to_string())?;
        let value = |(payload, name, content)| Value {
            payload,
            name,
            content: match content {
                Content::Integer(value) => Holds::Integer(value),
                Content::Float(value) => Holds::Float(value),
                Content::Text(text) => Holds::Text(text),
            },
        };
        Ok(Decoded {
            names: decoded.names,
            values: decoded.values.into_iter().map(value).collect(),
        })
    }

    fn finish() -> Result<(), String> {
        C::with(DecoderDriver::finish).map_err(|error| error.to_string())
    }
}

/// The kernel side of a plugin, for [`plugin!`](crate::plugin).
pub trait ProgramComponent {
    /// A BPF object.
    fn object() -> Vec<u8>;
}

impl<C: ProgramComponent> program::exports::ipft::plugin::program::Guest for C {
    fn object(_options: Vec<types::OptionValue>) -> Result<Vec<u8>, String> {
        Ok(C::object())
    }
}

/// Directs this instance's messages to the host.
fn speak() {
    set_logger(|level, message| host::log(of_level(level), message));
    // The trap that follows only has a location.
    std::panic::set_hook(Box::new(|panic| host::log(host::Level::Error, &panic.to_string())));
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
        tail: trace.tail,
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
