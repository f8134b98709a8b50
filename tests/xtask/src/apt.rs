//! Debian packages of other suites than the machine's own, without touching the machine's apt state.
//!
//! A [`Repository`] keeps its source list and all of its state in its own folder. It uses the mirror of the machine's
//! own sources: the administrator chose it, for reach or for policy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::progress::{Step, output_of};

/// Overrides the mirror, for machines whose own sources are not Debian's (Ubuntu).
const MIRROR_VARIABLE: &str = "IPFT_DEBIAN_MIRROR";

/// Debian's signing keys, from the package debian-archive-keyring.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Returns the line of a source list for a suite of Debian.
pub fn source_line(suite: &str) -> Result<String> {
    let keyring = KEYRINGS
        .into_iter()
        .find(|path| Path::new(path).exists())
        .with_context(|| {
            format!(
                "find Debian's keys: neither {} nor {} exists (package debian-archive-keyring)",
                KEYRINGS[0], KEYRINGS[1]
            )
        })?;
    Ok(format!(
        "deb [arch=amd64 signed-by={keyring}] {} {suite} main",
        mirror()?
    ))
}

/// Returns the address of this machine's Debian mirror.
pub fn mirror() -> Result<String> {
    if let Some(chosen) = std::env::var(MIRROR_VARIABLE).ok().filter(|value| !value.is_empty()) {
        return Ok(chosen);
    }
    find_mirror(Path::new("/")).with_context(|| {
        format!(
            "no Debian mirror in /etc/apt/sources.list and /etc/apt/sources.list.d. The guests are Debian: set \
             {MIRROR_VARIABLE} to the address of a mirror, the part before /dists"
        )
    })
}

/// A package source, in either form of source list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    address: String,
    suites: Vec<String>,
    debian_keys: bool,
}

fn find_mirror(root: &Path) -> Option<String> {
    let folder = root.join("etc/apt/sources.list.d");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.insert(0, root.join("etc/apt/sources.list"));
    let mut sources = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_lines(&text)),
            Some("sources") => sources.extend(parse_stanzas(&text)),
            _ => {}
        }
    }
    let release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let field = |name: &str| {
        let value = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    if field("ID") != "debian" {
        return None;
    }
    // A third party may have a suite of the same name, so sources with Debian's keys, and then those with Debian's
    // usual path, come first.
    let names = [
        field("VERSION_CODENAME"),
        "stable".into(),
        "testing".into(),
        "unstable".into(),
        "sid".into(),
    ];
    sources.retain(|source| source.suites.iter().any(|suite| names.contains(suite)));
    sources.sort_by_key(|source| {
        (
            !source.debian_keys,
            !source.address.trim_end_matches('/').ends_with("/debian"),
        )
    });
    let address = sources.into_iter().next()?.address;
    // Cloud images name a file that lists mirrors.
    match address.strip_prefix("mirror+file:") {
        None => Some(address),
        Some(list) => {
            let text = fs::read_to_string(root.join(list.trim_start_matches('/'))).ok()?;
            text.lines()
                .find_map(|line| line.split_whitespace().next().filter(|word| !word.starts_with('#')))
                .map(str::to_owned)
        }
    }
}

