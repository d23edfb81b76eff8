//! What a running job says of how far it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest note that is kept, in characters.
const LONGEST_NOTE: usize = 200;

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// From 0 to 1, if the job can tell.
    pub fraction: Option<f32>,
    /// A few words for people.
    pub note: String,
}

/// Where a running job says how far it is, and where its worker hears of it. The latest word counts;
/// saying something never waits. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    latest: Report,
    /// It was said since it was taken last.
    fresh: bool,
    /// Everything that was said, if somebody wants to know.
    all: Option<Vec<Report>>,
}

impl Progress {
    /// One that remembers everything that is said, for tests.
    #[must_use]
    pub fn recording() -> Self {
        Self(Arc::new(Mutex::new(Said { all: Some(Vec::new()), ..Said::default() })))
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how far it is; without a fraction, that the last one still holds.
    pub(crate) fn say(&self, fraction: Option<f64>, note: &str) {
        let note = note.chars().take(LONGEST_NOTE);
        let note = note.map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
        let mut said = self.said();
        // A share of nothing is none. The precision of an `f32` is far beyond what anybody sees.
        #[allow(clippy::cast_possible_truncation)]
        let fraction = fraction.filter(|f| !f.is_nan()).map(|f| f.clamp(0.0, 1.0) as f32);
        said.latest = Report { fraction: fraction.or(said.latest.fraction), note };
        said.fresh = true;
        let latest = said.latest.clone();
        if let Some(all) = &mut said.all {
            all.push(latest);
        }
    }

    /// What was said since the last call, if anything was.
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        let mut said = self.said();
        std::mem::take(&mut said.fresh).then(|| said.latest.clone())
    }

    /// What was taken could not be passed on: the next [`Progress::take`] gives the latest again.
    pub fn untake(&self) {
        self.said().fresh = true;
    }

    /// Everything that was said, if it [records](Progress::recording).
    #[must_use]
    pub fn all(&self) -> Vec<Report> {
        self.said().all.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_word_counts_and_is_taken_once() {
        let progress = Progress::default();
        assert_eq!(progress.take(), None);
        progress.say(Some(0.25), "a quarter");
        progress.say(Some(0.5), "half");
        let half = Report { fraction: Some(0.5), note: "half".into() };
        assert_eq!(progress.take(), Some(half.clone()));
        assert_eq!(progress.take(), None);
        progress.untake();
        assert_eq!(progress.take(), Some(half));
        progress.say(None, "still there");
        assert_eq!(progress.take().and_then(|r| r.fraction), Some(0.5), "the last one holds");
        assert_eq!(progress.all(), [], "nobody asked to remember");
    }

    #[test]
    fn what_makes_no_sense_is_bounded() {
        let progress = Progress::recording();
        for fraction in [-1.0, 7.0, f64::NAN, f64::INFINITY] {
            progress.say(Some(fraction), &"ä\0".repeat(1000));
        }
        let all = progress.all();
        let fractions: Vec<_> = all.iter().filter_map(|r| r.fraction).collect();
        assert_eq!(fractions, [0.0, 1.0, 1.0, 1.0]);
        assert!(
            all.iter().all(|r| r.note.chars().count() == LONGEST_NOTE && !r.note.contains('\0'))
        );
    }
}
