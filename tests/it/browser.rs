//! The dashboard in a real browser: Chromium, headless, driven by chromedriver.
#![allow(clippy::unwrap_used)]

use crate::dashboard::support::{EMAIL, Ops, PASSWORD, person};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use switchyard_queue::{JobState, Options};
use switchyard_store::jobs;
use switchyard_store::limits::{self, LimitScope};

/// chromedriver with one browser, on ports and in a profile of their own.
struct Browser {
    client: Client,
    driver: Driver,
}

/// The process, ended by its own handle.
struct Driver {
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
    async fn start() -> Self {
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

    async fn sign_in(&self, ops: &Ops) {
        self.client.goto(&format!("{}/ops", ops.base)).await.unwrap();
        self.see("#email").await.send_keys(EMAIL).await.unwrap();
        self.see("#password").await.send_keys(PASSWORD).await.unwrap();
        self.click("form button").await;
        self.see("#live[data-live=on]").await;
    }

    async fn see(&self, css: &str) -> fantoccini::elements::Element {
        let wait = self.client.wait().at_most(Duration::from_secs(20));
        match wait.for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(e) => panic!("{css} is not there: {e}\n{}", self.client.source().await.unwrap()),
        }
    }

    /// A live update may put a new element in the place of the one that was found.
    async fn click(&self, css: &str) {
        for _ in 0..10 {
            match self.see(css).await.click().await {
                Err(e) if e.is_stale_element_reference() => {}
                done => return done.unwrap(),
            }
        }
        panic!("{css} changes all the time");
    }

    /// The text of what is there now, read at one stroke: a live update may replace the element.
    async fn text(&self, css: &str) -> String {
        self.see(css).await;
        let script = format!("return document.querySelector({css:?})?.innerText ?? ''");
        self.run(&script).await.as_str().unwrap_or_default().to_owned()
    }

