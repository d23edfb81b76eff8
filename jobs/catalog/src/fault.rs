//! What a job says about a failure of the store.

use switchyard_queue::JobError;
use switchyard_store::StoreFault;

/// Turns the store's faults into a job's. A plain `?` would take every fault for one that may
/// pass; a lost lease and a database that is away have answers of their own.
pub(crate) trait OrFail<T> {
    /// The value, or what the job says.
    fn or_fail(self) -> Result<T, JobError>;
}

impl<T> OrFail<T> for Result<T, StoreFault> {
    fn or_fail(self) -> Result<T, JobError> {
        self.map_err(StoreFault::into_job_error)
    }
}

impl<T> OrFail<T> for Result<T, serde_json::Error> {
    fn or_fail(self) -> Result<T, JobError> {
        self.map_err(JobError::permanent)
    }
}
