//! The claim loop: finds lanes with work, claims in batches round them, and hands the jobs over.

use crate::Worker;
use crate::backoff::{Backoff, cause, jittered, within};
use crate::flight::Stop;
use crate::handoff::Claimed;
use crate::lanes::Lanes;
use crate::pace::Pace;
use crate::suspects::Suspects;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_queue::{ClaimRequest, JobStore, LaneId, LaneTake, Place, StoreError, WorkerId};

/// How often the active lanes are looked up while there is work.
const REFRESH: Duration = Duration::from_millis(250);
/// A look-up keeps this distance from the last one, in multiples of what that took.
const DISTANCE: u32 = 20;

struct Claims<S> {
    worker: Arc<Worker<S>>,
    lanes: Lanes,
    pace: Pace,
    suspects: Suspects,
    /// Lanes that wake-ups named and nobody here knows.
    unknown: HashSet<LaneId>,
    /// When the active lanes are to be looked up next.
    refresh_at: Instant,
    /// A claim brought something since the last look-up.
    fruitful: bool,
}

enum Plan {
    /// Claim from these lanes; `true`: it is one job of a lane with suspects.
    Claim(Vec<LaneTake>, bool),
    /// There is nothing to do until something happens, or this instant.
    Wait(Instant),
}

/// Claims until claiming is over. What it claimed last is handed over or given back.
pub(crate) async fn run<S: JobStore>(worker: Arc<Worker<S>>) {
    let now = Instant::now();
    let mut claims = Claims {
        lanes: Lanes::default(),
        pace: Pace::new(now),
        suspects: Suspects::default(),
        refresh_at: now,
        unknown: HashSet::new(),
        fruitful: false,
        worker: Arc::clone(&worker),
    };
    let mut backoff = Backoff::store();
    let mut session = worker.session.subscribe();
    let mut quiet = worker.quiet.subscribe();
    while !worker.no_more.is_cancelled() {
        let Some(id) = *session.borrow_and_update() else {
            tokio::select! {
                () = worker.no_more.cancelled() => return,
                _ = session.changed() => continue,
            }
        };
        if *quiet.borrow_and_update() {
            tokio::select! {
                () = worker.no_more.cancelled() => return,
                _ = quiet.changed() => continue,
            }
        }
        match claims.step(id).await {
            Ok(None) => backoff.reset(),
            Ok(Some(until)) => {
                backoff.reset();
                tokio::select! {
                    () = worker.no_more.cancelled() => return,
                    () = worker.flight.moved.notified() => {}
                    () = worker.signals.news.notified() => {}
                    _ = session.changed() => {}
                    _ = quiet.changed() => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                }
            }
            Err(error) => {
                tracing::warn!(error = cause(&error), "no jobs could be claimed; trying again");
                tokio::select! {
                    () = worker.no_more.cancelled() => return,
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
        }
    }
}

impl<S: JobStore> Claims<S> {
    /// Does one thing. `Some`: there is nothing more to do until that instant.
    async fn step(&mut self, id: WorkerId) -> Result<Option<Instant>, StoreError> {
        self.listen();
        if self.worker.flight.take_freed() {
            self.lanes.slot_freed();
        }
        if !self.unknown.is_empty() {
            self.ask().await?;
        }
        if self.room() > 0 && Instant::now() >= self.refresh_at {
            self.refresh().await?;
        }
        match self.plan() {
            Plan::Claim(takes, alone) => self.claim(id, takes, alone).await.map(|()| None),
            Plan::Wait(until) => Ok(Some(until)),
        }
    }

    /// Takes in the wake-ups.
    fn listen(&mut self) {
        let heard = self.worker.signals.take();
        if heard.everywhere {
            self.lanes.wake_all();
            self.refresh_at = Instant::now();
        }
        for lane in heard.lanes {
            if !self.lanes.woken(lane) {
                self.unknown.insert(lane);
            }
        }
        for ((lane, priority), at) in heard.work {
            if !self.lanes.work(lane, Place::before(priority, at)) {
                self.unknown.insert(lane);
            }
        }
    }

    /// Finds out whose the lanes are that wake-ups named. A lane is asked for once.
    async fn ask(&mut self) -> Result<(), StoreError> {
        let worker = &self.worker;
        let asked: Vec<LaneId> = self.unknown.iter().copied().collect();
        let look = worker.store.lanes_of(&worker.queues, &asked);
        let ours = within(worker.config.lease, "look lanes up", look).await?;
        self.lanes.told(&std::mem::take(&mut self.unknown), &ours);
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), StoreError> {
        let worker = &self.worker;
        let began = Instant::now();
        let look = worker.store.active_lanes(&worker.queues);
        let found = within(worker.config.lease, "find active lanes", look).await?;
        self.lanes.refresh(&found);
        let took = began.elapsed();
        let sweep = worker.config.poll_interval;
        let interval = if self.fruitful { REFRESH.min(sweep) } else { jittered(sweep) };
        // A long look-up steps over many dead rows; it must not be what the worker does.
        let interval = interval.max(took * DISTANCE);
        self.fruitful = false;
        self.refresh_at = Instant::now() + interval;
        Ok(())
    }

    /// How many jobs may be claimed now: free slots, and a little ahead.
    fn room(&mut self) -> usize {
        let worker = &self.worker;
        let ahead = self.pace.prefetch(Instant::now(), worker.flight.ended());
        let ahead = ahead.min(worker.config.claim_batch);
        // Claiming one by one is what costs most, so what lies ready is used up by half first.
        if worker.handoff.waiting() > ahead / 2 {
            return 0;
        }
        let wanted = worker.config.concurrency + ahead;
        wanted.saturating_sub(worker.flight.open()).min(worker.config.claim_batch)
    }

    fn plan(&mut self) -> Plan {
        // Whatever frees a slot, empties the table or brings news ends the wait before that.
        let a_while = Instant::now() + self.worker.config.poll_interval;
        let empty = self.worker.flight.len() == 0;
        if self.suspects.hold(empty) {
            return Plan::Wait(a_while);
        }
        if let Some(lane) = self.suspects.turn(Instant::now()) {
            if empty {
                return Plan::Claim(vec![self.lanes.first(lane)], true);
            }
            return Plan::Wait(a_while);
        }
        let room = self.room();
        if room == 0 {
            return Plan::Wait(a_while);
        }
        let takes = self.lanes.next(room, self.suspects.lanes(), Instant::now());
        if takes.is_empty() {
            let until = self.refresh_at.min(a_while);
            return Plan::Wait(self.lanes.next_try().map_or(until, |at| at.min(until)));
        }
        Plan::Claim(takes, false)
    }

    async fn claim(
        &mut self,
        id: WorkerId,
        takes: Vec<LaneTake>,
        alone: bool,
    ) -> Result<(), StoreError> {
        let worker = Arc::clone(&self.worker);
        let lease = worker.config.lease;
        let (dead, kinds) = (worker.dead(), worker.kinds.claimed());
        let request =
            ClaimRequest { worker: id, kinds: &kinds, lanes: &takes, lease, dead: &dead, alone };
        let began = Instant::now();
        let claim = within(lease, "claim", worker.store.claim(&request)).await?;
        let (jobs, held_back) = (claim.jobs, claim.held_back);
        let places: Vec<(LaneId, Place)> = jobs.iter().map(|j| (j.lane, j.place())).collect();
        self.fruitful |= !jobs.is_empty();
        let suspects: Vec<LaneId> =
            jobs.iter().filter(|j| j.is_suspect()).map(|j| j.lane).collect();
        let admitted = worker.flight.admit(jobs, began + lease);
        if began.elapsed() > lease / 3 {
            // The next renewal might come when it is over.
            worker.renew_now.notify_one();
        }
        let (mut run, mut misfits) = (Vec::with_capacity(admitted.len()), Vec::new());
        for (flying, ticket) in admitted {
            // Nothing else was claimed while this loop waited, so alone then is alone now.
            if flying.job.is_suspect() && !alone {
                flying.stop(Stop::Misfit);
                misfits.push(Claimed::new((flying, ticket)));
            } else {
                run.push(Claimed::new((flying, ticket)));
            }
        }
        if alone {
            // A lane whose limits allow nothing now may have suspects still.
            let refused = held_back.iter().any(|h| h.allowed == 0);
            self.suspects.claimed_alone(!places.is_empty(), !suspects.is_empty(), refused);
        } else {
            self.lanes.claimed(&takes, &places, &held_back, Instant::now());
            self.suspects.met(&suspects, Instant::now());
        }
        if let Err(too_late) = worker.handoff.push(run) {
            misfits.extend(too_late);
        }
        worker.settle.clone().give_back(misfits).await;
        Ok(())
    }
}
