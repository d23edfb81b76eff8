//! The chain as a picture: a lane each for full backups, differentials, increments and drills, time from
//! left to right. What failed stands out; a gap in the increments is a gap in the picture.

use chrono::{DateTime, Utc};
use switchyard_store::backups::runs::{Run, RunKind, RunState};

const WIDTH: i64 = 960;
const LEFT: i64 = 96;
const LANE: i64 = 26;
const TOP: i64 = 10;

/// The lanes from top to bottom.
const LANES: [(RunKind, &str); 4] = [
    (RunKind::Full, "Full"),
    (RunKind::Differential, "Differential"),
    (RunKind::Incremental, "Increments"),
    (RunKind::Drill, "Drills"),
];

/// The whole picture; lengths in pixels.
pub(super) struct Chart {
    pub width: i64,
    pub height: i64,
    pub lanes: Vec<Lane>,
    pub marks: Vec<Mark>,
    pub hours: Vec<Hour>,
    /// The same in words.
    pub label: String,
}

/// A lane's name.
pub(super) struct Lane {
    pub y: i64,
    pub name: &'static str,
}

/// A run.
pub(super) struct Mark {
    pub x: i64,
    pub y: i64,
    pub width: i64,
    pub class: &'static str,
    pub title: String,
}

/// A line of time.
pub(super) struct Hour {
    pub x: i64,
    pub text: String,
}

impl Chart {
    /// The picture of these runs between two moments.
    pub(super) fn new(runs: &[Run], from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let all = (to - from).num_seconds().max(1);
        let x = |at: DateTime<Utc>| {
            let seconds = (at - from).num_seconds().clamp(0, all);
            LEFT + seconds * (WIDTH - LEFT - 8) / all
        };
        let lane = |kind| LANES.iter().position(|(k, _)| *k == kind);
        let y = |n: usize| TOP + i64::try_from(n).unwrap_or_default() * LANE;
        let mark = |r: &Run| {
            let y = y(lane(r.kind)?);
            let end = r.finished_at.unwrap_or(to);
            let class = match r.state {
                RunState::Running => "go",
                RunState::Succeeded => "ok",
                RunState::Failed => "bad",
            };
            let began = r.began_at.format("%d %b %H:%M");
            let title = match &r.error {
                Some(error) => format!("{} of {began}: {error}", r.kind),
                None => format!("{} of {began}", r.kind),
            };
            let x1 = x(r.began_at);
            Some(Mark { x: x1, y, width: (x(end) - x1).max(3), class, title })
        };
        let marks: Vec<Mark> = runs.iter().filter_map(mark).collect();
        let failed = marks.iter().filter(|m| m.class == "bad").count();
        let hour = |n: i64| {
            let at = to - chrono::TimeDelta::seconds(all * n / 8);
            Hour { x: x(at), text: at.format("%a %H:%M").to_string() }
        };
        Self {
            width: WIDTH,
            height: TOP + LANE * 4 + 18,
            lanes: LANES.iter().enumerate().map(|(n, (_, name))| Lane { y: y(n), name }).collect(),
            label: format!("{} runs in 48 hours, {failed} of them failed", marks.len()),
            marks,
            hours: (1..8).map(hour).collect(),
        }
    }
}
