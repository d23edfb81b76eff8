//! What the doctor looks at, one function each.

use super::Finding;
use crate::compose::Base;
use crate::config::{Config, written_duration};
use crate::database_help;
use crate::redis_ping;
use chrono::Utc;
use secrecy::SecretString;
use std::path::Path;
use std::time::Duration;
use switchyard_queue::JobState;
use switchyard_store::commissions::{self, Backlog};
use switchyard_store::inspect::{self, ServerFacts};
use switchyard_store::{DbConfig, Scope, StoreFault, jobs, pulse, sealing};

/// Connections of one process beside its pools: claim 1, settle 2, renew 1, presence 1, wake-ups 2,
/// scheduler 1.
const DIRECT: u32 = 8;
/// PostgreSQL 15, as `server_version_num` counts.
const OLDEST: i32 = 150_000;
/// Signatures are refused when they are minutes off; seconds are a sign that nobody sets the clock.
const SKEW: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];
/// Room on the disk below which somebody should look, and below which a database stops.
const ROOM: [u64; 2] = [2 << 30, 256 << 20];
/// Work that waits this long has nobody to do it.
const STUCK: Duration = Duration::from_secs(300);
/// The booking of an event is enqueued again after five minutes, and looked for every five.
const UNBOOKED: Duration = Duration::from_secs(900);

/// The folder's disk; the folder's parent while there is none yet.
pub(super) fn disk(folder: &Path) -> Finding {
    let there = folder.ancestors().find(|p| p.exists()).filter(|p| !p.as_os_str().is_empty());
    let place = there.unwrap_or_else(|| Path::new("."));
    let stat = match nix::sys::statvfs::statvfs(place) {
        Ok(stat) => stat,
        Err(e) => {
            return Finding::warn("disk", format!("cannot be looked at: {e}"), "look yourself");
        }
    };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let found = format!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), place.display());
    let remedy = "make room: a database that cannot write stops";
    match free {
        n if n < ROOM[1] => Finding::fail("disk", found, remedy),
        n if n < ROOM[0] => Finding::warn("disk", found, remedy),
        _ => Finding::ok("disk", found),
    }
}

pub(super) async fn redis(config: &Config) -> Finding {
    let Some(url) = &config.redis_url else {
        return Finding::ok("redis", "not configured; PostgreSQL carries the wake-ups");
    };
    match redis_ping::ping(url).await {
        Ok(pong) => {
            Finding::ok("redis", format!("version {}, answers in {:?}", pong.version, pong.took))
        }
        // Nothing is lost without it: the sweep finds work within a second.
        Err(e) => Finding::warn(
            "redis",
            e.chain(),
            "start it or mend REDIS_URL; until then work is found within a second, not at once",
        ),
    }
}

/// Reachability, version and clock; the facts if it answered.
pub(super) async fn server(
    url: &SecretString,
    shown: &str,
    found: &mut Vec<Finding>,
) -> Option<ServerFacts> {
    let before = Utc::now();
    let facts = match inspect::server_facts(url).await {
        Ok(facts) => facts,
        Err(e) => {
            found.push(Finding::fail(
                "database",
                format!("{shown}: {}", chain(&e)),
                database_help::remedy(&e),
            ));
            return None;
        }
    };
    let after = Utc::now();
    let told = format!("{shown}, PostgreSQL {}", facts.version);
    found.push(if facts.version_number < OLDEST {
        Finding::fail("database", told, "PostgreSQL 15 or later is needed: upgrade it")
    } else {
        Finding::ok("database", told)
    });
    let skew = if facts.now < before {
        before - facts.now
    } else {
        (facts.now - after).max(chrono::Duration::zero())
    };
    let skew = skew.to_std().unwrap_or_default();
    let told = format!("{} between this machine and the database", written_duration(skew));
    let remedy = "let NTP set the clocks: signatures of webhooks are judged by them";
    found.push(match skew {
        s if s > SKEW[1] => Finding::fail("clock", told, remedy),
        s if s > SKEW[0] => Finding::warn("clock", told, remedy),
        _ => Finding::ok("clock", told),
    });
    Some(facts)
}

pub(super) fn roles(facts: &ServerFacts) -> Finding {
    let login = &facts.login;
    match (facts.may_be_app, facts.may_be_engine) {
        (None, _) | (_, None) => Finding::fail(
            "roles",
            "the roles switchyard_app and switchyard_engine are not there",
            "run `switchyard migrate`, which makes them",
        ),
        (Some(true), Some(true)) if facts.superuser || facts.bypasses_rls => Finding::warn(
            "roles",
            format!("`{login}` is more than it needs to be: a superuser or one with BYPASSRLS"),
            "give the program a login of its own: create role switchyard login password '...' noinherit; grant switchyard_app, switchyard_engine to switchyard",
        ),
        (Some(true), Some(true)) => Finding::ok("roles", format!("`{login}` may take both roles")),
        _ => Finding::fail(
            "roles",
            format!("`{login}` may not take both roles"),
            format!("as the owner: grant switchyard_app, switchyard_engine to \"{login}\""),
        ),
    }
}

/// Whether one more process of all parts fits into what the server allows.
pub(super) fn budget(facts: &ServerFacts, config: &DbConfig) -> Finding {
    let needs = i64::from(2 * config.app_connections + config.engine_connections + DIRECT);
    let usable = i64::from(facts.max_connections - facts.reserved);
    let free = usable - facts.in_use;
    let found = format!(
        "a process of all parts uses up to {needs} connections; {free} of {usable} are free"
    );
    let remedy =
        "raise max_connections, or lower database.app_connections and the number of processes";
    if needs > usable {
        Finding::fail("connections", found, remedy)
    } else if needs > free {
        Finding::warn("connections", found, remedy)
    } else {
        Finding::ok("connections", found)
    }
}