    async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Until the script gives `true`.
    async fn until(&self, what: &str, script: &str) {
        let begun = Instant::now();
        while self.run(script).await != json!(true) {
            if begun.elapsed() > Duration::from_secs(20) {
                panic!("{what}: not so\n{}", self.client.source().await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the browser complained about: policies, scripts, missing files.
    async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(ConsoleLog).await.unwrap();
        let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().unwrap().iter().map(text).collect()
    }

    async fn end(self) {
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

#[tokio::test]
async fn an_operator_watches_a_lead_and_retries_a_job() {
    let ops = Ops::new().await;
    ops.work();
    let dead = ops.dead_letter().await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;

    // The lead comes to the page that is open; the page is not loaded anew.
    browser.run("window.same = true").await;
    let event = ops.deliver(&person("b-1", "Anna", "Nowak")).await;
    let row = format!("#line-{event}");
    browser.see(&row).await;
    let reached = format!("return document.querySelectorAll('{row} .stop.done').length === 5");
    browser.until("all five stations are reached", &reached).await;
    assert_eq!(browser.run("return window.same === true").await, json!(true));
    browser
        .until("the clock ticks", "return !!document.querySelector('time[data-relative]')")
        .await;

    // From the lead to one of its jobs.
    browser.click(&format!("#line-{event}-go")).await;
    browser.until("the lead's page", "return document.title.startsWith('Anna Nowak')").await;
    let way = browser.text("#page .way").await;
    for text in ["Webhook from Demo portal", "Offered to Nordhaus Immobilien", "WhatsApp to Jan"] {
        assert!(way.contains(text), "{way}");
    }
    browser.click(".chip[href^='/ops/jobs/']").await;
    browser.until("the job's page", "return document.title.startsWith('webhook.process')").await;
    assert_eq!(browser.text("#state").await, "completed");

    // The dead letter runs again, and its page says so by itself.
    browser.client.goto(&format!("{}/ops/jobs/{dead}", ops.base)).await.unwrap();
    assert_eq!(browser.text("#state").await, "discarded");
    browser.see("#live[data-live=on]").await;
    browser.run("window.same = true").await;
    browser.click("form[action$='/retry'] button").await;
    let state = "return document.getElementById('state')?.textContent === 'completed'";
    browser.until("the job completes", state).await;
    assert!(browser.text("#notices").await.contains("runs again"));
    assert_eq!(browser.run("return window.same === true").await, json!(true));
    assert_eq!(ops.state(dead).await, JobState::Completed);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

#[tokio::test]
async fn rows_change_in_place_and_the_mail_is_seen() {
    let ops = Ops::new().await;
    let late = Options::new().delay(Duration::from_secs(3600));
    let id = ops.job("leads.rescan_unassigned", late.clone()).await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.client.goto(&format!("{}/ops/jobs", ops.base)).await.unwrap();
    browser.see("#live[data-live=on]").await;
    browser.run("window.same = true").await;
    // Somebody else acts; the row follows.
    jobs::cancel(&ops.db, id).await.unwrap();
    browser.see(&format!("#job-{id} .st-cancelled")).await;
    // A new job does not push the rows away, it is announced.
    ops.job("leads.rescan_unassigned", Options::new()).await;
    browser.until("the bar", "return document.getElementById('newer').hidden === false").await;
    assert_eq!(browser.run("return window.same === true").await, json!(true));
    // The page of a job ends with what came last, however soon that came after the one before.
    for _ in 0..3 {
        let id = ops.job("leads.rescan_unassigned", late.clone()).await;
        browser.client.goto(&format!("{}/ops/jobs/{id}", ops.base)).await.unwrap();
        browser.see("#live[data-live=on]").await;
        jobs::retry(&ops.db, id).await.unwrap();
        browser.see("#state.st-available").await;
        jobs::cancel(&ops.db, id).await.unwrap();
        browser.see("#state.st-cancelled").await;
    }

    ops.work();
    let line = ops.arrived(ops.deliver(&person("b-2", "Ewa", "Mail")).await).await;
    let mail = line.assignments[0].messages.iter().find(|m| m.channel == "email").unwrap();
    browser.client.goto(&format!("{}/ops/messages/{}", ops.base, mail.id)).await.unwrap();
    browser.see("iframe.mail").await.enter_frame().await.unwrap();
    assert!(browser.text("body").await.contains("Ewa"));
    browser.client.enter_parent_frame().await.unwrap();
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

/// Tables scroll in their own frame, or become cards: the page itself never moves sideways.
#[tokio::test]
async fn no_screen_is_wider_than_a_phone() {
    let ops = Ops::new().await;
    ops.work();
    let dead = ops.dead_letter().await;
    ops.test.fail_for_good("nobody.knows.a.kind.with.so.long.a.name", 1).await;
    let line = ops.arrived(ops.deliver(&person("n-1", "Anna", "Nowak")).await).await;
    let lead = line.lead.as_ref().unwrap().id;
    let mail = line.assignments[0].messages[0].id;
    let mut bad = person("n-2", "Rita", "Mazur");
    bad["email"] = json!("not an address");
    let rejected = ops.deliver(&bad).await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.client.set_window_size(390, 844).await.unwrap();
    let queue = LimitScope::Queue { queue: "maintenance".into() };
    let rate = "600/min".parse().unwrap();
    limits::set(&ops.db, &queue, Some(5), Some(rate)).await.unwrap();
    let lists =
        ["", "/leads", "/deliveries", "/messages", "/jobs", "/errors", "/workflows", "/schedules"];
    let lists = lists.into_iter().map(str::to_owned);
    let more =
        ["/workers", "/queues", "/kinds", "/portals", "/portals/demo", "/jobs?state=pending"];
    let more = more.map(str::to_owned);
    let single = [
        format!("/jobs/{dead}"),
        format!("/leads/{lead}"),
        format!("/messages/{mail}"),
        format!("/deliveries/{rejected}"),
    ];
    for path in lists.chain(more).chain(single) {
        browser.client.goto(&format!("{}/ops{path}", ops.base)).await.unwrap();
        browser.see("#main h1").await;
        let widths = "return [document.documentElement.scrollWidth, window.innerWidth]";
        let widths = browser.run(widths).await;
        let (page, window) = (widths[0].as_i64().unwrap(), widths[1].as_i64().unwrap());
        assert!(window < 500, "the window is {window} wide, which is no phone");
        assert!(page <= window, "/ops{path} is {page} wide in a window of {window}");
    }
    browser.end().await;
}

/// Draws the picture of the README: `SWITCHYARD_TEST_SCREENSHOT=docs/dashboard.png`, run with
/// `--run-ignored only`.
#[tokio::test]
#[ignore = "makes a picture, proves nothing"]
async fn picture() {
    let to = std::env::var_os("SWITCHYARD_TEST_SCREENSHOT")
        .expect("SWITCHYARD_TEST_SCREENSHOT names a file");
    let ops = Ops::new().await;
    ops.work();
    ops.dead_letter().await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    let people =
        [("Piotr", "Zieliński"), ("Marta", "Lis"), ("Ewa", "Wójcik"), ("Jan", "Dąbrowski")];
    for (first, last) in people {
        ops.arrived(ops.deliver(&person(&format!("p-{first}"), first, last)).await).await;
    }
    let mut uncovered = person("p-u", "Tomasz", "Kaczmarek");
    uncovered["postal_code"] = json!("99-999");
    ops.deliver(&uncovered).await;
    let mut rejected = person("p-r", "Rita", "Mazur");
    rejected["email"] = json!("not an address");
    rejected["phone"] = json!(null);
    ops.deliver(&rejected).await;
    let event = ops.deliver(&person("p-a", "Anna", "Nowak")).await;
    ops.arrived(event).await;
    let reached =
        format!("return document.querySelectorAll('#line-{event} .stop.done').length === 5");
    browser.until("all five stations are reached", &reached).await;
    std::fs::write(to, browser.client.screenshot().await.unwrap()).unwrap();
    browser.end().await;
}

#[tokio::test]
async fn an_operator_cancels_all_that_match_and_undoes_it() {
    let ops = Ops::new().await;
    for _ in 0..3 {
        ops.job("leads.rescan_unassigned", Options::new().delay(Duration::from_secs(900))).await;
    }
    ops.dead_letter().await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    // In both colour schemes, if somebody wants to look at the pages.
    let shoot = async |name: &str| {
        let Some(folder) = std::env::var_os("SWITCHYARD_TEST_SCREENSHOTS") else { return };
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(path, browser.client.screenshot().await.unwrap()).unwrap();
    };
    browser.client.goto(&format!("{}/ops/jobs", ops.base)).await.unwrap();
    browser.see("input[name=error]").await.send_keys("BY AN OPERATOR").await.unwrap();
    browser.click("form[role=search] button.primary").await;
    browser
        .until("one job is found", "return document.querySelectorAll('tbody tr').length === 1")
        .await;
    shoot("found").await;
    browser.client.goto(&format!("{}/ops/jobs?state=scheduled", ops.base)).await.unwrap();
    browser.click("button[name=do][value=cancel]").await;
    assert!(browser.text("section.card h2").await.starts_with("3 jobs"));
    shoot("count").await;
    browser.click("button.primary").await;
    assert!(browser.text("#op").await.contains("waits for a scheduler"));
    shoot("waiting").await;
    jobs::bulk::work(&ops.db).await.unwrap();
    browser.see("#op .st-done").await;
    assert!(browser.text("#op").await.contains("3 of 3 done"));
    shoot("done").await;
    browser.click("form[action$='/undo'] button").await;
    browser.client.accept_alert().await.unwrap();
    browser.until("the undo has a page", "return location.pathname.startsWith('/ops/bulk/') && document.body.innerText.includes('It undoes')").await;
    jobs::bulk::work(&ops.db).await.unwrap();
    browser.see("#op .st-done").await;
    shoot("undone").await;
    let wanted = jobs::JobFilter { state: Some(JobState::Scheduled), ..Default::default() };
    assert_eq!(jobs::list(&ops.db, &wanted).await.unwrap().len(), 3);
    browser.client.goto(&format!("{}/ops/bulk", ops.base)).await.unwrap();
    browser.see("tbody tr").await;
    shoot("list").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}
