//! A filter as conditions for the database.

use super::Filter;
use sqlx::{Postgres, QueryBuilder};
use switchyard_queue::JobState;

/// The shortest text of which an index of trigrams can make use.
const TRIGRAM: usize = 3;

impl Filter {
    /// Whether open jobs can meet it.
    pub(in crate::engine::jobs) fn wants_open(&self) -> bool {
        self.finished_from.is_none()
            && self.finished_to.is_none()
            && (self.states.is_empty() || self.states.iter().any(|s| !s.is_final()))
    }

    /// Whether finished jobs can meet it.
    pub(in crate::engine::jobs) fn wants_finished(&self) -> bool {
        self.fingerprint.is_none()
            && !self.stuck
            && (self.states.is_empty() || self.states.iter().any(|s| s.is_final()))
    }

    /// Whether a sealed slice has an index that finds the few rows which meet it.
    pub(in crate::engine::jobs) fn is_indexed_when_sealed(&self) -> bool {
        !self.args.is_empty() || self.error.as_ref().is_some_and(|e| e.chars().count() >= TRIGRAM)
    }

    /// Stored numbers of the states; none for any.
    pub(in crate::engine::jobs) fn codes(&self) -> Vec<i16> {
        self.states.iter().map(|s| s.code()).collect()
    }

    /// The stages in which open jobs that meet it can be; `None` if in any.
    pub(in crate::engine::jobs) fn stages(&self) -> Option<Vec<i16>> {
        let open: Vec<_> = self.states.iter().filter(|s| !s.is_final()).collect();
        if open.is_empty() {
            return None;
        }
        let mut stages: Vec<i16> = open
            .into_iter()
            .flat_map(|state| match state {
                JobState::Scheduled | JobState::Retryable => &[1][..],
                JobState::Pending => &[2],
                JobState::Quarantined => &[4],
                JobState::Discarded => &[5],
                _ => &[0, 3],
            })
            .copied()
            .collect();
        stages.sort_unstable();
        stages.dedup();
        Some(stages)
    }

    /// Conditions on an open job `j` in lane `l`, each with `and` before it.
    pub(in crate::engine::jobs) fn push_open(&self, sql: &mut QueryBuilder<Postgres>) {
        if !self.states.is_empty() {
            sql.push(" and engine.job_state(j.stage, j.attempt, j.worker) = any(");
            sql.push_bind(self.codes()).push(")");
        }
        if let Some(fingerprint) = &self.fingerprint {
            sql.push(" and j.fingerprint = ").push_bind(fingerprint.clone());
        }
        if self.stuck {
            sql.push(
                " and engine.stuck_since(j.claimed_at, j.progress_at,
                   (select k.stuck_after_ms from engine.kinds k where k.kind = j.kind)) is not null",
            );
        }
        self.push_common(sql, "last_error");
    }

    /// Conditions on a finished job `j` in lane `l`, each with `and` before it.
    pub(in crate::engine::jobs) fn push_finished(&self, sql: &mut QueryBuilder<Postgres>) {
        if !self.states.is_empty() {
            sql.push(" and j.outcome = any(").push_bind(self.codes()).push(")");
        }
        self.push_common(sql, "error");
    }

    fn push_common(&self, sql: &mut QueryBuilder<Postgres>, error: &'static str) {
        if !self.kinds.is_empty() {
            sql.push(" and j.kind = any(").push_bind(self.kinds.clone()).push(")");
        }
        if let Some(queue) = &self.queue {
            sql.push(" and l.queue = ").push_bind(queue.clone());
        }
        if let Some(partition) = &self.partition {
            sql.push(" and l.partition = ").push_bind(partition.clone());
        }
        if let Some(tenant) = self.tenant {
            sql.push(" and j.tenant = ").push_bind(tenant);
        }
        if let Some(worker) = self.worker {
            sql.push(" and j.worker = ").push_bind(worker);
        }
        if let Some(request) = &self.request_id {
            sql.push(" and j.request_id = ").push_bind(request.clone());
        }
        if let Some(from) = self.created_from {
            sql.push(" and j.created_at >= ").push_bind(from);
        }
        if let Some(to) = self.created_to {
            sql.push(" and j.created_at < ").push_bind(to);
        }
        self.push_args(sql);
        self.push_error(sql, error);
    }

    /// Of those conditions the arguments'.
    pub(in crate::engine::jobs) fn push_args(&self, sql: &mut QueryBuilder<Postgres>) {
        for arg in &self.args {
            for (n, document) in arg.any.iter().enumerate() {
                sql.push(if n == 0 { " and (" } else { " or " });
                sql.push("j.args @> ").push_bind(document.clone());
            }
            sql.push(")");
        }
    }

    /// Of those conditions the error's.
    pub(in crate::engine::jobs) fn push_error(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        error: &'static str,
    ) {
        if let Some(text) = &self.error {
            sql.push(" and j.").push(error).push(" ilike ").push_bind(containing(text));
        }
    }
}

/// The pattern of texts that contain this one, whose own `%` and `_` mean themselves.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
