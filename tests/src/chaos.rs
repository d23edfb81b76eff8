//! Kinds of job for tests that kill workers, and what the jobs tell the test's witness.
//!
//! Every run keeps a connection to the witness from its start to its end and waits for an answer to
//! whatever it says there. So the witness hears things in the order in which they happened, over
//! all processes, and a run whose process is gone falls silent.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use switchyard_queue::{
    Context, ErrorClass, Job, JobError, JobResult, NewJob, Options, Outcome, QueueName, Registry,
};
use switchyard_store::effects::{self, EffectOutcome, EffectState};
use switchyard_store::{Db, StoreFault};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

const QUEUE: QueueName = QueueName("chaos");
/// What [`Commit`] writes. No program knows this kind, so whatever was written stays to be counted.
pub const NOTE: &str = "chaos.note";
const NOTES: QueueName = QueueName("chaos-notes");

/// What the jobs get.
#[derive(Clone)]
pub struct Stage {
    /// The database.
    pub db: Db,
    /// Where the witness listens.
    pub witness: SocketAddr,
}

/// The table of kinds.
#[must_use]
pub fn registry() -> Registry<Stage> {
    Registry::new().with::<Poison>().with::<Sleep>().with::<Effect>().with::<Commit>()
}

/// What a run says, a line each. The answer is an empty line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// It begins: which job of the test, under which fence, in which process.
    Start {
        /// The number that the test gave the job.
        n: u32,
        /// The claim.
        fence: i64,
        /// The process.
        pid: u32,
        /// The time that it takes it to be, in seconds since 1970.
        clock: i64,
    },
    /// The call that must never come twice for one job. It takes this long to be answered.
    Call {
        /// Milliseconds.
        ms: u64,
    },
    /// The store refused to let the run write: the claim is over.
    Refused,
    /// It is over. Said before the worker settles the job.
    End,
}

/// A run's connection to the witness.
struct Testimony(BufReader<TcpStream>);

impl Testimony {
    async fn begin(cx: &Context<Stage>, n: u32) -> Result<Self, JobError> {
        let mut testimony = Self(BufReader::new(TcpStream::connect(cx.state().witness).await?));
        let (fence, pid) = (cx.job().fence.0, std::process::id());
        let clock = cx.clock().now().timestamp();
        testimony.say(&Said::Start { n, fence, pid, clock }).await?;
        Ok(testimony)
    }

    async fn say(&mut self, what: &Said) -> Result<(), JobError> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        self.0.write_all(line.as_bytes()).await?;
        line.clear();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(JobError::retry("the witness is gone"));
        }
        Ok(())
    }

    /// Passes an answer of the store on, and tells the witness if it is a refusal.
    async fn heard<T>(&mut self, answer: Result<T, JobError>) -> Result<T, JobError> {
        if let Err(error) = &answer
            && error.class() == ErrorClass::Lost
        {
            self.say(&Said::Refused).await?;
        }
        answer
    }
}

/// Takes its worker's process down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Poison {
    /// The test's number.
    pub n: u32,
}

impl Job for Poison {
    type State = Stage;

    const KIND: &'static str = "chaos.poison";
    const ABOUT: &'static str = "Takes its worker's process down.";
    const QUEUE: QueueName = QUEUE;

    async fn run(self, cx: &Context<Stage>) -> JobResult {
        Testimony::begin(cx, self.n).await?;
        std::process::abort()
    }
}

/// Takes its time.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sleep {
    /// The test's number.
    pub n: u32,
    /// How long it takes.
    pub ms: u64,
}

impl Job for Sleep {
    type State = Stage;

    const KIND: &'static str = "chaos.sleep";
    const ABOUT: &'static str = "Takes its time.";
    const QUEUE: QueueName = QUEUE;

    async fn run(self, cx: &Context<Stage>) -> JobResult {
        let mut testimony = Testimony::begin(cx, self.n).await?;
        sleep(Duration::from_millis(self.ms)).await;
        testimony.say(&Said::End).await?;
        Ok(Outcome::Done)
    }
}

/// Calls the witness once: an effect outside the database, with intent, call and result.
#[derive(Debug, Serialize, Deserialize)]
pub struct Effect {
    /// The test's number.
    pub n: u32,
    /// How long it waits before the intent, and how long the call takes.
    pub ms: u64,
}

impl Effect {
    /// The effect's permanent name.
    #[must_use]
    pub fn key(n: u32) -> String {
        format!("chaos {n}")
    }

    /// Writes down that the call was made, and settles the job.
    async fn record(&self, cx: &Context<Stage>) -> JobResult {
        let begun = cx.state().db.begin_job(cx.job()).await;
        let mut tx = begun.map_err(StoreFault::into_job_error)?;
        let done = EffectOutcome::Done(json!({ "fence": cx.job().fence.0 }));
        effects::finish(&mut tx, &Self::key(self.n), done).await?;
        tx.done().await
    }
}

impl Job for Effect {
    type State = Stage;

    const KIND: &'static str = "chaos.effect";
    const ABOUT: &'static str = "Makes a call that must not be made twice.";
    const QUEUE: QueueName = QUEUE;

    async fn run(self, cx: &Context<Stage>) -> JobResult {
        let mut testimony = Testimony::begin(cx, self.n).await?;
        sleep(Duration::from_millis(self.ms)).await;
        let begun = cx.state().db.begin_job(cx.job()).await;
        let mut tx = testimony.heard(begun.map_err(StoreFault::into_job_error)).await?;
        match effects::begin(&mut tx, &Self::key(self.n)).await? {
            EffectState::New => tx.commit().await?,
            EffectState::InDoubt => {
                let outcome = testimony.heard(tx.cancelled("in doubt").await).await?;
                testimony.say(&Said::End).await?;
                return Ok(outcome);
            }
            EffectState::AlreadyDone(_) => return tx.done().await,
        }
        testimony.say(&Said::Call { ms: self.ms }).await?;
        loop {
            match testimony.heard(self.record(cx).await).await {
                Ok(outcome) => {
                    testimony.say(&Said::End).await?;
                    return Ok(outcome);
                }
                Err(error) if error.class() == ErrorClass::Lost => return Err(error),
                // The call was made; giving up now would leave it in doubt for no reason.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Writes a row and its own end in one commit. The row is a follow-up job, because that is what a
/// job's transaction can write without a table of the platform's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The test's number.
    pub n: u32,
    /// How long it waits before the transaction.
    pub ms: u64,
}

impl Job for Commit {
    type State = Stage;

    const KIND: &'static str = "chaos.commit";
    const ABOUT: &'static str = "Writes a row and its own end in one commit.";
    const QUEUE: QueueName = QUEUE;

    async fn run(self, cx: &Context<Stage>) -> JobResult {
        let mut testimony = Testimony::begin(cx, self.n).await?;
        sleep(Duration::from_millis(self.ms)).await;
        let begun = cx.state().db.begin_job(cx.job()).await;
        let mut tx = testimony.heard(begun.map_err(StoreFault::into_job_error)).await?;
        let args = json!({ "n": self.n });
        let note = NewJob::raw(NOTE, NOTES.0, Self::TIMEOUT, args, Options::new());
        tx.enqueue(cx.follow_up(note)).await?;
        let outcome = testimony.heard(tx.done().await).await?;
        testimony.say(&Said::End).await?;
        Ok(outcome)
    }
}
