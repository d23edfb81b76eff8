//! Jobs of one kind that run at the same moment, done in one transaction.
//!
//! A transaction of its own costs a job more than what it writes: some eight round trips and a wait for
//! the disk. So who comes while another's transaction is under way waits for its end, and then the first
//! of those who wait does the work of all (the group commit of databases, one floor up). Nobody waits for
//! company: a job that comes alone goes alone, at once.
//!
//! What fails for all is done again by each alone, so that nobody suffers for another's fault, and a job
//! that kills its worker is run alone by the engine before that.

use futures::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_queue::JobError;
use tokio::sync::{Semaphore, oneshot};

/// Jobs done in one transaction at most: enough that a transaction's own cost is small beside theirs, few
/// enough that its locks are held briefly.
const MOST: usize = 32;
/// Transactions at the same time: while one is written to disk, the next can be prepared.
const SIDE_BY_SIDE: usize = 2;

/// What one job gets.
pub(crate) type Answer<P> = Result<<P as Part>::Answer, JobError>;
/// What each of many gets, or what kept it from being done for all.
pub(crate) type AnswerAll<P> = Result<Vec<Answer<P>>, JobError>;

/// What one job asks for.
pub(crate) trait Part: Clone + Send + Sync + 'static {
    /// What it gets.
    type Answer: Send;

    /// Does what all of them ask for in one transaction; gives what becomes of each, in their order.
    ///
    /// # Errors
    /// What kept it from being done: then nothing was written for any of them.
    fn run(all: &[Self]) -> impl Future<Output = AnswerAll<Self>> + Send;
}

type Waiting<P> = (P, oneshot::Sender<Answer<P>>);

/// Where jobs of one kind and process meet. Cheap to clone.
pub(crate) struct Together<P: Part> {
    waiting: Arc<Mutex<VecDeque<Waiting<P>>>>,
    turns: Arc<Semaphore>,
}

impl<P: Part> Clone for Together<P> {
    fn clone(&self) -> Self {
        Self { waiting: Arc::clone(&self.waiting), turns: Arc::clone(&self.turns) }
    }
}

impl<P: Part> Default for Together<P> {
    fn default() -> Self {
        Self { waiting: Arc::default(), turns: Arc::new(Semaphore::new(SIDE_BY_SIDE)) }
    }
}

impl<P: Part> Together<P> {
    /// Does what this job asks for, with whoever else asks meanwhile.
    pub(crate) async fn run(&self, part: P) -> Answer<P> {
        let (tell, mut told) = oneshot::channel();
        self.enter(part.clone(), tell);
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut told => return or_alone(answer.ok(), part).await,
                turn = self.turns.acquire() => turn,
            };
            let batch = self.take();
            if turn.is_err() || batch.is_empty() {
                // Somebody else has taken this job along.
                return or_alone(told.await.ok(), part).await;
            }
            serve(batch).await;
        }
    }

    fn enter(&self, part: P, tell: oneshot::Sender<Answer<P>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((part, tell));
    }

    /// The next ones, without those who do not wait any more.
    fn take(&self) -> Vec<Waiting<P>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(_, tell)| !tell.is_closed());
        let n = waiting.len().min(MOST);
        waiting.drain(..n).collect()
    }
}

/// Without an answer (what was tried for all failed, or who tried it was stopped) the job goes alone.
async fn or_alone<P: Part>(answer: Option<Answer<P>>, part: P) -> Answer<P> {
    match answer {
        Some(answer) => answer,
        None => {
            let mut all = P::run(std::slice::from_ref(&part)).await?;
            all.pop().unwrap_or_else(|| Err(JobError::retry("the job got no answer")))
        }
    }
}

async fn serve<P: Part>(batch: Vec<Waiting<P>>) {
    let (parts, mut tells): (Vec<P>, Vec<_>) = batch.into_iter().unzip();
    // A panic is one job's fault too: whose, is seen when each goes alone.
    match AssertUnwindSafe(P::run(&parts)).catch_unwind().await {
        Ok(Ok(answers)) => {
            for (tell, answer) in tells.into_iter().zip(answers) {
                drop(tell.send(answer));
            }
        }
        Ok(Err(why)) if parts.len() == 1 => {
            if let Some(tell) = tells.pop() {
                drop(tell.send(Err(why)));
            }
        }
        Ok(Err(why)) => tracing::debug!(jobs = parts.len(), "each goes alone: {why:?}"),
        Err(_) => tracing::debug!(jobs = parts.len(), "each goes alone after a panic"),
    }
}

#[cfg(test)]
mod tests;
