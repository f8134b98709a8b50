//! A headless Chromium, driven by the WebDriver protocol: JSON over HTTP to its own chromedriver.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";

/// Options that keep the browser from network requests of its own.
const QUIET: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one window; dropping it ends the browser.
pub(crate) struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    profile: PathBuf,
}

/// WebDriver's key for elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// WebDriver's names of keys.
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const END: &str = "\u{e010}";
pub(crate) const LEFT: &str = "\u{e012}";
pub(crate) const RIGHT: &str = "\u{e014}";
pub(crate) const DOWN: &str = "\u{e015}";

impl Browser {
    /// Starts a browser for the test `name`, with a window of this size.
    pub(crate) fn start(name: &str, width: u32, height: u32) -> Browser {
        for program in [BROWSER, DRIVER] {
            assert!(
                Path::new(program).exists(),
                "{program} is missing. `cargo xtask setup` installs it (packages chromium and chromium-driver)"
            );
        }
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profile-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&profile).expect("the folder for the profile can be made");
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let output = driver.stdout.take().expect("it is a pipe");
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(180)))
            .http_status_as_error(false)
            .proxy(None);
        let mut browser = Browser {
            driver,
            agent: config.build().into(),
            session: String::new(),
            profile: profile.clone(),
        };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let port = lines.by_ref().find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // Keep the pipe open: it must be able to write.
        std::thread::spawn(move || lines.for_each(drop));
        browser.session = format!("http://127.0.0.1:{}/session", port.expect("chromedriver says its port"));
        let mut arguments: Vec<String> = QUIET.map(str::to_owned).to_vec();
        arguments.push(format!("--window-size={width},{height}"));
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": BROWSER, "args": arguments },
        } } });
        let answer = browser.post("", capabilities);
        let id = answer["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut response = request
            .send(body.to_string())
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        let text = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .expect("an answer");
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(
            response.status().is_success(),
            "{path} {body}: {}",
            answer["value"]["message"]
        );
        answer["value"].take()
    }

    /// Opens a file and waits until it is drawn.
    pub(crate) fn open(&self, file: &Path) {
        self.post("/url", json!({ "url": format!("file://{}", file.display()) }));
        self.settle();
    }

    /// Returns the value of a script's `return`.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Returns the text of a script's `return`.
    pub(crate) fn text(&self, script: &str) -> String {
        let value = self.run(script);
        value
            .as_str()
            .unwrap_or_else(|| panic!("{script} is no text but {value}"))
            .to_owned()
    }

    /// Returns the number of a script's `return`.
    pub(crate) fn number(&self, script: &str) -> i64 {
        let value = self.run(script);
        value
            .as_i64()
            .unwrap_or_else(|| panic!("{script} is no whole number but {value}"))
    }

    /// Waits until pending drawing is done.
    pub(crate) fn settle(&self) {
        let script =
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));";
        self.post("/execute/async", json!({ "script": script, "args": [] }));
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks the middle of an element.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/click"), json!({}));
        self.settle();
    }

    /// Types into an element.
    pub(crate) fn keys(&self, selector: &str, keys: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/value"), json!({ "text": keys }));
        self.settle();
    }

    /// Moves the pointer to a point of the window, and clicks if `click` is set.
    pub(crate) fn point(&self, x: i64, y: i64, click: bool) {
        let mut actions = vec![json!({ "type": "pointerMove", "x": x, "y": y, "duration": 0 })];
        if click {
            actions.push(json!({ "type": "pointerDown", "button": 0 }));
            actions.push(json!({ "type": "pointerUp", "button": 0 }));
        }
        self.post(
            "/actions",
            json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] }),
        );
        self.settle();
    }

    /// Returns the window's contents as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let url = format!("{}/screenshot", self.session);
        let mut response = self.agent.get(&url).call().expect("a screenshot");
        let text = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .expect("an answer");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let base64 = answer["value"].as_str().expect("a picture");
        base64::engine::general_purpose::STANDARD
            .decode(base64)
            .expect("base64")
    }

    /// Returns the browser's log since the last call: errors, and what the page's policy blocked.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" }));
        let lines = log.as_array().expect("a list").iter();
        lines
            .map(|line| format!("{}: {}", line["level"], line["message"]))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; ending the driver alone would leave it running.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
