//! The calendar around the days when clocks are moved, and its laws on random times.

use super::Calendar;
use chrono::{DateTime, Duration, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

const ROME: &str = "Europe/Rome";

fn calendar(cron: &str, tz: &str) -> Calendar {
    Calendar::parse(cron, tz).expect("a schedule")
}

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("a time").with_timezone(&Utc)
}

/// The firings of a stretch, as times of day in UTC.
fn times(cron: &str, tz: &str, from: &str, to: &str) -> Vec<String> {
    let found = calendar(cron, tz).between(utc(from), utc(to), 10_000);
    found.iter().map(|t| t.format("%dT%H:%M:%S").to_string()).collect()
}

#[test]
fn a_fixed_time_in_the_gap_fires_once_at_its_end() {
    // 29 March 2026: 02:00 CET becomes 03:00 CEST, which is 01:00 UTC.
    let day = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(times("0 30 2 * * *", ROME, day.0, day.1), ["29T01:00:00"]);
    assert_eq!(times("0 0,30 2 * * *", ROME, day.0, day.1), ["29T01:00:00"]);
    assert_eq!(times("0 30 2,3 * * *", ROME, day.0, day.1), ["29T01:00:00", "29T01:30:00"]);
    // The days around are as ever.
    let three = times("0 30 2 * * *", ROME, "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(three, ["28T01:30:00", "29T01:00:00", "30T00:30:00"]);
}

#[test]
fn a_fixed_time_in_the_overlap_fires_in_the_first_pass_only() {
    // 25 October 2026: 03:00 CEST becomes 02:00 CET, which is 01:00 UTC.
    let day = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(times("0 30 2 * * *", ROME, day.0, day.1), ["25T00:30:00"]);
    assert_eq!(times("0 0 3 * * *", ROME, day.0, day.1), ["25T02:00:00"]);
}

#[test]
fn an_hourly_schedule_follows_the_passing_of_time() {
    let spring = times("0 30 * * * *", ROME, "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z");
    assert_eq!(spring, ["29T00:30:00", "29T01:30:00", "29T02:30:00"]);
    let autumn = times("0 30 * * * *", ROME, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
    assert_eq!(autumn, ["24T23:30:00", "25T00:30:00", "25T01:30:00", "25T02:30:00"]);
}

#[test]
fn clocks_that_move_by_half_an_hour_or_leave_out_a_day() {
    // Lord Howe Island, 5 October 2025: 02:00 becomes 02:30, which is 15:30 UTC the day before.
    let howe = ("2025-10-04T12:00:00Z", "2025-10-04T18:00:00Z");
    assert_eq!(times("0 15 2 * * *", "Australia/Lord_Howe", howe.0, howe.1), ["04T15:30:00"]);
    // Samoa had no 30 December 2011: it begins the 31st at 10:00 UTC of the 30th.
    let samoa = ("2011-12-29T12:00:00Z", "2011-12-31T09:00:00Z");
    assert_eq!(times("0 0 12 30 12 *", "Pacific/Apia", samoa.0, samoa.1), ["30T10:00:00"]);
}

#[test]
fn seconds_weekdays_and_shorthands() {
    let from = "2026-05-01T00:00:00Z";
    assert_eq!(times("*/20 * * * * *", "UTC", from, "2026-05-01T00:00:59Z").len(), 2);
    // 1 May 2026 is a Friday; the crate counts from Sunday = 1.
    assert_eq!(times("0 0 9 * * 6", "UTC", from, "2026-05-08T00:00:00Z"), ["01T09:00:00"]);
    assert_eq!(times("0 0 9 * * Sun", "UTC", from, "2026-05-08T00:00:00Z"), ["03T09:00:00"]);
    assert_eq!(times("@daily", ROME, from, "2026-05-01T23:00:00Z"), ["01T22:00:00"]);
}

#[test]
fn of_too_many_the_newest_are_given_oldest_first() {
    let every_second = calendar("* * * * * *", "UTC");
    let (from, to) = (utc("2020-01-01T00:00:00Z"), utc("2026-05-01T00:00:00.5Z"));
    let found = every_second.between(from, to, 3);
    let seconds: Vec<_> = found.iter().map(|t| to.signed_duration_since(t).num_seconds()).collect();
    assert_eq!(seconds, [2, 1, 0]);
}

#[test]
fn bad_lines_are_refused_with_a_reason() {
    let reason = |cron, tz| Calendar::parse(cron, tz).expect_err("a refusal");
    assert!(reason("* * * * *", "UTC").contains("5 fields"));
    assert!(reason("0 0 0 1 1 * 2030", "UTC").contains("7 fields"));
    assert!(reason("0 61 * * * *", "UTC").contains("no cron expression"));
    assert!(reason("0 0 * * * *", "Europe/Roma").contains("no IANA time zone"));
    assert_eq!(calendar("0 0 0 30 2 *", "UTC").next(utc("2026-01-01T00:00:00Z")), None);
}

const ZONES: [&str; 6] =
    ["UTC", ROME, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"];

/// Expressions whose firings are between a second and months apart.
const CRONS: [&str; 9] = [
    "*/7 * * * * *",
    "0 */5 * * * *",
    "0 0 * * * *",
    "0 15,45 */2 * * *",
    "0 30 2 * * *",
    "0 0 0 * * *",
    "30 59 1,2,3 * * *",
    "0 0 3 1 * *",
    "0 30 1 * 3,10 Sun",
];

/// Instants within three days of a day on which one of the zones moves its clock.
fn near_a_move() -> impl Strategy<Value = DateTime<Utc>> {
    let moves = [
        "2026-03-29T01:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-04-04T15:00:00Z",
        "2026-02-15T02:00:00Z",
        "2026-03-22T02:00:00Z",
        "2026-07-01T00:00:00Z",
    ];
    (prop::sample::select(moves.to_vec()), -259_200_000_i64..259_200_000)
        .prop_map(|(at, ms)| utc(at) + Duration::milliseconds(ms))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Stepping forward and searching backward find the same firings.
    #[test]
    fn both_directions_agree(
        cron in prop::sample::select(CRONS.to_vec()),
        tz in prop::sample::select(ZONES.to_vec()),
        from in near_a_move(),
        minutes in 1_i64..600,
    ) {
        let calendar = calendar(cron, tz);
        let mut to = from + Duration::minutes(minutes);
        let mut stepped = Vec::new();
        let mut at = from;
        while let Some(next) = calendar.next(at).filter(|t| *t <= to) {
            prop_assert!(next > at);
            stepped.push(next);
            at = next;
            // Enough, when there is one every few seconds.
            if stepped.len() == 40 {
                to = next;
            }
        }
        prop_assert_eq!(&calendar.between(from, to, 100_000), &stepped);
        let newest = stepped.split_off(stepped.len().saturating_sub(3));
        prop_assert_eq!(calendar.between(from, to, 3), newest);
    }

    /// Cutting a stretch in two neither loses a firing nor doubles one.
    #[test]
    fn a_stretch_may_be_cut_anywhere(
        cron in prop::sample::select(CRONS.to_vec()),
        tz in prop::sample::select(ZONES.to_vec()),
        from in near_a_move(),
        (first, second) in (1_i64..7_000, 1_i64..7_000),
    ) {
        let calendar = calendar(cron, tz);
        let cut = from + Duration::seconds(first);
        let to = cut + Duration::seconds(second);
        let mut parts = calendar.between(from, cut, 100_000);
        parts.extend(calendar.between(cut, to, 100_000));
        prop_assert_eq!(parts, calendar.between(from, to, 100_000));
    }

    /// However clocks are moved, a daily schedule fires once on every day of its zone.
    #[test]
    fn a_daily_schedule_fires_once_a_day(
        tz in prop::sample::select(ZONES.to_vec()),
        hour in 0_u32..24,
        minute in 0_u32..60,
        day in 1_i64..360,
    ) {
        let zone: Tz = tz.parse().expect("a zone");
        let calendar = calendar(&format!("0 {minute} {hour} * * *"), tz);
        let midnight = |d: i64| {
            let date = chrono::NaiveDate::from_ymd_opt(2026, 1, 1).expect("a date")
                + Duration::days(d);
            let wall = date.and_hms_opt(0, 0, 0).expect("midnight");
            zone.from_local_datetime(&wall).earliest().expect("no move at midnight").with_timezone(&Utc)
        };
        let instant = Duration::milliseconds(1);
        let found = calendar.between(midnight(day) - instant, midnight(day + 1) - instant, 10);
        prop_assert_eq!(found.len(), 1);
        let wall = found[0].with_timezone(&zone);
        prop_assert!((wall.hour(), wall.minute()) >= (hour, minute), "{} is too early", wall);
    }

    /// An hourly schedule never waits for longer than an hour of real time, nor shorter, where
    /// clocks are moved by whole hours.
    #[test]
    fn an_hourly_schedule_keeps_its_pace(
        tz in prop::sample::select(vec!["UTC", ROME, "America/New_York", "Asia/Kolkata"]),
        from in near_a_move(),
    ) {
        let calendar = calendar("0 10 * * * *", tz);
        let first = calendar.next(from).expect("an hourly schedule has a next firing");
        prop_assert!(first - from <= Duration::hours(1));
        prop_assert_eq!(calendar.next(first), Some(first + Duration::hours(1)));
    }
}
