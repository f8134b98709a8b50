//! The modules of the host's crates and their allowed imports: the table described in `docs/src/architecture.md`, and a
//! check of the sources against it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A module and its allowed imports, as `crate/module`; a longer path is a part of a module. Imports are listed above
/// their users, so there are no cycles.
const TABLE: &[(&str, &[&str])] = &[
    // The path of an event.
    ("core/advice", &[]),
    ("core/seeded", &[]),
    ("core/signals", &[]),
    ("core/text", &[]),
    ("core/event", &["core/seeded"]),
    ("core/message", &["core/text"]),
    ("core/kernel", &["core/text"]),
    ("core/privileges", &[]),
    ("core/field", &["core/event"]),
    ("core/expression", &["core/event", "core/kernel"]),
    ("core/filter", &[]),
    ("core/script", &[]),
    ("core/probe", &["core/event", "core/filter", "core/kernel"]),
    (
        "core/extension",
        &["core/event", "core/expression", "core/kernel", "core/text"],
    ),
    ("core/recording", &["core/event", "core/seeded", "core/text"]),
    ("core/stream", &["core/event", "core/recording", "core/text"]),
    ("core/limit", &["core/event", "core/seeded"]),
    (
        "core/selection",
        &["core/event", "core/recording/layout", "core/seeded"],
    ),
    ("core/output", &["core/recording/layout", "core/signals"]),
    (
        "core/sink",
        &["core/advice", "core/event", "core/output", "core/seeded", "core/text"],
    ),
    (
        "core/sink/record",
        &["core/event", "core/output", "core/recording", "core/sink"],
    ),
    (
        "core/run",
        &[
            "core/event",
            "core/extension",
            "core/kernel",
            "core/limit",
            "core/message",
            "core/probe",
            "core/selection",
            "core/signals",
            "core/seeded",
            "core/sink",
            "core/stream",
            "core/text",
        ],
    ),
    // Plugins.
    ("plugin/package", &["core/output", "core/text"]),
    ("plugin/host/error", &["core/text", "plugin/package"]),
    ("plugin/host/facts", &["core/advice", "core/event"]),
    ("plugin/host/queue", &["core/event"]),
    ("plugin/host/stream", &["plugin/host/error"]),
    (
        "plugin/host/worker",
        &["core/event", "core/sink", "plugin/host/error", "plugin/host/queue"],
    ),
    // Their names without the file that they are in.
    ("plugin/host/Level", &[]),
    ("plugin/host/Log", &[]),
    ("plugin/host/PluginSink", &[]),
    (
        "plugin/host/native",
        &[
            "core/event",
            "core/sink",
            "core/text",
            "plugin/package",
            "plugin/host/error",
            "plugin/host/facts",
            "plugin/host/stream",
            "plugin/host/worker",
            "plugin/host/Level",
            "plugin/host/Log",
            "plugin/host/PluginSink",
        ],
    ),
    (
        "plugin/host/wasm",
        &[
            "core/event",
            "core/sink",
            "core/text",
            "plugin/package",
            "plugin/host/error",
            "plugin/host/facts",
            "plugin/host/stream",
            "plugin/host/worker",
            "plugin/host/Level",
            "plugin/host/Log",
            "plugin/host/PluginSink",
        ],
    ),
    ("plugin/host", &[]),
    ("plugin/decoder", &["core/event", "core/extension", "plugin/host"]),
    // The program.
    (
        "cli/args",
        &[
            "core/event",
            "core/expression",
            "core/field",
            "core/filter",
            "core/limit",
            "core/selection",
            "plugin/package",
        ],
    ),
    ("cli/command", &["core", "plugin", "cli/args"]),
    ("cli/program", &["core", "plugin", "cli/args", "cli/command"]),
    ("cli/main", &["core/message", "cli/program"]),
];

/// The names of the crates in the sources.
const CRATES: [(&str, &str); 3] = [("core", "ipft_core"), ("plugin", "ipft_plugin_host"), ("cli", "ipft")];