/// Parses the one-line form: `deb [options] ADDRESS SUITE COMPONENT...`.
fn parse_lines(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
        let rest = rest
            .strip_prefix(|character: char| character.is_whitespace())?
            .trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (address, suite) = (words.next()?, words.next()?);
        words.any(|component| component == "main").then(|| Source {
            address: address.to_owned(),
            suites: vec![suite.to_owned()],
            debian_keys: options.contains("debian-archive-keyring"),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Parses the deb822 form: stanzas of `Field: value`, with indented continuation lines.
fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            let get = |name: &str| {
                fields
                    .iter()
                    .find(|(field, _)| field == name)
                    .map_or("", |(_, value)| value.as_str())
            };
            let has = |name: &str, word: &str| get(name).split_whitespace().any(|value| value == word);
            if has("types", "deb") && has("components", "main") && !has("enabled", "no") {
                sources.extend(get("uris").split_whitespace().map(|address| Source {
                    address: address.to_owned(),
                    suites: get("suites").split_whitespace().map(str::to_owned).collect(),
                    debian_keys: get("signed-by").contains("debian-archive-keyring"),
                }));
            }
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

/// One suite, with apt's state for it in its own folder.
pub struct Repository {
    options: Vec<String>,
    suite: String,
}

impl Repository {
    /// Fetches the lists of a suite into `folder`.
    pub fn open(step: &Step, folder: &Path, suite: &str) -> Result<Repository> {
        let (lists, cache) = (folder.join("lists"), folder.join("cache"));
        for needed in [lists.join("partial"), cache.join("archives/partial")] {
            fs::create_dir_all(&needed).with_context(|| format!("make the folder {}", needed.display()))?;
        }
        let list = folder.join("sources.list");
        fs::write(&list, source_line(suite)? + "\n").with_context(|| format!("write {}", list.display()))?;
        let options = [
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("Dir::State::Lists={}", lists.display()),
            format!("Dir::Cache={}", cache.display()),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
            // Only package lists, no additional indexes (command-not-found, software centres).
            "APT::Update::Post-Invoke-Success=".into(),
            // By default apt downloads as a user who cannot enter a target folder below /root, and warns about it.
            "APT::Sandbox::User=root".into(),
        ];
        let repository = Repository {
            options: options.into(),
            suite: suite.to_owned(),
        };
        let mut update = repository.command("apt-get");
        // By default a suite that cannot be fetched is only a warning.
        update.args(["--error-on=any", "update"]);
        step.run(update)
            .with_context(|| format!("fetch the package lists of Debian's suite {suite}"))?;
        Ok(repository)
    }

    /// Returns the names of packages that match the regular expression.
    pub fn search(&self, expression: &str) -> Result<Vec<String>> {
        let found = output_of(self.command("apt-cache").args(["search", "--names-only", expression]))?;
        Ok(found
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }

    /// Returns the names of a package's direct dependencies.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let listed = output_of(self.command("apt-cache").args(["depends", "--important", package]))?;
        let depends = |line: &str| {
            line.trim_start()
                .trim_start_matches('|')
                .strip_prefix("Depends: ")
                .map(str::to_owned)
        };
        Ok(listed.lines().filter_map(depends).collect())
    }

    /// Downloads packages and unpacks their files into `to`.
    pub fn unpack(&self, step: &Step, packages: &[String], to: &Path) -> Result<()> {
        let archives = to.join("archives");
        fs::create_dir_all(&archives).with_context(|| format!("make the folder {}", archives.display()))?;
        let mut download = self.command("apt-get");
        download.current_dir(&archives).arg("download").args(packages);
        step.run(download)
            .with_context(|| format!("download {} from {}", packages.join(", "), self.suite))?;
        let mut count = 0;
        for entry in fs::read_dir(&archives).with_context(|| format!("read {}", archives.display()))? {
            let archive = entry.with_context(|| format!("read {}", archives.display()))?.path();
            step.detail(&format!("unpacking {}", archive.display()));
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&archive).arg(to);
            step.run(unpack)?;
            count += 1;
        }
        ensure!(
            count == packages.len(),
            "apt-get downloaded {count} of the {} packages",
            packages.len()
        );
        fs::remove_dir_all(&archives).with_context(|| format!("remove {}", archives.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C.UTF-8");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("xtask-apt-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn mirror_of(name: &str, files: &[(&str, &str)]) -> Option<String> {
        let root = machine(name, files);
        let found = find_mirror(&root);
        fs::remove_dir_all(root).unwrap();
        found
    }

    const BOOKWORM: (&str, &str) = (
        "etc/os-release",
        "NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=bookworm\n",
    );

    #[test]
    fn mirror_is_read_from_stanzas_of_debian_only() {
        let sources = "Types: deb\nURIs: http://security.example/debian\nSuites: bookworm-security\nComponents: main\n\n\
                       Enabled: no\nTypes: deb\nURIs: http://old.example/debian\nSuites: bookworm\nComponents: main\n\n\
                       # a comment\nTypes: deb deb-src\nURIs: http://mirror.example/debian\nSuites:\n bookworm\n \
                       bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        let other = "Types: deb\nURIs: http://other.example/debian\nSuites: bookworm\nComponents: main\n";
        let files = [
            BOOKWORM,
            ("etc/apt/sources.list.d/debian.sources", sources),
            ("etc/apt/sources.list.d/a-third-party.sources", other),
        ];
        assert_eq!(
            mirror_of("stanzas", &files).as_deref(),
            Some("http://mirror.example/debian")
        );
    }

    #[test]
    fn mirror_is_read_from_lines_with_or_without_options() {
        let list = "# deb http://comment.example/debian bookworm main\ndeb-src http://source.example/debian bookworm main\n\
                    deb [arch=amd64] http://vendor.example/prod bookworm main\n\
                    deb [ signed-by=/k.gpg ] http://mirror.example/debian/ bookworm main contrib # ours\n";
        let files = [BOOKWORM, ("etc/apt/sources.list", list)];
        assert_eq!(
            mirror_of("lines", &files).as_deref(),
            Some("http://mirror.example/debian/")
        );
    }

    #[test]
    fn a_file_that_lists_mirrors_is_followed() {
        let sources =
            "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\nComponents: main\n";
        let files = [
            BOOKWORM,
            ("etc/apt/sources.list.d/debian.sources", sources),
            (
                "etc/apt/mirrors/debian.list",
                "# mirrors\nhttps://mirror.example/debian\n",
            ),
        ];
        assert_eq!(
            mirror_of("mirror-file", &files).as_deref(),
            Some("https://mirror.example/debian")
        );
    }

    #[test]
    fn a_machine_that_is_not_debian_has_no_debian_mirror() {
        let list = "deb http://archive.example/ubuntu noble main\n";
        let release = ("etc/os-release", "ID=ubuntu\nVERSION_CODENAME=noble\n");
        assert_eq!(mirror_of("ubuntu", &[release, ("etc/apt/sources.list", list)]), None);
    }
}
