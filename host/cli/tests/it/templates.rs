//! Follows the guide for authors of plugins exactly, for each language: its commands build a plugin, whose output is
//! that of the page. A comment in the page explains the convention.
//!
//! The tools come from the package managers of the languages; downloads are kept in `target/plugin-tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipft_e2e::book::blocks;
use ipft_plugin_host::package::inspect::inspect;

/// The page's `trace.jsonl`.
const TRACE: &str = include_str!("../../../../tests/golden/graph.jsonl");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/src/plugin-authors.md")).unwrap()
}

/// The steps for one language: commands, and their output if the page shows it.
fn steps(page: &str, language: &str) -> Vec<(String, Option<String>)> {
    let mut steps: Vec<(String, Option<String>)> = Vec::new();
    for block in blocks(page).into_iter().filter(|block| block.has("template")) {
        if block.has("text") {
            steps.last_mut().expect("a command before what it prints").1 = Some(block.text);
        } else if block.has(language) || block.has("all") {
            steps.push((block.text, None));
        }
    }
    steps
}

/// Creates an empty folder for one language.
fn folder(language: &str) -> PathBuf {
    let folder = tools().join("followed").join(language);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Returns the folder of downloads and builds that is kept between runs.
fn tools() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("plugin-tools")
}

/// Runs all steps in one shell. The output of each goes to files beside the folder.
fn follow(language: &str, folder: &Path, steps: &[(String, Option<String>)]) -> String {
    let ipft = Path::new(env!("CARGO_BIN_EXE_ipft")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut script = String::from("set -eu\n");
    for (number, (commands, _)) in steps.iter().enumerate() {
        if commands.contains("trace.jsonl") && !script.contains("TRACE\"") {
            script += "cp \"$TRACE\" trace.jsonl\n";
        }
        // A group, not a subshell: `cd` applies to the following steps.
        script += &format!("{{\n{commands}}} > \"$PRINTED/{number}\"\n");
    }
    let printed = folder.join("printed");
    fs::create_dir_all(&printed).unwrap();
    fs::write(folder.join("recorded.jsonl"), TRACE).unwrap();
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", ipft.display()))
        .env("TRACE", folder.join("recorded.jsonl"))
        .env("PRINTED", &printed)
        .env("XDG_DATA_HOME", folder.join("data"))
        // Only what an author's own shell would have, and what keeps the downloads: the page's commands say where results
        // are, and cargo puts the rest where the next run finds it.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .env("CARGO_BUILD_BUILD_DIR", tools().join("cargo"))
        .env("npm_config_cache", tools().join("npm"))
        .env("npm_config_prefer_offline", "true")
        .env("npm_config_audit", "false")
        .env("npm_config_update_notifier", "false")
        .env("PIP_CACHE_DIR", tools().join("pip"))
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{language}: the commands of the page fail ({}); `cargo xtask setup` installs what they need\n{}\n{}",
        output.status,
        (0..steps.len())
            .filter_map(|number| fs::read_to_string(printed.join(number.to_string())).ok())
            .collect::<String>(),
        String::from_utf8_lossy(&output.stderr)
    );
    for (number, (commands, shown)) in steps.iter().enumerate() {
        let printed = fs::read_to_string(printed.join(number.to_string())).unwrap();
        if let Some(shown) = shown {
            assert_eq!(printed, *shown, "{language}: {commands}");
        }
    }
    let last = steps.len() - 1;
    fs::read_to_string(printed.join(last.to_string())).unwrap()
}

fn the_guide_leads_to_a_plugin(language: &str, interface: &str) {
    let folder = folder(language);
    let steps = steps(&page(), language);
    assert!(steps.len() >= 4 && steps.iter().any(|(_, shown)| shown.is_some()));
    let last = follow(language, &folder, &steps);
    // Once installed, it is listed and found by its name.
    assert!(last.contains("how often packets entered each function"), "{last}");
    assert!(
        last.ends_with(
            "  nf_hook_slow\n           1  a_function_with_a_name_that_is_wider_than_the_column_of_its_call\n"
        ),
        "{last}"
    );

    let inspection = inspect(&fs::read(folder.join("entries/entries.wasm")).unwrap()).unwrap();
    assert_eq!(inspection.check().unwrap().name, "entries");
    let roles = inspection.roles();
    assert_eq!(
        (roles.sink, roles.raw_sink),
        (interface == "sink", interface == "raw-sink")
    );
}

#[test]
fn the_guide_leads_to_a_plugin_in_rust() {
    the_guide_leads_to_a_plugin("rust", "sink");
}

#[test]
fn the_guide_leads_to_a_plugin_in_c() {
    the_guide_leads_to_a_plugin("c", "sink");
}

#[test]
fn the_guide_leads_to_a_plugin_in_javascript() {
    the_guide_leads_to_a_plugin("js", "raw-sink");
}

#[test]
fn the_guide_leads_to_a_plugin_in_python() {
    the_guide_leads_to_a_plugin("python", "raw-sink");
}

#[test]
fn a_page_gives_the_common_and_the_languages_steps() {
    let page = "```sh,template,c\nmake\n```\n```sh\nno\n```\n```sh,template,js\nnpm\n```\n```sh,template,all\nrun\n```\n\
                ```text,template\nprinted\n```\n";
    let found = steps(page, "c");
    assert_eq!(
        found,
        [("make\n".into(), None), ("run\n".into(), Some("printed\n".into()))]
    );
}