/// Fails if a source of this crate (`core`, `plugin` or `cli`) has an import that the table does not list.
pub fn check(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../host")
        .join(name)
        .join("src");
    let mut wrong = String::new();
    let mut files = Vec::new();
    list(&root, &mut files);
    assert!(!files.is_empty(), "{} has no sources", root.display());
    for file in files {
        let path = file.strip_prefix(&root).expect("it is in there").with_extension("");
        let mut module: Vec<&str> = path.iter().map(|part| part.to_str().expect("ASCII")).collect();
        if module.last() == Some(&"mod") {
            module.pop();
        }
        if module == ["lib"] || module.iter().any(|part| TESTS.contains(part)) {
            continue;
        }
        let source = fs::read_to_string(&file).expect("it can be read");
        let module: Vec<&str> = [name].into_iter().chain(module).collect();
        let Some(allowed) = allowed(&module) else {
            let _ = writeln!(wrong, "{} is of no module in the table", module.join("/"));
            continue;
        };
        for import in imports(&source, &module) {
            if !allowed.iter().any(|allowed| is_in(&import, allowed)) {
                let _ = writeln!(wrong, "{} imports {import}", module.join("/"));
            }
        }
    }
    assert!(wrong.is_empty(), "see the table in {}:\n{wrong}", file!());
}

/// Modules of tests, which may import everything.
const TESTS: [&str; 3] = ["tests", "testing", "test_support"];

/// Returns the imports that the table allows a module: itself, those listed for it and for the modules that it is part
/// of.
fn allowed(module: &[&str]) -> Option<Vec<String>> {
    let path = module.join("/");
    let entry = TABLE
        .iter()
        .filter(|(name, _)| is_in(&path, name))
        .max_by_key(|(name, _)| name.len())?;
    Some(entry.1.iter().chain([&entry.0]).map(ToString::to_string).collect())
}

/// Returns whether the path is that module or in it.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns all paths that begin with a crate of the host or with `super`, as `crate/module/part`.
fn imports(source: &str, module: &[&str]) -> Vec<String> {
    const UP: &str = "super::";
    let code = without_tests_and_comments(source);
    let mut imports = Vec::new();
    let mut begin = |prefix: &str, base: &str| {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | ':' | '$')) {
                let mut path = &code[at + prefix.len()..];
                let mut base = base;
                while prefix == UP
                    && let Some(rest) = path.strip_prefix(UP)
                {
                    path = rest;
                    base = base.rsplit_once('/').map_or(base, |(parent, _)| parent);
                }
                expand(path, base, &mut imports);
            }
        }
    };
    begin("crate::", module[0]);
    for (krate, name) in CRATES {
        begin(&format!("{name}::"), krate);
    }
    begin(UP, &module[..module.len() - 1].join("/"));
    imports
}

/// Expands a path of a source: `a::b`, or `{a, b::{c, d}}`.
fn expand(path: &str, base: &str, into: &mut Vec<String>) {
    if let Some(group) = path.strip_prefix('{') {
        let mut depth = 0;
        let mut start = 0;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    let item = group[start..at].trim();
                    if !item.is_empty() {
                        expand(item, base, into);
                    }
                    start = at + 1;
                    if character == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let end = path
        .find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    match rest.strip_prefix("::") {
        // Four parts are enough.
        Some(rest) if base.matches('/').count() < 2 => expand(rest, &format!("{base}/{name}"), into),
        _ if name == "self" => into.push(base.to_owned()),
        _ => into.push(format!("{base}/{name}")),
    }
}

/// Returns the lines that are not comments, up to the tests that end a file.
fn without_tests_and_comments(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let ends = line == "#[cfg(test)]"
            && lines
                .peek()
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if ends {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            list(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_of_the_table_go_one_way() {
        for (index, (module, imports)) in TABLE.iter().enumerate() {
            for import in *imports {
                let known = TABLE[..index]
                    .iter()
                    .any(|(above, _)| is_in(above, import) || is_in(import, above));
                assert!(known, "{module} imports {import}, which does not stand above it");
            }
        }
    }

    #[test]
    fn imports_are_found_however_written() {
        let source = "// use crate::no;\nuse crate::a::b;\nuse crate::{c, d::{self, e, f}};\nuse super::g;\nuse super::super::h;\n\
                      fn x() { ipft_core::sink::y(); $crate::z!() }\n#[cfg(test)]\nmod tests {\nuse crate::no;\n}\n";
        assert_eq!(
            imports(source, &["core", "probe", "plan"]),
            [
                "core/a/b",
                "core/c",
                "core/d",
                "core/d/e",
                "core/d/f",
                "core/sink/y",
                "core/probe/g",
                "core/h"
            ]
        );
    }

    #[test]
    fn import_that_is_not_listed_is_found() {
        let allowed = allowed(&["core", "kernel", "list"]).unwrap();
        let is_allowed = |import: &str| allowed.iter().any(|allowed| is_in(import, allowed));
        assert!(is_allowed("core/kernel/btf") && is_allowed("core/text/visible"));
        assert!(!is_allowed("core/probe/Backend") && !is_allowed("core/textual"));
    }
}
