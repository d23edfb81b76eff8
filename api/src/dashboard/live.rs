//! The live side: one poller for all viewers, running only while somebody looks, and one stream of
//! server-sent events a viewer. Events carry rendered parts and go out only when these changed.

use super::data::Data;
use super::error::Screen;
use super::look::{Frame, Look, Part};
use crate::{Api, ApiError};
use axum::Extension;
use axum::extract::Query;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switchyard_domain::LeadId;
use switchyard_queue::JobId;
use switchyard_store::Result;
use tokio::sync::watch;

/// Time between two looks: at most four events a second.
const TICK: Duration = Duration::from_millis(250);
/// A stream ends after this time and the browser comes again, so that somebody who was locked out
/// does not look on.
const LONGEST: Duration = Duration::from_secs(600);
/// Jobs on one screen.
const MOST_JOBS: usize = 100;
/// Streams at once.
const MOST_VIEWERS: usize = 500;

/// Shared by all viewers.
pub(super) struct Hub {
    api: Api,
    watched: Mutex<Watched>,
    frames: watch::Sender<Arc<Frame>>,
}

/// What somebody looks at.
#[derive(Default)]
struct Watched {
    polling: bool,
    viewers: usize,
    jobs: HashMap<JobId, usize>,
    leads: HashMap<LeadId, usize>,
}

impl Hub {
    pub(super) fn new(api: Api) -> Arc<Self> {
        let frames = watch::Sender::new(Arc::default());
        Arc::new(Self { api, watched: Mutex::default(), frames })
    }

    /// The present state: the poller's if it looked just now, else read anew.
    pub(super) async fn data(&self) -> Result<Arc<Data>> {
        let known = self.frames.borrow().data.clone();
        if let Some((_, data)) = known.filter(|(at, _)| at.elapsed() < TICK * 2) {
            return Ok(data);
        }
        let mut data = Data::fetch(&self.api, None).await?;
        data.fetch_slow(&self.api).await?;
        Ok(Arc::new(data))
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to look on somebody's behalf; `None` if too many do.
    fn view(self: &Arc<Self>, jobs: Vec<JobId>, lead: Option<LeadId>) -> Option<Viewer> {
        let mut watched = self.lock();
        if watched.viewers >= MOST_VIEWERS {
            return None;
        }
        watched.viewers += 1;
        for id in &jobs {
            *watched.jobs.entry(*id).or_default() += 1;
        }
        if let Some(id) = &lead {
            *watched.leads.entry(*id).or_default() += 1;
        }
        if !watched.polling {
            watched.polling = true;
            // What an earlier poller saw is old by now; only the numbering goes on.
            let seq = self.frames.borrow().seq;
            self.frames.send_replace(Arc::new(Frame { seq, ..Frame::default() }));
            tokio::spawn(poll(Arc::clone(self)));
        }
        drop(watched);
        let frames = self.frames.subscribe();
        Some(Viewer { hub: Arc::clone(self), frames, jobs, lead, seen: 0 })
    }

    /// What to look at; `None` if nobody looks any more, and then the poller has to end.
    fn wanted(&self) -> Option<(Vec<JobId>, Vec<LeadId>)> {
        let mut watched = self.lock();
        watched.polling = watched.viewers > 0;
        watched.polling.then(|| {
            (watched.jobs.keys().copied().collect(), watched.leads.keys().copied().collect())
        })
    }
}

/// One stream. Dropping it ends the looking.
struct Viewer {
    hub: Arc<Hub>,
    frames: watch::Receiver<Arc<Frame>>,
    jobs: Vec<JobId>,
    lead: Option<LeadId>,
    seen: u64,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        fn release<K: Hash + Eq>(map: &mut HashMap<K, usize>, key: &K) {
            if let Some(n) = map.get_mut(key) {
                *n -= 1;
                if *n == 0 {
                    map.remove(key);
                }
            }
        }
        let mut watched = self.hub.lock();
        watched.viewers -= 1;
        for id in &self.jobs {
            release(&mut watched.jobs, id);
        }
        if let Some(id) = &self.lead {
            release(&mut watched.leads, id);
        }
    }
}

