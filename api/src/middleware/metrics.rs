//! What the metrics of the front mean, for `/metrics`.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Upper bounds in seconds for every histogram whose name ends in `_seconds`: from a commit on a
/// quiet machine to the longest request.
pub const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Tells the recorder, which must be installed before.
pub fn describe() {
    describe_counter!("switchyard_http_requests_total", "Requests by route, method and status.");
    describe_histogram!(
        "switchyard_http_request_duration_seconds",
        Unit::Seconds,
        "Time from the request's head to the answer's, by route."
    );
    describe_counter!("switchyard_http_panics_total", "Handlers that panicked.");
    describe_counter!(
        "switchyard_webhooks_total",
        "Deliveries by portal and outcome: accepted, duplicate, or the code of the refusal."
    );
    describe_counter!(
        "switchyard_refusal_samples_dropped_total",
        "Refusals that were counted but not kept, because too many came or the database was away."
    );
    describe_gauge!("switchyard_ingest_waiting", "Deliveries that wait for their commit.");
    describe_histogram!("switchyard_ingest_batch_events", "Events in one ingest transaction.");
    describe_histogram!(
        "switchyard_ingest_commit_seconds",
        Unit::Seconds,
        "Time of one ingest transaction."
    );
    describe_counter!(
        "switchyard_ingest_refused_total",
        "Deliveries refused because the queue was full, in events or in bytes."
    );
    describe_counter!("switchyard_ingest_writer_restarts_total", "Writers that broke down.");
    describe_counter!("switchyard_sign_in_throttled_total", "Sign-ins refused with 429.");
}
