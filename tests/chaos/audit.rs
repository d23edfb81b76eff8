//! What must hold when the dust has settled: nothing lost, nothing twice.

use crate::fleet::Fleet;
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// The figures of one run.
#[derive(Debug)]
pub struct Findings {
    /// Webhooks answered with 2xx.
    pub accepted: usize,
    /// Accepted webhooks without a lead, an assignment or a message.
    pub lost: usize,
    /// Leads, assignments or messages that are there twice, and messages that came to a provider's
    /// socket twice.
    pub duplicated: usize,
    /// Messages whose state is not what their provider's socket saw: sent but never there, there
    /// but not known to be sent, or not sent at all.
    pub contradictions: usize,
    /// Messages that a kill left in doubt.
    pub unknown: usize,
    /// From the kill of a worker until its jobs ran again, by job.
    pub resumed: Vec<Duration>,
}

/// Waits until the line is empty: no event unjudged, no job open (dead letters stay).
pub async fn settle(fleet: &Fleet, patience: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    loop {
        let mut owner = fleet.owner().await?;
        let open: Result<(i64, i64), _> = sqlx::query_as(
            "select (select count(*) from engine.jobs where stage < 2
                 and run_at < now() + interval '10 minutes' and kind <> 'chaos.note'),
                    (select count(*) from switchyard.webhook_events where state = 'received')",
        )
        .fetch_one(&mut owner)
        .await;
        match open {
            Ok((0, 0)) => return Ok(()),
            open => ensure!(Instant::now() < until, "the line does not come to rest: {open:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Counts everything.
pub async fn audit(fleet: &Fleet, events: &[String]) -> anyhow::Result<Findings> {
    let mut owner = fleet.owner().await?;
    let leads: Vec<(uuid::Uuid, uuid::Uuid, i64, i64, i64)> = sqlx::query_as(
        "select l.event_id, l.id,
           (select count(*) from switchyard.lead_assignments a where a.lead_id = l.id),
           (select count(*) from switchyard.messages m where m.lead_id = l.id),
           (select count(*) from (select 1 from switchyard.messages m where m.lead_id = l.id
              group by agent_id, channel having count(*) > 1) twice)
         from switchyard.leads l",
    )
    .fetch_all(&mut owner)
    .await?;
    let mut by_event: HashMap<String, usize> = HashMap::new();
    let (mut lost, mut duplicated) = (0, 0);
    for (event, lead, assignments, messages, twice) in &leads {
        *by_event.entry(event.to_string()).or_default() += 1;
        if *assignments == 0 || *messages == 0 {
            println!("lead {lead} has {assignments} assignments and {messages} messages");
            lost += 1;
        }
        duplicated += usize::from(*assignments > 1) + usize::from(*twice > 0);
    }
    for event in events {
        match by_event.get(event) {
            None => lost += 1,
            Some(1) => {}
            Some(_) => duplicated += 1,
        }
    }
    // A retried webhook is answered with the first event's id, so two answers may name one event;
    // two events for one lead may not be.
    ensure!(leads.len() == events.len(), "{} leads for {} accepted", leads.len(), events.len());
    let states = messages(&mut owner).await?;
    let (twice, contradictions) = check_sockets(fleet, &states);
    duplicated += twice;
    let unknown = states.values().filter(|s| *s == "unknown").count();
    let resumed = resumed(fleet, &mut owner).await?;
    Ok(Findings { accepted: events.len(), lost, duplicated, contradictions, unknown, resumed })
}

async fn messages(owner: &mut sqlx::PgConnection) -> anyhow::Result<BTreeMap<String, String>> {
    let rows: Vec<(uuid::Uuid, String)> =
        sqlx::query_as("select id, state from switchyard.messages").fetch_all(owner).await?;
    Ok(rows.into_iter().map(|(id, state)| (id.to_string(), state)).collect())
}

/// Every message that is `sent` came exactly once to a socket; one in doubt at most once; no other
/// state is left. Gives how many came twice, and how many do not fit.
fn check_sockets(fleet: &Fleet, states: &BTreeMap<String, String>) -> (usize, usize) {
    let mut contradictions = 0;
    let mut came: HashMap<String, usize> = HashMap::new();
    let both = fleet.smtp.record().all().into_iter().chain(fleet.twilio.record().all());
    for received in both {
        // An e-mail's mark is its Message-ID, `<id@host>`. An SMTP session that was cut before the
        // end of the data is no message.
        let marker = received.marker.trim_start_matches('<');
        let id = marker.split('@').next().unwrap_or_default();
        *came.entry(id.to_owned()).or_default() += usize::from(received.accepted);
    }
    for (id, state) in states {
        let times = came.get(id).copied().unwrap_or_default();
        let fits = match state.as_str() {
            "sent" => times == 1,
            "unknown" => times <= 1,
            _ => false,
        };
        if !fits {
            println!("message {id} is `{state}` and came {times} times");
            contradictions += 1;
        }
    }
    // A message that no table knows would be one too many at the socket.
    let strangers = came.keys().filter(|id| !states.contains_key(*id)).count();
    (came.values().filter(|n| **n > 1).count(), contradictions + strangers)
}

/// How long the jobs of a killed worker lay before they ran again.
async fn resumed(fleet: &Fleet, owner: &mut sqlx::PgConnection) -> anyhow::Result<Vec<Duration>> {
    let crashes: Vec<(i32, f64)> = sqlx::query_as(
        "select w.pid, extract(epoch from clock_timestamp() - a.ended_at)::float8
         from engine.job_attempts a join engine.workers w on w.id = a.worker
         where a.outcome = 'crash'",
    )
    .fetch_all(owner)
    .await?;
    let now = Instant::now();
    let killed: HashMap<u32, Instant> = fleet.killed.iter().copied().collect();
    let mut waits = Vec::new();
    for (pid, ago) in crashes {
        let pid = u32::try_from(pid).context("a process id")?;
        if let Some(at) = killed.get(&pid) {
            let since = now.duration_since(*at).as_secs_f64() - ago;
            waits.push(Duration::from_secs_f64(since.max(0.0)));
        }
    }
    waits.sort_unstable();
    Ok(waits)
}

impl Findings {
    /// Prints the figures and fails if anything was lost, came twice or does not fit together.
    pub fn judge(&self, what: &str) {
        let at = |share: f64| {
            let index = (self.resumed.len().max(1) - 1) as f64 * share;
            self.resumed.get(index as usize).map_or(0, Duration::as_millis)
        };
        println!(
            "{what}: accepted {}, lost {}, duplicated {}, in doubt {}; {} jobs of killed workers ran \
             again after {} ms (median), {} ms (longest)",
            self.accepted,
            self.lost,
            self.duplicated,
            self.unknown,
            self.resumed.len(),
            at(0.5),
            at(1.0),
        );
        let faults = (self.lost, self.duplicated, self.contradictions);
        assert_eq!(faults, (0, 0, 0), "{what}: {self:?}");
    }
}
