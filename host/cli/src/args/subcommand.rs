//! The subcommands, as clap knows them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;
use ipft_plugin_host::package::Language;

use super::drops::DropsArgs;
use super::plugins::PluginArgs;
use super::replay::ReplayArgs;
use super::trace::TraceArgs;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Check what works on this machine, with fixes
    ///
    /// Looks at the kernel, BTF, tracefs, capabilities and lockdown, and tries each
    /// backend for real. Exits with 1 where none works.
    Doctor,
    /// Show the packets that the kernel drops, and why
    ///
    /// Sees every packet, marked or not, at the one place that all drops pass;
    /// other packets cost nothing. Each reason is explained once, and a table
    /// counts them. For example:
    ///   ipft drops
    ///   ipft drops 'host 10.0.0.2 and tcp port 80' --netns web
    #[command(verbatim_doc_comment)]
    Drops(Box<DropsArgs>),
    /// Show packets, flows, drops and functions on the terminal, as they change
    ///
    /// Takes the options of a trace. Without any that selects packets, it shows
    /// all. Enter opens the journey of a packet, ? shows the keys. For example:
    ///   ipft top
    ///   ipft top 'host 10.0.0.2 and tcp port 80' --record trace.ipft
    /// The key w records to the file of --record.
    #[command(verbatim_doc_comment)]
    Top(Box<TraceArgs>),
    /// Replay a recording; takes the output options of a trace
    ///
    /// Needs no rights and no kernel. Several files of one trace are put in order.
    Replay(Box<ReplayArgs>),
    /// Compare two recordings: what differs between a good day and a bad one
    ///
    /// How packets ended, what decided about them, which functions they entered
    /// and how often, and how long that took. Needs no rights and no kernel. For
    /// example, with the same filter on both days:
    ///   ipft 'tcp port 80' --record good.ipft
    ///   ipft 'tcp port 80' --record bad.ipft
    ///   ipft diff good.ipft bad.ipft
    #[command(verbatim_doc_comment)]
    Diff {
        /// What --record wrote on the good day; '-' is stdin
        first: PathBuf,
        /// What --record wrote on the bad day
        second: PathBuf,
        /// How many lines of each kind are shown; 0 shows all
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: u32,
        /// Keep all privileges when the files are open
        ///
        /// By default, ipft can then neither run programs nor open files or sockets.
        #[arg(long)]
        keep_privileges: bool,
    },
    /// Run a script in Lua that traces on its own
    ///
    /// The script makes maps, and attaches functions of its own to the kernel, which
    /// ipft compiles without clang. What of BCC's module `bpf` is there is in the page
    /// "Scripts that trace" of the book. For example:
    ///   ipft lua count.lua
    ///   ipft lua -v count.lua eth0
    /// The options of ipft stand before the script, those of the script behind it.
    #[command(verbatim_doc_comment, override_usage = "ipft lua [OPTIONS] SCRIPT [ARGS...]")]
    Lua {
        /// Show the stack of an error, and the log of the kernel's verifier
        #[arg(short, long)]
        verbose: bool,
        /// The script, and what it finds in `arg`
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_names = ["SCRIPT", "ARGS"]
        )]
        words: Vec<OsString>,
    },
    /// Find, examine, try and write plugins
    ///
    /// A plugin draws a trace in its own way: ipft -m 0xdeadbeef --plugin flame
    Plugin {
        /// What to do
        #[command(subcommand)]
        command: PluginSubcommand,
    },
    /// Print a shell's completion script
    ///
    /// For example, for bash:
    ///   ipft completions bash > /etc/bash_completion.d/ipft
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    ///
    /// For example:
    ///   ipft man > /usr/local/share/man/man1/ipft.1
    #[command(verbatim_doc_comment)]
    Man,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum PluginSubcommand {
    /// List the plugins that are installed
    List,
    /// Say what a plugin is and what it would have to be granted; runs nothing of it
    Inspect {
        /// The plugin: a file, or the name of one that is installed
        file: PathBuf,
        /// As JSON, for a program to read
        #[arg(long)]
        json: bool,
    },
    /// Run a plugin on built-in traces, and say what its author should know
    Check {
        /// The plugin: a file, or the name of one that is installed
        file: PathBuf,
        /// Keep all privileges while the plugin runs
        ///
        /// By default, ipft can then neither run programs nor open files or sockets.
        #[arg(long)]
        keep_privileges: bool,
        #[command(flatten)]
        args: Box<PluginArgs>,
    },
    /// Begin a new plugin: a folder that builds as it is
    New {
        /// The folder; it must be empty, or not there
        dir: PathBuf,
        /// What the plugin is written in
        #[arg(long, value_name = "LANGUAGE")]
        lang: LanguageArg,
        /// What the plugin is called [default: as the folder]
        #[arg(long)]
        name: Option<String>,
    },
    /// Put a description into a component, which makes it a plugin
    Pack {
        /// The component
        file: PathBuf,
        /// Name, version, options and so on, as JSON
        #[arg(long, value_name = "FILE")]
        description: PathBuf,
        /// Where to write the plugin [default: the component itself]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run a plugin on a trace that --record or -o jsonl wrote
    Run {
        /// The plugin: a file, or the name of one that is installed
        file: PathBuf,
        /// The trace
        recording: PathBuf,
        /// Keep all privileges while the plugin runs
        ///
        /// By default, ipft can then neither run programs nor open files or sockets.
        #[arg(long)]
        keep_privileges: bool,
        #[command(flatten)]
        args: Box<PluginArgs>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LanguageArg {
    /// Rust, with the crate ipft-plugin
    Rust,
    /// C, with clang and wasi-libc
    C,
    /// JavaScript, with QuickJS
    Js,
    /// Python, with componentize-py
    Python,
}

impl From<LanguageArg> for Language {
    fn from(lang: LanguageArg) -> Self {
        match lang {
            LanguageArg::Rust => Language::Rust,
            LanguageArg::C => Language::C,
            LanguageArg::Js => Language::JavaScript,
            LanguageArg::Python => Language::Python,
        }
    }
}
