//! Running one attempt: the apalis worker, its layers, and the router by kind.
//!
//! From the outside in: settle (decides what is written and queues it), parallelize (a task of the
//! runtime for every attempt, so that CPU-bound jobs use all cores), catch-panic, and the router,
//! which looks the kind up, watches the clock and the signal to stop, and opens the attempt's span.

use crate::backend::JobBackend;
use crate::flight::Flying;
use crate::handoff::{Claimed, Handoff};
use crate::meters::Meters;
use crate::settle::{SettleItem, SettleQueue};
use crate::verdict::{Ended, Verdict, decide};
use apalis::layers::catch_panic::{CatchPanicLayer, PanicError};
use apalis_core::error::BoxDynError;
use apalis_core::monitor::Monitor;
use apalis_core::task::Task;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use switchyard_queue::{Dispatcher, RetryPolicy, SystemEntropy};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tower::{Layer, Service};
use tracing::Instrument;

/// The monitor over the one apalis worker of this process.
pub(crate) fn monitor(
    handoff: Arc<Handoff>,
    queue: SettleQueue,
    settle: SettleLayer,
    router: Router,
) -> Monitor {
    Monitor::new()
        .register(move |restarts| {
            if restarts > 0 {
                tracing::error!(restarts, "the apalis worker was started anew");
            }
            let backend = JobBackend::new(Arc::clone(&handoff), settle.clone(), queue.clone());
            WorkerBuilder::new("switchyard")
                .backend(backend)
                .parallelize(spawn)
                .layer(CatchPanicLayer::with_panic_handler(panicked as fn(&Payload) -> PanicError))
                .build(router.clone())
        })
        // Only a defect of our own can end it (the backend never errs), and then the other jobs
        // should go on. What was running is dropped; its leases lapse and it runs again.
        .should_restart(|_, error| {
            tracing::error!(%error, "the apalis worker ended unexpectedly");
            true
        })
}

type Payload = Box<dyn Any + Send>;

/// A task that ends when apalis drops it, instead of running on unseen.
fn spawn<F>(attempt: F) -> AbortOnDropHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(attempt))
}

fn panicked(payload: &Payload) -> PanicError {
    let message = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic with a payload that is no text".to_owned());
    PanicError(message)
}

/// Finds the job's code by its kind and runs it.
#[derive(Clone)]
pub(crate) struct Router {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) cancel_grace: Duration,
}

impl Service<Task<Claimed>> for Router {
    type Response = Ended;
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<Ended, BoxDynError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Claimed>) -> Self::Future {
        let Claimed { flying, slot, .. } = task.args;
        let (dispatcher, grace) = (self.dispatcher.clone(), self.cancel_grace);
        let span = span(&flying);
        async move {
            let ended = attempt(&dispatcher, &flying, grace).await;
            // Freed here, inside the attempt's own task, and by unwinding when it panics.
            drop(slot);
            Ok(ended)
        }
        .instrument(span)
        .boxed()
    }
}

fn span(flying: &Flying) -> tracing::Span {
    let job = &flying.job;
    let span = tracing::info_span!(
        "job",
        job = %job.id,
        kind = job.kind,
        attempt = job.attempt,
        request_id = tracing::field::Empty,
        trace_id = tracing::field::Empty,
        span_id = tracing::field::Empty,
    );
    if let Some(request_id) = &job.request_id {
        span.record("request_id", request_id.as_str());
    }
    if let Some(trace) = job.trace {
        span.record("trace_id", format_args!("{:032x}", trace.trace_id));
        span.record("span_id", format_args!("{:016x}", trace.span_id));
    }
    span
}

async fn attempt(dispatcher: &Dispatcher, flying: &Flying, grace: Duration) -> Ended {
    if flying.stopped().is_some() {
        return Ended::NeverBegan;
    }
    // A token of its own that fires at the end of the attempt, whatever that is, so that what the
    // job started in the background hears of a timeout or a panic too.
    let token = flying.cancel.child_token();
    let _at_the_end = token.clone().drop_guard();
    let overdue = async {
        flying.cancel.cancelled().await;
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            () = flying.forfeited() => {}
        }
    };
    let run = dispatcher.run_reporting(Arc::clone(&flying.job), token, flying.progress.clone());
    tokio::select! {
        biased;
        result = run => Ended::Returned(result),
        () = tokio::time::sleep(flying.job.timeout) => Ended::TimedOut,
        () = overdue => Ended::Dropped,
    }
}

/// The outermost layer: turns what an attempt came to into a result and queues it for writing.
#[derive(Clone)]
pub(crate) struct SettleLayer {
    pub(crate) queue: SettleQueue,
    pub(crate) policy: RetryPolicy,
    pub(crate) meters: Arc<Meters>,
}

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;

    fn layer(&self, inner: S) -> SettleService<S> {
        SettleService { inner, layer: self.clone() }
    }
}

/// See [`SettleLayer`].
pub(crate) struct SettleService<S> {
    inner: S,
    layer: SettleLayer,
}

impl<S> Service<Task<Claimed>> for SettleService<S>
where
    S: Service<Task<Claimed>, Response = Ended, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<(), Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An error here would end the worker. None of the layers inside gives one.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, mut task: Task<Claimed>) -> Self::Future {
        let ticket = task.args.ticket.take();
        let flying = Arc::clone(&task.args.flying);
        let layer = self.layer.clone();
        let started = task.args.slot.is_some();
        if started {
            layer.meters.started(&flying.job);
        }
        let begun = Instant::now();
        let attempt = self.inner.call(task);
        async move {
            let ended = attempt.await.unwrap_or_else(|error| ended_by(&error));
            let ran = begun.elapsed();
            let verdict =
                decide(&flying.job, ended, flying.stopped(), &layer.policy, &SystemEntropy);
            if started {
                layer.meters.finished(&flying.job, verdict.word(), ran);
            }
            log(&flying, &verdict, ran);
            if let (Verdict::Write(result), Some(ticket)) = (verdict, ticket) {
                layer.queue.put(SettleItem::new(&flying, result, ran, ticket)).await;
            }
            Ok(())
        }
        .boxed()
    }
}

fn ended_by(error: &BoxDynError) -> Ended {
    if let Some(PanicError(message)) = error.downcast_ref() {
        return Ended::Panicked(message.clone());
    }
    match error.downcast_ref::<JoinError>() {
        Some(join) if join.is_cancelled() => Ended::Dropped,
        _ => Ended::Panicked(error.to_string()),
    }
}

/// The one place where the end of an attempt is logged.
fn log(flying: &Flying, verdict: &Verdict, ran: Duration) {
    let job = &flying.job;
    let (outcome, seconds) = (verdict.word(), ran.as_secs_f64());
    let trace = || job.trace.map(|t| format!("{:032x}", t.trace_id));
    match (verdict.error(), flying.stopped()) {
        (Some(error), _) => tracing::warn!(
            job = %job.id, kind = job.kind, attempt = job.attempt, max_attempts = job.max_attempts,
            request_id = job.request_id, trace_id = trace(), outcome, seconds, class = error.class,
            error = error.message, "attempt failed"
        ),
        (None, Some(why)) => tracing::info!(
            job = %job.id, kind = job.kind, attempt = job.attempt, request_id = job.request_id,
            trace_id = trace(), outcome, seconds, ?why, "attempt stopped"
        ),
        (None, None) => tracing::debug!(
            job = %job.id, kind = job.kind, attempt = job.attempt, outcome, seconds, "attempt ended"
        ),
    }
}