impl Viewer {
    /// What this viewer has not seen yet.
    fn news(&mut self, overview: bool) -> VecDeque<Event> {
        let frame = Arc::clone(&self.frames.borrow_and_update());
        let new = |part: &Part| part.seq > self.seen;
        let event = |name: &str, part: &Part| Event::default().event(name).data(&*part.html);
        let parts = frame
            .parts
            .iter()
            .filter(|(name, part)| new(part) && (overview || matches!(*name, "health" | "newest")))
            .map(|(name, part)| event(name, part));
        let rows = self.jobs.iter().filter_map(|id| frame.rows.get(id));
        let rows = rows.filter(|part| new(part)).map(|part| event("row", part));
        let leads = self.lead.iter().filter_map(|id| frame.leads.get(id));
        let leads = leads
            .filter(|seq| **seq > self.seen)
            .map(|_| Event::default().event("lead").data("changed"));
        let news = parts.chain(rows).chain(leads).collect();
        self.seen = frame.seq;
        news
    }
}

/// The poller. It never ends over an error: the viewers are told, and it goes on.
async fn poll(hub: Arc<Hub>) {
    let mut look = Look::after(Frame::clone(&hub.frames.borrow()));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = hub.api.closing.cancelled() => {
                hub.lock().polling = false;
                return;
            }
        }
        let Some((jobs, leads)) = hub.wanted() else { return };
        let seq = look.frame.seq;
        let health = match look.round(&hub.api, &jobs, &leads).await {
            // Browsers ignore an event without data.
            Ok(()) => "<span></span>".to_owned(),
            Err(fault) => {
                tracing::debug!(error = %fault, "the dashboard could not look");
                r#"<p class="notice warn" role="alert">The database is not available. What you see is the last that was known; it goes on by itself.</p>"#.to_owned()
            }
        };
        look.set("health", health);
        if look.frame.seq != seq || look.frame.data.is_some() {
            hub.frames.send_replace(Arc::new(look.frame.clone()));
        }
    }
}

/// What a screen wants to hear of.
#[derive(Debug, Deserialize)]
pub(super) struct Wants {
    /// `overview`: all parts of the first screen.
    on: Option<String>,
    /// Ids of jobs on the screen, with commas between.
    jobs: Option<String>,
    /// The lead on the screen.
    lead: Option<LeadId>,
}

/// `GET /ops/live`
pub(super) async fn live(
    Extension(hub): Extension<Arc<Hub>>,
    Query(wants): Query<Wants>,
) -> Screen {
    let overview = wants.on.as_deref() == Some("overview");
    let jobs = wants.jobs.unwrap_or_default();
    let jobs = jobs.split(',').filter_map(|id| id.parse().ok()).take(MOST_JOBS).collect();
    let Some(viewer) = hub.view(jobs, wants.lead) else {
        let message = "too many screens are open at once; close some";
        return Err(ApiError::unavailable("too_many_screens", LONGEST, message).into());
    };
    let end = hub.api.closing.clone().cancelled_owned();
    let events = events(viewer, overview).take_until(Box::pin(async move {
        tokio::select! {
            () = end => {}
            () = tokio::time::sleep(LONGEST) => {}
        }
    }));
    let response = Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    Ok(response.into_response())
}

fn events(
    viewer: Viewer,
    overview: bool,
) -> impl Stream<Item = std::result::Result<Event, Infallible>> {
    stream::unfold((viewer, VecDeque::new()), move |(mut viewer, mut queue)| async move {
        while queue.is_empty() {
            queue = viewer.news(overview);
            if queue.is_empty() && viewer.frames.changed().await.is_err() {
                return None;
            }
        }
        queue.pop_front().map(|event| (Ok(event), (viewer, queue)))
    })
}

/// The address of a screen's live events.
pub(super) fn url(jobs: impl Iterator<Item = JobId>) -> String {
    let ids: Vec<String> = jobs.take(MOST_JOBS).map(|id| id.to_string()).collect();
    if ids.is_empty() {
        "/ops/live".to_owned()
    } else {
        format!("/ops/live?jobs={}", ids.join(","))
    }
}
