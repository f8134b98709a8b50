//! Options of plugins, and which plugin they belong to.
//!
//! An option names its plugin (`flame:width=800`), or belongs to the preceding `--plugin`. So the order of words
//! matters here, unlike elsewhere on the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::{PluginFile, UsageError, number};
use ipft_plugin_host::package::{DirGrant, Grants};

const PLUGINS: &str = "Plugins";

/// What a plugin may do and how, as both `ipft -m` and `ipft plugin run` take it.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PluginArgs {
    /// Set a plugin option
    ///
    /// 'ipft plugin inspect' lists them. With several plugins, options follow the --plugin
    /// that they are for, or name it: --plugin-opt flame:width=800
    #[arg(long, value_name = "KEY=VALUE", help_heading = PLUGINS)]
    plugin_opt: Vec<String>,

    /// Write the plugin's output to this file instead of stdout
    ///
    /// The file appears, or is replaced, when the plugin has finished.
    #[arg(long, value_name = "FILE", help_heading = PLUGINS)]
    plugin_out: Vec<String>,

    /// Grant a plugin access to a folder, as GUEST
    #[arg(long, value_name = "HOST::GUEST[:ro]", help_heading = PLUGINS)]
    plugin_dir: Vec<String>,

    /// Grant a plugin an environment variable
    #[arg(long, value_name = "KEY", help_heading = PLUGINS)]
    plugin_env: Vec<String>,

    /// Memory limit of a plugin [default: 512M]
    #[arg(long, value_name = "SIZE", help_heading = PLUGINS)]
    plugin_memory: Vec<String>,

    /// Time limit of one plugin call, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS", help_heading = PLUGINS)]
    plugin_timeout: Vec<String>,

    /// Limit of a plugin's output [default: 1G]
    #[arg(long, value_name = "SIZE", help_heading = PLUGINS)]
    plugin_out_max: Vec<String>,
}

/// clap's names of the options above.
const OPTIONS: [(&str, Set); 7] = [
    ("plugin_opt", set_option),
    ("plugin_out", set_out),
    ("plugin_dir", add_dir),
    ("plugin_env", add_env),
    ("plugin_memory", set_memory),
    ("plugin_timeout", set_timeout),
    ("plugin_out_max", set_out_max),
];

type Set = fn(&mut Grants, &str) -> Result<(), String>;

/// Returns the plugins of a command line, with their grants.
pub(super) fn with_grants(matches: &ArgMatches, plugins: &[PathBuf]) -> Result<Vec<PluginFile>, UsageError> {
    let places = matches.indices_of("plugin").into_iter().flatten();
    let places: Vec<usize> = places.collect();
    let mut files: Vec<PluginFile> = plugins.iter().map(|path| PluginFile::new(path)).collect();
    for (id, set) in OPTIONS {
        for (place, text) in given(matches, id) {
            let flag = format!("--{}", id.replace('_', "-"));
            let wrong = |reason: String| UsageError::new(format!("invalid value '{text}' for '{flag}': {reason}"));
            let (index, value) = meant(&files, &places, place, text).map_err(wrong)?;
            set(&mut files[index].grants, value).map_err(wrong)?;
        }
    }
    Ok(files)
}

/// Returns the grants of one plugin that is not named by an option.
pub(super) fn for_one(matches: &ArgMatches, path: &Path) -> Result<PluginFile, UsageError> {
    let mut file = PluginFile::new(path);
    for (id, set) in OPTIONS {
        for (_, text) in given(matches, id) {
            let value = text.strip_prefix(&format!("{}:", file.name)).unwrap_or(text);
            set(&mut file.grants, value).map_err(|reason| {
                UsageError::new(format!(
                    "invalid value '{text}' for '--{}': {reason}",
                    id.replace('_', "-")
                ))
            })?;
        }
    }
    Ok(file)
}

/// Returns the values of an option, each with its position on the command line.
fn given<'a>(matches: &'a ArgMatches, id: &str) -> Vec<(usize, &'a str)> {
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return Vec::new();
    }
    let places = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<String>(id).into_iter().flatten();
    places.zip(values.map(String::as_str)).collect()
}

/// Returns the index of a value's plugin, and the value without the plugin's name.
fn meant<'t>(files: &[PluginFile], places: &[usize], place: usize, text: &'t str) -> Result<(usize, &'t str), String> {
    if let Some((name, value)) = text.split_once(':') {
        let mut named = files.iter().enumerate().filter(|(_, file)| file.name == name);
        if let Some((index, _)) = named.next() {
            if named.next().is_some() {
                return Err(format!(
                    "there are several plugins '{name}'; put the option behind the --plugin it is for"
                ));
            }
            return Ok((index, value));
        }
    }
    match places.iter().rposition(|plugin| *plugin < place) {
        Some(index) => Ok((index, text)),
        None if files.len() == 1 => Ok((0, text)),
        None if files.is_empty() => Err("there is no --plugin that it could be for".to_owned()),
        None => Err(format!(
            "which plugin is it for? Put it behind its --plugin, or write {}:{text}",
            files[0].name
        )),
    }
}

fn set_option(grants: &mut Grants, text: &str) -> Result<(), String> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    if key.contains(':') {
        return Err("no plugin of that name is loaded, and no option has a colon in its name".to_owned());
    }
    grants.options.push((key.to_owned(), value.to_owned()));
    Ok(())
}

fn set_out(grants: &mut Grants, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it names no file".to_owned());
    }
    grants.out = Some(PathBuf::from(text));
    Ok(())
}

fn add_dir(grants: &mut Grants, text: &str) -> Result<(), String> {
    let form = "not of the form HOST::GUEST or HOST::GUEST:ro";
    let (host, guest) = text.split_once("::").ok_or(form)?;
    let (guest, read_only) = match guest.strip_suffix(":ro") {
        Some(guest) => (guest, true),
        None => (guest, false),
    };
    if host.is_empty() || guest.is_empty() || guest.contains(':') {
        return Err(form.to_owned());
    }
    grants.dirs.push(DirGrant {
        host: PathBuf::from(host),
        guest: guest.to_owned(),
        read_only,
    });
    Ok(())
}

fn add_env(grants: &mut Grants, text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err("not the name of an environment variable".to_owned());
    }
    grants.env.push(text.to_owned());
    Ok(())
}

fn set_memory(grants: &mut Grants, text: &str) -> Result<(), String> {
    // A component cannot have more: its addresses have 32 bits.
    let bytes = size(text, 64 << 10, 4 << 30)?;
    grants.limits.memory = usize::try_from(bytes).map_err(|error| error.to_string())?;
    Ok(())
}

fn set_out_max(grants: &mut Grants, text: &str) -> Result<(), String> {
    grants.limits.output = size(text, 1, 1 << 50)?;
    Ok(())
}

fn size(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match number::parse_size(text) {
        Some(size) if (least..=most).contains(&size) => Ok(size),
        Some(_) => Err(format!("out of range; accepted: {least} to {most}")),
        None => Err("not a size; accepted: a number of bytes, with K, M or G if you like".to_owned()),
    }
}

fn set_timeout(grants: &mut Grants, text: &str) -> Result<(), String> {
    let seconds: f64 = text
        .parse()
        .ok()
        .filter(|seconds| (0.001..=86400.0).contains(seconds))
        .ok_or("not a time; accepted: seconds from 0.001 to 86400")?;
    grants.limits.timeout = Duration::from_secs_f64(seconds);
    Ok(())
}
