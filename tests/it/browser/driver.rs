//! One browser of a test, and what a test does with it.

use crate::dashboard::support::{EMAIL, Ops, PASSWORD};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// chromedriver with one browser, on ports and in a profile of their own.
pub struct Browser {
    pub client: Client,
    driver: Driver,
}

/// The process, ended by its own handle.
pub struct Driver {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, killpg};
        // Asked politely it closes its browser as well. A test that failed left its browser open:
        // it stands in the driver's process group.
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let _ = killpg(group, Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5)
            && !matches!(self.child.try_wait(), Ok(Some(_)))
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Where a program is, or the sentence that says how to get it.
fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut places = folders.iter().flat_map(|f| names.iter().map(move |n| f.join(n)));
    places.find(|p| p.is_file()).unwrap_or_else(|| {
        panic!("{} is not installed: run the tests with `ops/test`, which installs Chromium and its driver", names[0])
    })
}

impl Browser {
    pub async fn start() -> Self {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
        let mut child = Command::new(program(&["chromedriver"]))
            .arg("--port=0")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let profile = tempfile::tempdir().unwrap();
        let driver = Driver { child, _profile: profile };
        // "ChromeDriver was started successfully on port 40123."
        let port = |line: String| {
            line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok()
        };
        let (send, found) = tokio::sync::oneshot::channel::<u16>();
        std::thread::spawn(move || {
            let mut send = Some(send);
            // Read to the end, or the driver would stand before a full pipe.
            for line in lines.map_while(Result::ok) {
                if let Some((port, send)) = port(line).and_then(|p| Some((p, send.take()?))) {
                    let _ = send.send(port);
                }
            }
        });
        let port = tokio::time::timeout(Duration::from_secs(30), found).await;
        let port = port.expect("chromedriver starts within 30 s").unwrap();
        let scheme = std::env::var("SWITCHYARD_TEST_COLOR_SCHEME").unwrap_or_else(|_| "1".into());
        let options = json!({
            "binary": chromium,
            "args": [
                format!("--blink-settings=preferredColorScheme={scheme}"),
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--no-first-run", "--disable-dev-shm-usage", "--window-size=1440,900",
                format!("--user-data-dir={}", driver._profile.path().display()),
            ],
        });
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".into(), options);
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, driver }
    }

    pub async fn sign_in(&self, ops: &Ops) {
        self.sign_in_as(ops, EMAIL).await;
    }

    /// Another operator; all of them have the same password here.
    pub async fn sign_in_as(&self, ops: &Ops, email: &str) {
        self.client.goto(&format!("{}/ops", ops.base)).await.unwrap();
        self.see("#email").await.send_keys(email).await.unwrap();
        self.see("#password").await.send_keys(PASSWORD).await.unwrap();
        self.click("form button").await;
        self.see("#live[data-live=on]").await;
    }

    /// Goes to a screen by its address below `/ops`.
    pub async fn go(&self, ops: &Ops, path: &str) {
        self.client.goto(&format!("{}/ops{path}", ops.base)).await.unwrap();
        self.see("#main h1").await;
    }

    /// Types into a field, in place of what stands there.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.see(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Until the notice of the last action says this.
    pub async fn told(&self, text: &str) {
        let said = format!(
            "return (document.getElementById('notices')?.innerText ?? '').includes({text:?})"
        );
        self.until(text, &said).await;
    }

    /// Fails the test if the page is wider than the window.
    pub async fn fits(&self, path: &str) {
        let widths = "return [document.documentElement.scrollWidth, window.innerWidth]";
        let widths = self.run(widths).await;
        let (page, window) = (widths[0].as_i64().unwrap(), widths[1].as_i64().unwrap());
        assert!(window < 500, "the window is {window} wide, which is no phone");
        assert!(page <= window, "/ops{path} is {page} wide in a window of {window}");
    }

    pub async fn see(&self, css: &str) -> fantoccini::elements::Element {
        let wait = self.client.wait().at_most(Duration::from_secs(20));
        match wait.for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(e) => panic!("{css} is not there: {e}\n{}", self.client.source().await.unwrap()),
        }
    }

    /// A live update may put a new element in the place of the one that was found.
    pub async fn click(&self, css: &str) {
        for _ in 0..10 {
            match self.see(css).await.click().await {
                Err(e) if e.is_stale_element_reference() => {}
                done => return done.unwrap(),
            }
        }
        panic!("{css} changes all the time");
    }

    /// The text of what is there now, read at one stroke: a live update may replace the element.
    pub async fn text(&self, css: &str) -> String {
        self.see(css).await;
        let script = format!("return document.querySelector({css:?})?.innerText ?? ''");
        self.run(&script).await.as_str().unwrap_or_default().to_owned()
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Until the script gives `true`.
    pub async fn until(&self, what: &str, script: &str) {
        let begun = Instant::now();
        while self.run(script).await != json!(true) {
            if begun.elapsed() > Duration::from_secs(20) {
                panic!("{what}: not so\n{}", self.client.source().await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the browser complained about: policies, scripts, missing files.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(ConsoleLog).await.unwrap();
        let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().unwrap().iter().map(text).collect()
    }

    pub async fn end(self) {
        self.client.close().await.unwrap();
        drop(self.driver);
    }
}

/// chromedriver's own command for the console.
#[derive(Debug)]
struct ConsoleLog;

impl WebDriverCompatibleCommand for ConsoleLog {
    fn endpoint(
        &self,
        base: &reqwest::Url,
        session: Option<&str>,
    ) -> Result<reqwest::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &reqwest::Url) -> (reqwest::Method, Option<String>) {
        (reqwest::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}
