//! A process of its own that does one thing and stops at a step, to be killed there. It is this very test
//! program, which runs its one ignored test; what it is to do comes in by its standard input.

use super::kit::Kit;
use super::vault::{Kind as Goes, Trouble, troubled};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::prune::{Policy, prune};
use switchyard_backup::restore::{Destination, Nothing};
use switchyard_backup::{
    BackupFault, Keys, Progress, RestorePlan, SourceConfig, Vault, differential, full, incremental,
    restore,
};
use switchyard_providers::archive::{Archive, Directory};

/// What it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Deed {
    Full,
    Increment,
    Differential,
    /// As if it were this moment.
    Prune(DateTime<Utc>),
    /// To a new database of this name.
    Restore(String),
}

/// Where it stops.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Stop {
    /// Before the nth call of the archive, counted from zero.
    Before(i64),
    /// When that call is done, and before anything else.
    After(i64),
    /// When the nth step of the progress is told.
    Step(i64),
}

/// Only the newest full backup and what goes on from it.
pub const NEWEST: Policy =
    Policy { window_days: 0, last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

#[derive(Serialize, Deserialize)]
struct Orders {
    deed: Deed,
    stop: Stop,
    folder: PathBuf,
    signer: String,
    identity: String,
    source: String,
    server: String,
}

/// What stands before what the child says: libtest writes to the same stream.
const SAYS: &str = "@@ ";

/// The child, killed with this value at the latest.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has another process do it to the archive in `folder`. Answers true if it came to the stop and was killed
/// there (SIGKILL), false if it came to its end before that.
pub fn killed_in(kit: &Kit, folder: &Path, deed: Deed, stop: Stop) -> bool {
    let what = format!("{deed:?} {stop:?}");
    let orders = Orders {
        deed,
        stop,
        folder: folder.to_owned(),
        signer: kit.signer.reveal().expose_secret().to_owned(),
        identity: kit.identity.reveal().expose_secret().to_owned(),
        source: kit.config.url.expose_secret().to_owned(),
        server: kit.server_url().expose_secret().to_owned(),
    };
    let mut child = Command::new(std::env::current_exe().expect("a test program"))
        .args(["the_process_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Guard)
        .expect("it starts");
    let mut stdin = child.0.stdin.take().expect("a pipe");
    serde_json::to_writer(&mut stdin, &orders).expect("orders");
    drop(stdin);
    let stdout = child.0.stdout.take().expect("a pipe");
    for line in BufReader::new(stdout).lines() {
        match line.expect("text").strip_prefix(SAYS) {
            Some("stopped") => return true, // the guard kills it
            Some("ended") => return false,
            Some(fault) => panic!("{what}: {fault}"),
            None => {}
        }
    }
    panic!("{what}: the process ended without a word");
}

/// The same to the kit's own archive.
pub fn killed(kit: &Kit, deed: Deed, stop: Stop) -> bool {
    killed_in(kit, kit.folder.path(), deed, stop)
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "\n{SAYS}{what}\n").and_then(|()| out.flush());
}

/// Stops at a step of the progress: the thread that tells it never goes on.
struct StopAt(AtomicI64);

impl Progress for StopAt {
    fn step(&self, _: &str) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            say("stopped");
            loop {
                std::thread::park();
            }
        }
    }

    fn bytes(&self, _: u64, _: Option<u64>) {}
}

/// What the ignored test does. Without orders, nothing.
pub async fn obey() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("orders");
    let Ok(orders) = serde_json::from_str::<Orders>(&text) else { return };
    match work(orders).await {
        Ok(()) => say("ended"),
        Err(fault) => say(&fault.to_string()),
    }
}

async fn work(orders: Orders) -> Result<(), BackupFault> {
    let signer = Signer::parse(&SecretString::from(orders.signer))?;
    let identities = Identity::parse_all(&SecretString::from(orders.identity))?;
    let keys = Keys::new()
        .recipients(identities.iter().map(Identity::recipient))
        .identities(identities)
        .signing(signer);
    let mut archive: Arc<dyn Archive> = Arc::new(Directory::new(orders.folder));
    let (goes, nth) = match orders.stop {
        Stop::Before(nth) => (Goes::HangsBefore, nth),
        Stop::After(nth) => (Goes::HangsAfter, nth),
        Stop::Step(_) => (Goes::HangsBefore, i64::MAX),
    };
    let trouble = Trouble::at(goes, nth);
    archive = troubled(archive, &trouble);
    // A task of its own: the work stays as it hangs, with its connections, until it is killed.
    tokio::spawn(async move {
        trouble.begun.notified().await;
        say("stopped");
    });
    let vault = Vault::new(archive, keys);
    let steps = match orders.stop {
        Stop::Step(nth) => nth,
        _ => i64::MAX,
    };
    let progress = StopAt(AtomicI64::new(steps));
    let source = SourceConfig::new(SecretString::from(orders.source));
    match orders.deed {
        Deed::Full => drop(full(&source, &vault, BTreeMap::new(), &progress).await?),
        Deed::Increment => drop(incremental(&source, &vault, BTreeMap::new(), &progress).await?),
        Deed::Differential => drop(differential(&vault, &progress).await?),
        Deed::Prune(now) => drop(prune(&vault, &NEWEST, now, false).await?),
        Deed::Restore(name) => {
            let plan = RestorePlan {
                destination: Destination::New { name: Some(name) },
                ..RestorePlan::newest(SecretString::from(orders.server))
            };
            drop(restore(&vault, &plan, &progress, &Nothing).await?);
        }
    }
    Ok(())
}
