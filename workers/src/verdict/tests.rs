//! Every way an attempt can end, against every reason to stop.

use super::*;
use switchyard_queue::{Fence, JobId, LaneId, SeededEntropy, Settled, WorkerId};

fn job(attempt: i16, max_attempts: i16) -> ClaimedJob {
    ClaimedJob {
        id: JobId::new(),
        fence: Fence(1),
        worker: WorkerId(1),
        lease: Duration::from_secs(30),
        lane: LaneId(1),
        kind: "test".to_owned(),
        args: serde_json::Value::Null,
        priority: 0,
        attempt,
        max_attempts,
        crashes: 0,
        timeout: Duration::from_millis(1500),
        tenant: None,
        trace: None,
        request_id: None,
        created_at: chrono::Utc::now(),
        run_at: chrono::Utc::now(),
        limited: false,
    }
}

fn verdict_of(attempt: i16, ended: Ended, stopped: Option<Stop>) -> String {
    let policy = RetryPolicy {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(2),
        floor: Duration::from_secs(2),
    };
    match decide(&job(attempt, 3), ended, stopped, &policy, &SeededEntropy::new(1)) {
        Verdict::Write(result) => format!("{result:?}"),
        other => format!("{other:?}"),
    }
}

fn failed(error: JobError) -> Ended {
    Ended::Returned(Err(error))
}

const REASONS: [Option<Stop>; 7] = [
    None,
    Some(Stop::Operator),
    Some(Stop::Drain),
    Some(Stop::Doubt),
    Some(Stop::Lost),
    Some(Stop::Misfit),
    Some(Stop::Stale),
];

#[test]
fn a_success_counts_whatever_the_reason_to_stop_unless_the_claim_is_lost() {
    for reason in REASONS {
        let done = verdict_of(1, Ended::Returned(Ok(Outcome::Done)), reason);
        let expected = if reason == Some(Stop::Lost) { "Nothing" } else { "Completed" };
        assert_eq!(done, expected, "{reason:?}");
        let settled = Ended::Returned(Ok(Outcome::Settled(Settled::committed())));
        assert_eq!(verdict_of(1, settled, reason), "Settled", "{reason:?}");
    }
}

#[test]
fn a_failure_is_tried_again_until_the_attempts_are_used_up() {
    let again = verdict_of(2, failed(JobError::retry("no")), None);
    assert_eq!(again, r#"Retry(2s, ErrorReport { class: "error", message: "no" })"#);
    let last = verdict_of(3, failed(JobError::retry("no")), None);
    assert_eq!(last, r#"Discard(ErrorReport { class: "error", message: "no" })"#);
}

#[test]
fn the_wait_that_the_other_side_asked_for_wins_over_the_policy() {
    let after = Duration::from_secs(77);
    let again = verdict_of(1, failed(JobError::retry_after(after, "busy")), None);
    assert!(again.starts_with("Retry(77s"), "{again}");
    let last = verdict_of(3, failed(JobError::retry_after(after, "busy")), None);
    assert!(last.starts_with("Discard"), "{last}");
}

#[test]
fn a_permanent_failure_is_a_dead_letter_at_once_and_a_lost_one_writes_nothing() {
    let dead = verdict_of(1, failed(JobError::permanent("bad address")), None);
    assert!(dead.starts_with("Discard"), "{dead}");
    for reason in REASONS {
        assert_eq!(verdict_of(1, failed(JobError::lost("gone")), reason), "Nothing");
    }
}

#[test]
fn panics_and_timeouts_are_failures_with_a_class_of_their_own() {
    let panic = verdict_of(1, Ended::Panicked("boom\0".to_owned()), None);
    assert_eq!(panic, "Retry(2s, ErrorReport { class: \"panic\", message: \"boom\u{fffd}\" })");
    let timeout = verdict_of(3, Ended::TimedOut, None);
    let message = "the attempt took longer than 1.5 s";
    let expected = format!("Discard(ErrorReport {{ class: \"timeout\", message: \"{message}\" }})");
    assert_eq!(timeout, expected);
}

#[test]
fn what_an_operator_stopped_is_cancelled_however_it_ended() {
    let operator = Some(Stop::Operator);
    let endings = [
        failed(JobError::retry("interrupted")),
        failed(JobError::permanent("interrupted")),
        Ended::Returned(Ok(Outcome::Snooze(Duration::from_secs(1)))),
        Ended::Returned(Ok(Outcome::Cancel("told to".to_owned()))),
        Ended::Panicked("interrupted".to_owned()),
        Ended::TimedOut,
        Ended::Dropped,
        Ended::NeverBegan,
    ];
    for ended in endings {
        let what = format!("{ended:?}");
        assert!(verdict_of(1, ended, operator).starts_with("Cancelled"), "{what}");
    }
}

#[test]
fn what_the_worker_stopped_itself_uses_up_no_attempt() {
    for reason in [Stop::Drain, Stop::Doubt, Stop::Misfit, Stop::Stale] {
        for attempt in [1, 3] {
            for ended in [failed(JobError::retry("cut short")), Ended::Dropped, Ended::NeverBegan] {
                let what = format!("{ended:?} {reason:?}");
                assert_eq!(verdict_of(attempt, ended, Some(reason)), "GiveBack", "{what}");
            }
        }
        // These would have happened anyway.
        assert!(verdict_of(1, Ended::Panicked("x".into()), Some(reason)).starts_with("Retry"));
        let permanent = failed(JobError::permanent("x"));
        assert!(verdict_of(1, permanent, Some(reason)).starts_with("Discard"));
    }
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let long = "é".repeat(MAX_MESSAGE);
    let text = clean(long);
    assert!(text.len() <= MAX_MESSAGE + '…'.len_utf8(), "{}", text.len());
    assert!(text.ends_with("é…"));
}