pub(super) async fn migrations(url: &SecretString) -> Finding {
    match switchyard_store::migration_status(url).await {
        Ok(s) if s.foreign > 0 => Finding::fail(
            "migrations",
            format!("{} are in place that this program does not know", s.foreign),
            "run the newer Switchyard that made them",
        ),
        Ok(s) if s.applied == s.known => {
            Finding::ok("migrations", format!("all {} are in place", s.known))
        }
        Ok(s) => Finding::fail(
            "migrations",
            format!("{} of {} are in place", s.applied, s.known),
            "run `switchyard migrate`",
        ),
        Err(e) => Finding::fail("migrations", chain(&e), database_help::remedy(&e)),
    }
}

/// Whether somebody schedules and works, and whether work gets done.
pub(super) async fn running(base: &Base) -> Vec<Finding> {
    let away =
        |check, e: StoreFault| Finding::fail(check, chain(&e), "see `database` and `roles` above");
    let leader = match inspect::has_leader(&base.db).await {
        Ok(true) => Finding::ok("scheduler", "one leads"),
        Ok(false) => Finding::warn(
            "scheduler",
            "none leads: retries, scheduled jobs and the cron table wait",
            "start `switchyard schedule` (or `up`)",
        ),
        Err(e) => away("scheduler", e),
    };
    let workers = match jobs::workers(&base.db).await {
        Ok(rows) => match rows.iter().filter(|w| w.is_live()).count() {
            0 => Finding::warn("workers", "none is alive", "start `switchyard work` (or `up`)"),
            n => Finding::ok("workers", format!("{n} alive")),
        },
        Err(e) => away("workers", e),
    };
    let queues = match jobs::queues(&base.db).await {
        Ok(queues) => of_queues(&queues),
        Err(e) => away("queues", e),
    };
    let keys = match sealing::missing_keys(&base.db).await {
        Ok(missing) => of_keys(&missing),
        Err(e) => away("keys", e),
    };
    let portals = match pulse::silent(&base.db).await {
        Ok(silent) => of_portals(&silent),
        Err(e) => away("portals", e),
    };
    let commissions = match backlog(base).await {
        Ok(open) => of_commissions(&open),
        Err(e) => away("commissions", e),
    };
    vec![leader, workers, queues, keys, portals, commissions]
}

async fn backlog(base: &Base) -> Result<Backlog, StoreFault> {
    let mut tx = base.db.begin(Scope::Platform).await?;
    let open = commissions::backlog(&mut tx).await?;
    tx.rollback().await?;
    Ok(open)
}

/// Whether events wait for their booking for longer than the catch-up lets them.
fn of_commissions(open: &Backlog) -> Finding {
    let Backlog { pending, oldest_pending, waiting, refused } = *open;
    let oldest = oldest_pending.unwrap_or_default();
    let rest = format!("{waiting} wait for their conversion, {refused} were refused");
    if oldest > UNBOOKED {
        return Finding::warn(
            "commissions",
            format!(
                "{pending} events wait for their booking, the oldest for {}; {rest}",
                written_duration(Duration::from_secs(oldest.as_secs()))
            ),
            "`switchyard commission unbooked` lists them; look why their jobs fail: \
             `switchyard jobs list --kind commission.book --state discarded`",
        );
    }
    Finding::ok("commissions", format!("{pending} events are being booked; {rest}"))
}

fn of_portals(silent: &[String]) -> Finding {
    if silent.is_empty() {
        return Finding::ok("portals", "none is silent for longer than is usual");
    }
    Finding::warn(
        "portals",
        format!("silent for longer than is usual: {}", silent.join(", ")),
        "ask the sender whether it changed its address, key or signature; `switchyard portals list` \
         shows the last event and the usual gap",
    )
}

fn of_keys(missing: &[(String, i64)]) -> Finding {
    if missing.is_empty() {
        return Finding::ok("keys", "every open job with encrypted arguments can be opened here");
    }
    let told: Vec<String> = missing.iter().map(|(k, n)| format!("{n} need the key {k}")).collect();
    Finding::warn(
        "keys",
        format!("open jobs cannot be opened with the keys of this process: {}", told.join(", ")),
        "add these keys to `encryption.keys`, behind the first one; then `switchyard keys rotate`",
    )
}

fn of_queues(queues: &[jobs::QueueSummary]) -> Finding {
    let parked = |q: &jobs::QueueSummary| -> i64 {
        let of = |state| q.counts.get(&state).copied().unwrap_or(0);
        of(JobState::Discarded) + of(JobState::Quarantined)
    };
    let dead: i64 = queues.iter().map(parked).sum();
    let late: Vec<String> = queues
        .iter()
        .filter(|q| !q.paused && q.oldest_waiting.is_some_and(|age| age > STUCK))
        .map(|q| q.queue.clone())
        .collect();
    if !late.is_empty() {
        return Finding::warn(
            "queues",
            format!(
                "work has waited for more than {} in {}",
                written_duration(STUCK),
                late.join(", ")
            ),
            "start more workers, or find out what holds them up: `switchyard jobs list --state running`",
        );
    }
    if dead > 0 {
        return Finding::warn(
            "queues",
            format!("{dead} dead letters wait for somebody"),
            "`switchyard jobs list --state discarded`, then retry or discard each",
        );
    }
    Finding::ok("queues", "nothing waits for long, no dead letters")
}

fn chain(e: &StoreFault) -> String {
    switchyard_queue::causes(e).join(": ")
}
