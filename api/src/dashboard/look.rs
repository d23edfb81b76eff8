//! One look after the other: what differs from the last one is rendered and numbered.

use super::data::Data;
use super::job_view::{JobRowPart, JobView};
use super::lines::{LineView, spoken};
use super::overview::{
    LinesPart, QueueView, QueuesPart, Tiles, TilesPart, WorkerView, WorkersPart,
};
use crate::Api;
use askama::Template;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_domain::LeadId;
use switchyard_queue::JobId;
use switchyard_store::overview::{self, JobMark, LeadLine};
use switchyard_store::{Result, Scope};

/// Looks between two looks at what changes slowly.
const SLOW: u64 = 4;

/// Everything that can be sent, each with the number of the look that changed it.
#[derive(Clone, Default)]
pub(super) struct Frame {
    pub seq: u64,
    pub data: Option<(Instant, Arc<Data>)>,
    pub parts: Vec<(&'static str, Part)>,
    pub rows: HashMap<JobId, Part>,
    pub leads: HashMap<LeadId, u64>,
}

#[derive(Clone)]
pub(super) struct Part {
    pub seq: u64,
    pub html: Arc<str>,
}

/// The poller's memory.
#[derive(Default)]
pub(super) struct Look {
    pub frame: Frame,
    rounds: u64,
    marks: HashMap<JobId, Option<JobMark>>,
    lines: HashMap<LeadId, LeadLine>,
    announced: Option<Instant>,
}

impl Look {
    /// Goes on with the numbers of an earlier poller.
    pub(super) fn after(frame: Frame) -> Self {
        Self { frame, ..Self::default() }
    }

    /// Looks at everything that somebody shows.
    pub(super) async fn round(
        &mut self,
        api: &Api,
        jobs: &[JobId],
        leads: &[LeadId],
    ) -> Result<()> {
        let before = self.frame.data.take().map(|(_, data)| data);
        let mut data = Data::fetch(api, before.as_deref()).await?;
        if before.is_none() || self.rounds.is_multiple_of(SLOW) {
            data.fetch_slow(api).await?;
        }
        self.rounds += 1;
        self.parts(api, before.as_deref(), &data);
        self.rows(api, &data, jobs).await?;
        self.leads(api, leads).await?;
        self.frame.data = Some((Instant::now(), Arc::new(data)));
        Ok(())
    }

    /// Renders anew what differs from the last look.
    fn parts(&mut self, api: &Api, before: Option<&Data>, data: &Data) {
        let now = api.clock.now();
        let differs = |same: fn(&Data, &Data) -> bool| before.is_none_or(|b| !same(b, data));
        if differs(|a, b| {
            (&a.queues, &a.workers, &a.attention, a.stuck, &a.buckets, a.slot)
                == (&b.queues, &b.workers, &b.attention, b.stuck, &b.buckets, b.slot)
        }) {
            self.render("tiles", &TilesPart { tiles: Tiles::new(data, now) });
        }
        if differs(|a, b| a.lines == b.lines) && !data.lines.is_empty() {
            let lines = LineView::all(&data.lines, now);
            self.render("lines", &LinesPart { lines, curl: String::new() });
            self.announce(before, data);
        }
        if differs(|a, b| a.queues == b.queues) {
            self.render("queues", &QueuesPart { queues: QueueView::all(data, now) });
        }
        if differs(|a, b| a.workers == b.workers) {
            self.render("workers", &WorkersPart { workers: WorkerView::all(data, now) });
        }
        let newest = format!(
            r#"<span id="newest" data-jobs="{}" data-event="{}" data-message="{}"></span>"#,
            data.jobs(),
            data.newest_event(),
            data.newest_message()
        );
        self.set("newest", newest);
    }

    /// Somebody who listens hears of the latest delivery, not more often than every 5 s.
    fn announce(&mut self, before: Option<&Data>, data: &Data) {
        let quiet = self.announced.is_none_or(|at| at.elapsed() > Duration::from_secs(5));
        if let (Some(_), true, Some(line)) = (before, quiet, data.lines.first()) {
            self.announced = Some(Instant::now());
            let text = askama::filters::escape(spoken(line), askama::filters::Html);
            let Ok(text) = text;
            self.set("announce", text.to_string());
        }
    }

    async fn rows(&mut self, api: &Api, data: &Data, ids: &[JobId]) -> Result<()> {
        self.marks.retain(|id, _| ids.contains(id));
        self.frame.rows.retain(|id, _| ids.contains(id));
        if ids.is_empty() {
            return Ok(());
        }
        let marks = overview::job_marks(&api.db, ids).await?;
        for id in ids {
            let mark = marks.get(id).copied();
            if self.marks.get(id) == Some(&mark) {
                continue;
            }
            if let Some(view) = JobView::find(api, data, *id).await? {
                self.frame.seq += 1;
                if let Ok(html) = (JobRowPart { j: view, oob: true }).render() {
                    let part = Part { seq: self.frame.seq, html: html.into() };
                    self.frame.rows.insert(*id, part);
                }
            }
            self.marks.insert(*id, mark);
        }
        Ok(())
    }

    async fn leads(&mut self, api: &Api, ids: &[LeadId]) -> Result<()> {
        self.lines.retain(|id, _| ids.contains(id));
        self.frame.leads.retain(|id, _| ids.contains(id));
        if ids.is_empty() {
            return Ok(());
        }
        let mut tx = api.db.begin(Scope::Platform).await?;
        let lines = overview::lines_of(&mut tx, ids).await?;
        tx.rollback().await?;
        for line in lines {
            let Some(id) = line.lead.as_ref().map(|l| l.id) else { continue };
            if self.lines.get(&id) != Some(&line) {
                self.frame.seq += 1;
                self.frame.leads.insert(id, self.frame.seq);
                self.lines.insert(id, line);
            }
        }
        Ok(())
    }

    fn render(&mut self, name: &'static str, template: &impl Template) {
        match template.render() {
            Ok(html) => self.set(name, html),
            Err(e) => tracing::error!(error = %e, name, "a part could not be rendered"),
        }
    }

    /// Sets a part; it is news only if it differs.
    pub(super) fn set(&mut self, name: &'static str, html: String) {
        let slot = self.frame.parts.iter_mut().find(|(n, _)| *n == name);
        if slot.as_ref().is_some_and(|(_, part)| *part.html == *html) {
            return;
        }
        self.frame.seq += 1;
        let part = Part { seq: self.frame.seq, html: html.into() };
        match slot {
            Some((_, old)) => *old = part,
            None => self.frame.parts.push((name, part)),
        }
    }
}
