//! Runs `ipft replay -o top` in a real terminal (tmux): keys, screens, and the terminal as it is afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::canned::all;

use crate::recorded::record;

/// How long a screen may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// In the first line of each screen.
const SCREEN: &str = "ipft top  icmp or host 10.0.0.2";
/// On the first screen of the whole recording. On a busy machine, one of a part of it is drawn before.
const ENDED: &str = "ended, newest first";

/// A terminal with a shell in it.
struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// Opens one of 80 by 24 characters, with a recording and a variable for the command that shows it.
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tmux = Tmux { folder };
        let canned = all().into_iter().find(|canned| canned.name == "followed").unwrap();
        record(&canned, &tmux.path("trace.ipft"));
        let shell = "exec env PS1='ready> ' TERM=screen bash --norc --noprofile";
        tmux.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell]);
        tmux.wait(|screen| screen.starts_with("ready>"));
        let program = env!("CARGO_BIN_EXE_ipft");
        let file = tmux.path("trace.ipft");
        tmux.enter(&format!("ipft='{program} replay {} -o top'", file.display()));
        tmux.enter(&format!("cd {}; stty -a >before; clear", tmux.folder.path().display()));
        tmux.wait(|screen| screen.starts_with("ready>") && screen.lines().count() == 1);
        tmux
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.path("socket")).args(arguments);
        let output = command.stdin(Stdio::null()).output();
        let output = output.expect("tmux runs; 'cargo xtask setup' installs it");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Types keys, by their names in tmux(1).
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    fn enter(&self, line: &str) {
        self.keys(&["-l", line]);
        self.keys(&["Enter"]);
    }

    /// Sends a signal to the ipft that the shell runs.
    fn signal(&self, name: &str) {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let sent = Command::new("pkill")
            .args([&format!("-{name}"), "-P", &shell, "-x", "ipft"])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Returns whether the alternate screen is on, and whether the cursor is visible.
    fn flags(&self) -> String {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])
    }

    /// Waits for a screen.
    fn wait(&self, is_there: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if is_there(&screen) {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "no such screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(|screen| screen.contains(text))
    }

    /// Requires that the shell has the terminal as it was.
    fn is_as_before(&self) {
        let after = self.path("after");
        self.enter("stty -a >after.new; mv after.new after");
        let start = Instant::now();
        while !after.exists() {
            assert!(
                start.elapsed() < PATIENCE,
                "no shell: {}",
                self.tmux(&["capture-pane", "-p"])
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(text(&self.path("before")), text(&after));
        assert_eq!(
            self.flags(),
            "0 1",
            "the alternate screen is left, and the cursor is visible"
        );
        fs::remove_file(after).unwrap();
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn keys_lead_from_pane_to_journey_and_back() {
    let tmux = Tmux::open();
    tmux.enter("$ipft");
    let screen = tmux.wait_for(ENDED);
    assert!(screen.starts_with(SCREEN), "{screen}");
    tmux.keys(&["End"]);
    tmux.wait_for("delivered after icmp_rcv");
    tmux.keys(&["Enter"]);
    let journey = tmux.wait_for("#1  10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 84 B");
    assert!(journey.contains("nf_hook_slow (3 times)"), "{journey}");
    tmux.keys(&["Escape"]);
    tmux.wait(|screen| !screen.contains("nf_hook_slow"));
    tmux.keys(&["3"]);
    tmux.wait_for("NETFILTER_DROP        nft_do_chain");
    tmux.keys(&["Tab"]);
    tmux.wait_for("18.2 %  __ip_local_out");
    tmux.keys(&["p"]);
    tmux.wait_for("FROZEN");
    tmux.keys(&["p", "/", "i", "p", "6", "Enter"]);
    let found = tmux.wait(|screen| screen.contains("with \"ip6\"") && !screen.contains("FROZEN"));
    assert!(found.contains("ip6_output") && !found.contains("arp_rcv"), "{found}");
    tmux.keys(&["w"]);
    tmux.wait_for("--record FILE");
    tmux.keys(&["?"]);
    tmux.wait_for("choose the pane");
    tmux.keys(&["q", "q"]);
    let end = tmux.wait_for("Nothing was lost.");
    assert!(end.contains("16 packets: "), "{end}");
    tmux.is_as_before();
}

#[test]
fn colours_of_the_screen_are_an_option() {
    let tmux = Tmux::open();
    // No colour, in the default terminal: what tells its title is bold alone.
    let colours = [
        "\x1b[31m",
        "\x1b[32m",
        "\x1b[33m",
        "\x1b[36m",
        ";36m",
        "\x1b[1m\x1b[36m",
    ];
    for (option, is_coloured) in [("", true), ("--color always", true), ("--color never", false)] {
        tmux.enter(&format!("clear; $ipft {option}"));
        tmux.wait_for(ENDED);
        let screen = tmux.tmux(&["capture-pane", "-p", "-e"]);
        assert!(screen.contains("\x1b[1m"), "{option}: {screen:?}");
        assert_eq!(
            colours.iter().any(|colour| screen.contains(colour)),
            is_coloured,
            "{option}: {screen:?}"
        );
        tmux.keys(&["q"]);
        tmux.wait_for("Nothing was lost.");
        tmux.is_as_before();
    }
    tmux.enter("clear; NO_COLOR=1 $ipft");
    tmux.wait_for(ENDED);
    let screen = tmux.tmux(&["capture-pane", "-p", "-e"]);
    assert!(!colours.iter().any(|colour| screen.contains(colour)), "{screen:?}");
}

#[test]
fn a_terminal_that_is_resized_is_drawn_anew() {
    let tmux = Tmux::open();
    tmux.enter("$ipft");
    tmux.wait_for(ENDED);
    tmux.tmux(&["resize-window", "-x", "120", "-y", "40"]);
    tmux.wait(|screen| screen.lines().next().is_some_and(|line| line.len() == 120) && screen.lines().count() == 40);
    tmux.tmux(&["resize-window", "-x", "30", "-y", "8"]);
    tmux.wait(|screen| screen == "too small");
    tmux.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.wait(|screen| screen.starts_with(SCREEN));
    tmux.keys(&["C-c"]);
    tmux.wait_for("Nothing was lost.");
    tmux.is_as_before();
}

#[test]
fn signals_put_the_terminal_back() {
    let tmux = Tmux::open();
    for signal in ["INT", "TERM", "HUP"] {
        tmux.enter("clear; $ipft");
        tmux.wait_for(ENDED);
        tmux.signal(signal);
        let end = tmux.wait_for("Nothing was lost.");
        assert!(!end.contains(SCREEN), "{end}");
        tmux.is_as_before();
    }
}

#[test]
fn a_stopped_program_gives_the_terminal_to_the_shell() {
    let tmux = Tmux::open();
    for stop in ["C-z", "signal"] {
        tmux.enter("clear; $ipft");
        tmux.wait_for(ENDED);
        match stop {
            "signal" => tmux.signal("TSTP"),
            key => tmux.keys(&[key]),
        }
        tmux.wait_for("Stopped");
        tmux.is_as_before();
        tmux.enter("fg");
        tmux.wait_for(ENDED);
        tmux.keys(&["2"]);
        tmux.wait_for("most packets first");
        tmux.keys(&["q"]);
        tmux.wait_for("Nothing was lost.");
        tmux.is_as_before();
    }
}

#[test]
fn a_killed_parent_ends_the_view() {
    let tmux = Tmux::open();
    tmux.enter("clear; bash -c 'echo $$ >parent; $0 replay trace.ipft -o top; true' ${ipft%% *}");
    tmux.wait_for(ENDED);
    let parent = fs::read_to_string(tmux.path("parent")).unwrap();
    let killed = Command::new("kill").args(["-KILL", parent.trim()]).status();
    assert!(killed.unwrap().success());
    // The shell does not wait for the child of what was killed, and may write on its screen.
    tmux.wait(|screen| screen.contains("Nothing was lost.") && tmux.flags() == "0 1");
    tmux.is_as_before();
}

#[test]
fn without_a_terminal_the_error_names_the_remedy() {
    let tmux = Tmux::open();
    let file = tmux.path("trace.ipft");
    let ran = crate::recorded::replay([file.as_os_str(), "-o".as_ref(), "top".as_ref()]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("needs a terminal") && ran.said.contains("use -o text"),
        "{}",
        ran.said
    );
    tmux.enter("clear; TERM=dumb $ipft");
    tmux.wait_for("needs a terminal");
    tmux.is_as_before();
}
