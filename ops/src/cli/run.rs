//! `up`, `api`, `work`, `schedule`: what runs until it is told to stop.

use super::args::{Global, Listen, Up, Work};
use super::load;
use super::output::{Failure, Output, say};
use crate::compose::{self, Base};
use crate::config::{Config, Needs};
use crate::signals::Signals;
use crate::up::{self, Ready, Wish};
use crate::{metrics_server, supervise::supervise};
use serde_json::json;
use std::future::Future;
use tokio_util::sync::CancellationToken;

const SERVER: Needs = Needs { database: true, secret_key: true, takes_backups: false };
const WORKER: Needs = Needs { database: true, secret_key: false, takes_backups: true };
const SCHEDULER: Needs = Needs { database: true, secret_key: false, takes_backups: false };

pub(super) async fn up(global: &Global, up: &Up, output: Output) -> Result<(), Failure> {
    let needs = Needs { takes_backups: true, ..Needs::default() };
    let config = load(global, listen(&up.listen), needs)?;
    let demo = if up.no_demo { Some(false) } else { up.demo.then_some(true) };
    let signals = Signals::listen()?;
    let wish = Wish { demo, redis: up.redis };
    let told = move |ready: &Ready| output_ready(output, ready);
    up::run(config, wish, signals, told).await?;
    Ok(())
}

fn output_ready(output: Output, ready: &Ready) {
    if output.json {
        let demo = ready.demo.as_ref();
        // One line: programs read it while this one goes on running.
        let line = json!({
            "ready": true,
            "api": ready.api,
            "dashboard": format!("{}/ops", ready.api),
            "demo": demo,
            "backups": ready.backups.as_ref().map(|b| &b.folder),
            "curl": demo.map(|d| d.curl()),
            "milliseconds": u64::try_from(ready.took.as_millis()).unwrap_or(u64::MAX),
        });
        say(&line.to_string());
        return;
    }
    let database = if ready.private { "a private PostgreSQL" } else { "the database given" };
    let mut text = format!(
        "Switchyard is ready after {:.1} s, on {database}.\n\n  API        {}\n  Docs       {}/api/docs\n  Dashboard  {}/ops\n",
        ready.took.as_secs_f64(),
        ready.api,
        ready.api,
        ready.api
    );
    if let Some(demo) = &ready.demo {
        text.push_str(&format!(
            "  Sign in    {}  {}\n\nSend a lead and watch it on the dashboard:\n\n{}\n",
            demo.admin.email,
            demo.admin.password,
            demo.curl()
        ));
    }
    if let Some(backups) = &ready.backups {
        text.push_str(&format!(
            "\nIt backs itself up to {}, and proves that the backups restore.\n",
            backups.folder.display()
        ));
        if let Some(identity) = &backups.identity {
            text.push_str(&format!(
                "What reads them is in {}: it belongs elsewhere, off this machine.\n",
                identity.display()
            ));
        }
    }
    text.push_str("\nCtrl-C stops everything.");
    say(&text);
}

pub(super) async fn api(global: &Global, args: &Listen) -> Result<(), Failure> {
    let config = load(global, listen(args), SERVER)?;
    let signals = Signals::listen()?;
    let listener = compose::bind(config.listen).await?;
    let base = Base::open(config)?;
    let (b, stop) = (base.clone(), signals.stop.clone());
    let mut first = Some(listener);
    let part = supervise("api", stop.clone(), move || {
        let (b, stop, bound) = (b.clone(), stop.clone(), first.take());
        async move {
            let listener = match bound {
                Some(listener) => listener,
                None => compose::bind(b.config.listen).await?,
            };
            b.api(listener, stop).await
        }
    });
    until_stopped(&base, &signals, part).await
}

pub(super) async fn work(global: &Global, args: &Work) -> Result<(), Failure> {
    let mut more = Vec::new();
    if let Some(queues) = &args.queues {
        more.push(("worker.queues", queues.clone(), "--queues"));
    }
    if let Some(n) = &args.concurrency {
        more.push(("worker.concurrency", n.clone(), "--concurrency"));
    }
    let base = Base::open(load(global, more, WORKER)?)?;
    let signals = Signals::listen()?;
    let (b, stop) = (base.clone(), signals.stop.clone());
    let part = supervise("worker", stop.clone(), move || {
        let (b, stop) = (b.clone(), stop.clone());
        async move {
            b.work(stop).await;
            Ok(())
        }
    });
    let metrics = beside(&base.config, &signals.stop);
    until_stopped(&base, &signals, async {
        tokio::join!(part, metrics);
    })
    .await
}

pub(super) async fn schedule(global: &Global) -> Result<(), Failure> {
    let base = Base::open(load(global, Vec::new(), SCHEDULER)?)?;
    let signals = Signals::listen()?;
    let (b, stop) = (base.clone(), signals.stop.clone());
    let part = supervise("scheduler", stop.clone(), move || {
        let (b, stop) = (b.clone(), stop.clone());
        async move { b.schedule(stop).await }
    });
    let metrics = beside(&base.config, &signals.stop);
    until_stopped(&base, &signals, async {
        tokio::join!(part, metrics);
    })
    .await
}

/// Metrics and a sign of life, where they are wanted.
async fn beside(config: &Config, stop: &CancellationToken) {
    let Some(address) = config.metrics_listen else { return };
    let (end, token) = (stop.clone(), config.http.metrics_token.clone());
    let serve = move || metrics_server::serve(address, token.clone(), end.clone());
    supervise("metrics", stop.clone(), serve).await;
}

/// Runs a part to the end of its drain, or until the end is forced.
async fn until_stopped(
    base: &Base,
    signals: &Signals,
    part: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let whole = async {
        tokio::select! {
            () = part => {}
            () = async { base.tell_if_behind().await; std::future::pending().await } => {}
        }
        base.close().await;
    };
    tokio::select! {
        () = whole => Ok(()),
        () = signals.force.cancelled() => Err(Failure::Said(1)),
    }
}

fn listen(args: &Listen) -> Vec<(&'static str, String, &'static str)> {
    args.listen.iter().map(|address| ("listen", address.clone(), "--listen")).collect()
}
