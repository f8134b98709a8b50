//! `ipft plugin inspect`: describes a file without running it.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::command::plugins;
use ipft_core::text::{visible, visible_json};
use ipft_plugin_host::package::inspect::{self, Exports, Inspection};
use ipft_plugin_host::package::{Description, Folders, OptionType};

/// Prints the description of a plugin. One that could not be run is reported but is not a failure.
pub(super) fn inspect(folders: &Folders, path: &Path, as_json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let (path, bytes) = plugins::read(folders, path)?;
    let inspection = inspect::inspect(&bytes).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    if as_json {
        let json = serde_json::to_string_pretty(&describe(&path, &inspection))?;
        writeln!(out, "{}", visible_json(&json))?;
    } else {
        print(&inspection, out)?;
    }
    Ok(out.flush()?)
}

/// Formats a line for a list.
pub(super) fn one_line(path: &Path) -> String {
    let inspection = match inspect::read(path) {
        Ok(bytes) => inspect::inspect(&bytes),
        Err(error) => return format!("(cannot be read: {error})"),
    };
    match inspection {
        Err(error) => format!("(cannot be used: {error})"),
        Ok(inspection) => match inspection.check() {
            Err(refusal) => format!("(cannot be used: {refusal})"),
            Ok(description) => format!("{}  {}", description.version, description.about),
        },
    }
}

/// Returns its roles in the order in which they apply.
fn roles(exports: Exports) -> Vec<&'static str> {
    let roles = [
        (exports.program, "program: brings kernel code"),
        (exports.decoder, "decoder: makes fields of payloads"),
        (exports.sink, "sink: draws"),
        (exports.raw_sink, "raw-sink: draws, from bytes"),
    ];
    roles
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, role)| role)
        .collect()
}

fn print(inspection: &Inspection, out: &mut impl Write) -> std::io::Result<()> {
    match &inspection.description {
        Some(Ok(description)) => print_description(description, out)?,
        Some(Err(error)) => writeln!(out, "(its description is wrong: {})", visible(&error.to_string()))?,
        None => writeln!(out, "(it has no description; 'ipft plugin pack' adds one)")?,
    }
    writeln!(out)?;
    match inspection.check() {
        Ok(_) => writeln!(out, "This ipft can run it.")?,
        Err(refusal) => writeln!(out, "This ipft cannot run it: {refusal}.")?,
    }
    writeln!(out, "Contract: {}", inspection.contract_versions().join(", "))?;
    for role in roles(inspection.roles()) {
        writeln!(out, "  {role}")?;
    }
    writeln!(out, "Size: {} KiB", inspection.size.div_ceil(1024))?;
    for (what, name, version) in &inspection.producers {
        writeln!(out, "  {}: {} {}", visible(what), visible(name), visible(version))?;
    }
    let needs = inspection.needs();
    if needs.is_empty() {
        writeln!(out, "It cannot ask for anything but to write to its own stream.")?;
    } else {
        writeln!(out, "It may ask for:")?;
        for need in needs {
            writeln!(out, "  {}", need.description())?;
        }
    }
    for (what, interfaces) in [("Exports", &inspection.exports), ("Imports", &inspection.imports)] {
        writeln!(out, "{what}:")?;
        for interface in interfaces {
            writeln!(out, "  {}", visible(&interface.name))?;
        }
    }
    Ok(())
}

fn print_description(description: &Description, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} {} ({})\n{}",
        description.name, description.version, description.license, description.about
    )?;
    if description.options.is_empty() {
        return writeln!(out, "\nIt has no options.");
    }
    writeln!(out, "\nOptions (--plugin-opt KEY=VALUE):")?;
    for option in &description.options {
        let values = match option.kind {
            OptionType::Choice => option.values.join("|"),
            OptionType::String => "TEXT".to_owned(),
            OptionType::Integer | OptionType::Number => "N".to_owned(),
            OptionType::Bool => "true|false".to_owned(),
        };
        writeln!(
            out,
            "  {}={}\n      {} [default: {}]",
            option.name,
            visible(&values),
            option.help,
            visible(&option.default)
        )?;
    }
    Ok(())
}

fn describe(path: &Path, inspection: &Inspection) -> serde_json::Value {
    let interfaces = |list: &[inspect::Interface]| -> Vec<_> {
        let each = |interface: &inspect::Interface| json!({ "name": interface.name, "functions": interface.functions });
        list.iter().map(each).collect()
    };
    let roles = inspection.roles();
    let (description, wrong) = match &inspection.description {
        Some(Ok(description)) => (Some(description), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    json!({
        "path": path.display().to_string(),
        "size": inspection.size,
        "description": description,
        "description_error": wrong,
        "runs_here": inspection.check().is_ok(),
        "refusal": inspection.check().err().map(|refusal| refusal.to_string()),
        "contract": inspection.contract_versions(),
        "program": roles.program,
        "decoder": roles.decoder,
        "sink": roles.sink,
        "raw_sink": roles.raw_sink,
        "exports": interfaces(&inspection.exports),
        "imports": interfaces(&inspection.imports),
        "needs": inspection.needs().iter().map(|need| need.description()).collect::<Vec<_>>(),
        "producers": inspection.producers,
    })
}
