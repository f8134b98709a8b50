use wasm_encoder::{
    CanonicalOption, CodeSection, ComponentBuilder, ComponentExportKind, ComponentValType, ConstExpr, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Instruction, MemArg, MemorySection,
    MemoryType, Module, PrimitiveValType, TypeSection, ValType,
};
use wasmtime::component::{Component, Instance, Linker};
use wasmtime::{Engine, Store};

use super::*;
use ipft_core::event::EventKind;

/// A module that returns the memory of the events that it gets.
fn module() -> Module {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 2], [ValType::I32]);
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    module.section(&types);
    module.section(FunctionSection::new().function(0).function(1));
    module.section(MemorySection::new().memory(MemoryType {
        minimum: 256,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }));
    let kind = GlobalType {
        val_type: ValType::I32,
        mutable: true,
        shared: false,
    };
    module.section(GlobalSection::new().global(kind, &ConstExpr::i32_const(1024)));
    let mut exports = ExportSection::new();
    exports.export("echo", ExportKind::Func, 0);
    exports.export("realloc", ExportKind::Func, 1);
    exports.export("memory", ExportKind::Memory, 0);
    module.section(&exports);
    let word = MemArg {
        offset: 0,
        align: 2,
        memory_index: 0,
    };
    let mut code = CodeSection::new();
    let mut echo = Function::new([]);
    for instruction in [
        Instruction::I32Const(0),
        Instruction::LocalGet(0),
        Instruction::I32Store(word),
        Instruction::I32Const(4),
        Instruction::LocalGet(1),
        Instruction::I32Const(64),
        Instruction::I32Mul,
        Instruction::I32Store(word),
        Instruction::I32Const(0),
        Instruction::End,
    ] {
        echo.instruction(&instruction);
    }
    code.function(&echo);
    // An allocation lies after the previous ones, and is aligned to 8.
    let mut realloc = Function::new([]);
    for instruction in [
        Instruction::GlobalGet(0),
        Instruction::GlobalGet(0),
        Instruction::LocalGet(3),
        Instruction::I32Const(7),
        Instruction::I32Add,
        Instruction::I32Const(-8),
        Instruction::I32And,
        Instruction::I32Add,
        Instruction::GlobalSet(0),
        Instruction::End,
    ] {
        realloc.instruction(&instruction);
    }
    code.function(&realloc);
    module.section(&code);
    module
}

/// A component that exports `echo: func(events: list<event>) -> list<u8>`.
fn component() -> Vec<u8> {
    let mut builder = ComponentBuilder::default();
    let module = builder.core_module(None, &module());
    let instance = builder.core_instantiate(None, module, []);
    let echo = builder.core_alias_export(None, instance, "echo", ExportKind::Func);
    let realloc = builder.core_alias_export(None, instance, "realloc", ExportKind::Func);
    let memory = builder.core_alias_export(None, instance, "memory", ExportKind::Memory);
    let (long, short) = (PrimitiveValType::U64, PrimitiveValType::U32);
    let (record, encoder) = builder.type_defined(None);
    encoder.record([
        ("packet", long),
        ("skb", long),
        ("timestamp", long),
        ("entry-timestamp", long),
        ("function", short),
        ("cpu", short),
        ("kind", short),
        ("thread", short),
        ("payload-offset", short),
        ("payload-len", short),
        ("spare", long),
    ]);
    let event = builder.export("event", ComponentExportKind::Type, record, None);
    let (events, encoder) = builder.type_defined(None);
    encoder.list(ComponentValType::Type(event));
    let (bytes, encoder) = builder.type_defined(None);
    encoder.list(PrimitiveValType::U8);
    let (function, mut encoder) = builder.type_function(None);
    encoder
        .async_(false)
        .params([("events", ComponentValType::Type(events))])
        .result(Some(ComponentValType::Type(bytes)));
    let options = [CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)];
    let lifted = builder.lift_func(None, echo, function, options);
    builder.export("echo", ComponentExportKind::Func, lifted, None);
    builder.finish()
}

fn start(engine: &Engine, component: &Component) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let instance = Linker::new(engine).instantiate(&mut store, component);
    (store, instance.expect("it imports nothing"))
}

/// Returns a plugin's memory after a call with these events.
fn memory<T>(engine: &Engine, component: &Component, events: &[T]) -> Vec<u8>
where
    T: Lower,
{
    let (mut store, instance) = start(engine, component);
    let echo = instance.get_typed_func::<(&[T],), (Vec<u8>,)>(&mut store, "echo");
    let (bytes,) = echo
        .expect("the record has this type")
        .call(&mut store, (events,))
        .expect("it returns");
    bytes
}

#[test]
fn one_copy_of_events_equals_storing_each_field() {
    let engine = Engine::default();
    let component = Component::new(&engine, component()).expect("it is valid");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for count in [0, 1, 2, 3, 255, 256, 4096] {
        let events: Vec<Event> = (0..count)
            .map(|_| Event {
                packet: next(),
                skb: next(),
                timestamp: next(),
                entry_timestamp: next(),
                function: next() as u32,
                cpu: next() as u32,
                kind: EventKind([0, 1, 2, 77][next() as usize % 4]),
                thread: next() as u32,
                payload_offset: next() as u32,
                payload_len: next() as u32,
                spare: next(),
            })
            .collect();
        let derived: Vec<DerivedEvent> = events.iter().map(DerivedEvent::from).collect();
        let copied = memory(&engine, &component, records(&events));
        assert_eq!(copied.len(), 64 * count);
        assert!(copied == memory(&engine, &component, &derived), "{count} events");
        assert!(copied == bytes(&events), "{count} events as bytes");
    }
}
