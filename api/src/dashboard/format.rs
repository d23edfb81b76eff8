//! How times, spans and sizes are written. `static/ops.js` ticks with the same words.

use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;
use std::time::Duration;

/// An instant, written relative to now, with the exact one (UTC) in `title` and `datetime`.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    at: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl When {
    pub(super) fn new(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self { at, now }
    }

    fn relative(self) -> String {
        let ms = (self.now - self.at).num_milliseconds();
        let s = ms.unsigned_abs() / 1000;
        let text = match s {
            0 => return "now".to_owned(),
            1..90 => format!("{s} s"),
            90..7_200 => format!("{} min", s / 60),
            7_200..172_800 => format!("{} h", s / 3_600),
            _ => format!("{} d", s / 86_400),
        };
        if ms < 0 { format!("in {text}") } else { format!("{text} ago") }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"<time data-relative datetime="{}" title="{} UTC">{}</time>"#,
            self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            self.at.format("%Y-%m-%d %H:%M:%S%.3f"),
            self.relative()
        )
    }
}

/// Digits, letters and markup of our own: nothing in it comes from outside.
impl askama::filters::HtmlSafe for When {}

/// An instant in full, for records.
pub(super) fn exact(at: DateTime<Utc>) -> String {
    format!("{} UTC", at.format("%Y-%m-%d %H:%M:%S%.3f"))
}

/// A span of time, to two figures or so.
pub(super) fn span(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.1} s", d.as_secs_f64()),
        10_000..90_000 => format!("{} s", d.as_secs()),
        90_000..7_200_000 => format!("{} min", d.as_secs() / 60),
        7_200_000..172_800_000 => format!("{} h", d.as_secs() / 3_600),
        _ => format!("{} d", d.as_secs() / 86_400),
    }
}

/// The time from one instant to a later one; `None` if they are the wrong way round.
pub(super) fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Option<String> {
    (to - from).to_std().ok().map(span)
}

/// Bytes, in the unit that suits.
pub(super) fn size(bytes: i32) -> String {
    match bytes {
        i32::MIN..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", f64::from(bytes) / 1_024.0),
        _ => format!("{:.1} MiB", f64::from(bytes) / 1_048_576.0),
    }
}

/// The end of an id: UUIDv7 begins with the time, so ids of one second differ only there.
pub(super) fn short(id: impl fmt::Display) -> String {
    let id = id.to_string();
    let from = id.len().saturating_sub(8);
    format!("…{}", id.get(from..).unwrap_or(&id))
}

/// A number with thin groups of three.
pub(super) fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    if n < 0 { format!("-{out}") } else { out }
}

/// The first line, for tables.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_relative_and_carry_the_exact_one() {
        let now: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        let said = |ms: i64| When::new(now - chrono::Duration::milliseconds(ms), now).relative();
        assert_eq!(said(400), "now");
        assert_eq!(said(-400), "now");
        assert_eq!(said(1_000), "1 s ago");
        assert_eq!(said(89_999), "89 s ago");
        assert_eq!(said(90_000), "1 min ago");
        assert_eq!(said(-60_000 * 5), "in 5 min");
        assert_eq!(said(7_200_000), "2 h ago");
        assert_eq!(said(86_400_000 * 3), "3 d ago");
        let html = When::new(now, now).to_string();
        assert!(html.contains(r#"datetime="2026-03-01T12:00:00.000Z""#), "{html}");
        assert!(html.contains(r#"title="2026-03-01 12:00:00.000 UTC""#), "{html}");
    }

    #[test]
    fn spans_and_sizes_read_well() {
        let said = |ms| span(Duration::from_millis(ms));
        assert_eq!(
            [said(0), said(38), said(999), said(1_240), said(89_000), said(600_000)],
            ["0 ms", "38 ms", "999 ms", "1.2 s", "89 s", "10 min"]
        );
        assert_eq!([size(12), size(2_048), size(3_670_016)], ["12 B", "2.0 KiB", "3.5 MiB"]);
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_234_567), grouped(-1_000)],
            ["0", "999", "1\u{202f}234\u{202f}567", "-1\u{202f}000"]
        );
        assert_eq!(short("0198-abcdefgh"), "…abcdefgh");
    }
}
