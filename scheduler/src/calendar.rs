//! When a schedule fires: a cron expression meant in a time zone, turned into instants.
//!
//! The expression is read against the wall clock of its zone; then each wall time is turned into
//! an instant. Twice a year the two do not match, and this is what happens:
//!
//! - **The hour field is `*` (or `*/n`)**: the schedule follows the passing of time. Wall times
//!   that a gap leaves out do not fire, those that an overlap repeats fire in both passes.
//! - **The hour is fixed**: the schedule is meant once a day. A wall time in a gap fires at the
//!   gap's end, together with any other of the same gap; in an overlap it fires in the first pass
//!   only.
//!
//! These are the rules of Debian's cron (cron(8): "Local time changes of less than three hours"),
//! without its limit of three hours. Days of the week are the crate's: `1` or `Sun` to `7` or `Sat`.

use chrono::{DateTime, Duration, MappedLocalTime, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use cron::Schedule;
use std::str::FromStr;

/// A zone's clock is moved by at most a day (Samoa left out 30 December 2011).
const WIDEST: Duration = Duration::hours(25);

/// A cron expression in its time zone.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    schedule: Schedule,
    tz: Tz,
    every_hour: bool,
}

/// Which instant stands for a wall time that comes twice, and whether one that never comes is
/// replaced. Each way keeps the order of wall times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The first pass; a gap's end for what is in the gap.
    Once,
    /// The first pass; nothing for what is in a gap.
    First,
    /// The second pass; nothing for what is in a gap.
    Second,
}

impl Calendar {
    /// Reads `sec min hour day month weekday`, or a shorthand like `@daily`, and an IANA name.
    ///
    /// # Errors
    /// A sentence about what cannot be read.
    pub(crate) fn parse(cron: &str, tz: &str) -> Result<Self, String> {
        // A seventh field would be a year, which the crate cannot search backwards.
        let fields = cron.split_whitespace().count();
        if fields != 6 && !(fields == 1 && cron.starts_with('@')) {
            return Err(format!(
                "`{cron}` has {fields} fields and not 6: sec min hour day month weekday"
            ));
        }
        let schedule = Schedule::from_str(cron)
            .map_err(|e| format!("`{cron}` is no cron expression with seconds: {e}"))?;
        let tz = Tz::from_str(tz).map_err(|_| format!("`{tz}` is no IANA time zone"))?;
        // A shorthand like @hourly has one field; those that name an hour are fixed.
        let hour = cron.split_whitespace().nth(2);
        let every_hour = hour.map_or(cron.trim() == "@hourly", |h| h.starts_with('*'));
        Ok(Self { schedule, tz, every_hour })
    }

    /// The first firing after an instant; none if the expression names a day that no year has.
    pub(crate) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let start = self.wall(after) - self.shift_near(after);
        let ways = self.ways().iter();
        ways.filter_map(|&way| self.forward(start, way).find(|t| *t > after)).min()
    }

    /// The firings in `(after, until]`, oldest first; of more than `limit` the newest.
    pub(crate) fn between(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        // Most calls find nothing, and one step forward tells.
        if self.next(after).is_none_or(|t| t > until) {
            return Vec::new();
        }
        let start = self.wall(until) + self.shift_near(until);
        let mut found: Vec<_> = self
            .ways()
            .iter()
            .flat_map(|&way| {
                let mut found: Vec<_> = self
                    .backward(start, way)
                    .skip_while(|t| *t > until)
                    .take_while(|t| *t > after)
                    .collect_unique(limit);
                found.reverse();
                found
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found.split_off(found.len().saturating_sub(limit))
    }

    fn ways(&self) -> &'static [Way] {
        if self.every_hour { &[Way::First, Way::Second] } else { &[Way::Once] }
    }

    fn wall(&self, t: DateTime<Utc>) -> NaiveDateTime {
        t.with_timezone(&self.tz).naive_local()
    }

    /// How far the zone's clock is moved around an instant; zero but for a few hours a year.
    fn shift_near(&self, t: DateTime<Utc>) -> Duration {
        let seconds = |t: DateTime<Utc>| {
            self.tz.offset_from_utc_datetime(&t.naive_utc()).fix().local_minus_utc()
        };
        // How far it is moved on the days around tells how near a move must be to matter: within
        // that stretch, wall times and instants are not in the same order.
        let moved = |reach: Duration| {
            let offsets = [seconds(t - reach), seconds(t), seconds(t + reach)];
            offsets.iter().max().zip(offsets.iter().min()).map_or(0, |(most, least)| most - least)
        };
        let by = Duration::seconds(i64::from(moved(WIDEST)));
        if moved((by * 2).min(WIDEST)) == 0 { Duration::zero() } else { by }
    }

    /// The crate's own handling of zones skips and repeats in ways that it does not state, so it
    /// is asked about wall times only, dressed up as UTC, which has neither gap nor overlap.
    fn forward(&self, start: NaiveDateTime, way: Way) -> impl Iterator<Item = DateTime<Utc>> {
        let walls = self.schedule.after_owned(start.and_utc());
        walls.filter_map(move |wall| self.instant(wall.naive_utc(), way))
    }

    fn backward(&self, start: NaiveDateTime, way: Way) -> impl Iterator<Item = DateTime<Utc>> {
        let walls = self.schedule.after_owned(start.and_utc() + Duration::seconds(1)).rev();
        walls.filter_map(move |wall| self.instant(wall.naive_utc(), way))
    }

    fn instant(&self, wall: NaiveDateTime, way: Way) -> Option<DateTime<Utc>> {
        let instant = match (self.tz.from_local_datetime(&wall), way) {
            (MappedLocalTime::Single(t), _) => t,
            (MappedLocalTime::Ambiguous(first, _), Way::Once | Way::First) => first,
            (MappedLocalTime::Ambiguous(_, second), Way::Second) => second,
            (MappedLocalTime::None, Way::Once) => return self.end_of_gap(wall),
            (MappedLocalTime::None, _) => return None,
        };
        Some(instant.with_timezone(&Utc))
    }

    /// The first instant whose wall time is after the gap, found by halving to the second.
    fn end_of_gap(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let (mut inside, mut outside) = (0, WIDEST.num_seconds());
        let at = |s: i64| self.tz.from_local_datetime(&(wall + Duration::seconds(s)));
        at(outside).earliest()?;
        while outside - inside > 1 {
            let middle = inside + (outside - inside) / 2;
            if at(middle) == MappedLocalTime::None {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        at(outside).earliest().map(|t| t.with_timezone(&Utc))
    }
}

/// Collecting without what several wall times of one gap share.
trait CollectUnique: Iterator<Item = DateTime<Utc>> {
    fn collect_unique(self, limit: usize) -> Vec<DateTime<Utc>>;
}

impl<I: Iterator<Item = DateTime<Utc>>> CollectUnique for I {
    fn collect_unique(self, limit: usize) -> Vec<DateTime<Utc>> {
        let mut found = Vec::new();
        for t in self {
            if found.last() == Some(&t) {
                continue;
            }
            if found.len() == limit {
                break;
            }
            found.push(t);
        }
        found
    }
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
