//! The apalis backend over what the claim loop hands over.
//!
//! It never errs: apalis ends a worker whose backend errs and settles nothing, so everything that
//! can fail (the database) is dealt with on the other side of the handoff.

use crate::execute::SettleLayer;
use crate::handoff::{Claimed, Handoff};
use crate::settle::{GiveBack, SettleQueue};
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use switchyard_queue::JobId;

/// Feeds apalis. Made anew whenever apalis restarts its worker; the handoff stays.
pub(crate) struct JobBackend {
    handoff: Arc<Handoff>,
    settle: SettleLayer,
    closing: Option<GiveBack>,
    queue: SettleQueue,
}

impl JobBackend {
    pub(crate) fn new(handoff: Arc<Handoff>, settle: SettleLayer, queue: SettleQueue) -> Self {
        Self { handoff, settle, closing: None, queue }
    }
}

impl Backend for JobBackend {
    type Task = Task<Claimed>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Claimed>, Infallible>>> {
        self.handoff.poll_next(cx).map(|claimed| {
            let id = claimed.flying.job.id.0.to_string();
            // Layers of apalis that trace or track panic on a task without an id.
            Some(Ok(TaskBuilder::new(claimed).task_id(TaskId::from_string(id)).build()))
        })
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        let closing =
            self.closing.get_or_insert_with(|| self.queue.clone().give_back(self.handoff.close()));
        closing.as_mut().poll(cx).map(Ok)
    }
}

impl BackendConfig for JobBackend {
    type Args = Claimed;
    type Id = JobId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = SettleLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> SettleLayer {
        self.settle.clone()
    }
}
