//! `backup status`.

use super::listing::size;
use crate::cli::args::Global;
use crate::cli::jobs::{away, instant};
use crate::cli::load;
use crate::cli::output::{Failure, Output, table};
use crate::compose::Base;
use crate::config::written_duration;
use chrono::Utc;
use std::time::Duration;
use switchyard_catalog::backup::{self as catalog, Status};
use switchyard_store::backups::runs::Run;

pub(super) async fn status(global: &Global, output: Output) -> Result<(), Failure> {
    let base = Base::open(load(global, Vec::new(), super::DATABASE)?)?;
    let stands = catalog::status(&base.db, base.platform.backups.as_deref(), Utc::now()).await;
    base.close().await;
    let stands = stands.map_err(away)?;
    output.answer(&stands, || told(&stands));
    Ok(())
}

fn seconds(n: Option<f64>) -> String {
    let whole = n.and_then(|n| Duration::try_from_secs_f64(n.round()).ok());
    whole.map_or_else(|| "-".to_owned(), written_duration)
}

fn promised(n: Option<u64>) -> String {
    n.map_or_else(|| "-".to_owned(), |n| written_duration(Duration::from_secs(n)))
}

fn told(s: &Status) -> String {
    let f = &s.figures;
    let mut text = String::new();
    if let Some(r) = s.restored.as_ref().filter(|r| r.released_at.is_none()) {
        text.push_str(&format!(
            "THIS SYSTEM WAS RESTORED from {} and is not released: nothing leaves it.\n\n",
            r.backup
        ));
    }
    let of = |n: i64| match f.ended {
        0 => "-".to_owned(),
        all => format!("{n} of {all} runs of 30 days succeeded"),
    };
    let proof = s.proof.as_ref().map_or_else(
        || "none yet".to_owned(),
        |p| {
            format!(
                "{} ago, of {}",
                promised(Some(p.age_seconds)),
                p.backup.as_deref().unwrap_or("-")
            )
        },
    );
    let compared = s.proof.as_ref().and_then(|p| p.compared.as_ref()).map_or_else(
        || "none yet".to_owned(),
        |c| match &c.out_of_reach {
            None => format!(
                "{}, {} is what the one before it and its increments make",
                instant(c.at),
                c.full
            ),
            Some(why) => format!("{}, {} could not be: {why}", instant(c.at), c.full),
        },
    );
    let rows = vec![
        vec!["archive".into(), s.archive.clone().unwrap_or_else(|| "none is configured".into())],
        vec!["second archive".into(), s.second.clone().unwrap_or_else(|| "-".into())],
        vec!["could be lost now".into(), promised(s.exposed_seconds)],
        vec![
            "RPO".into(),
            format!(
                "{} of {} promised; the longest was {}",
                seconds(f.rpo_p99),
                promised(s.rpo_seconds),
                seconds(f.rpo_worst)
            ),
        ],
        vec!["RTO".into(), format!("{} of {} promised", seconds(f.rto), promised(s.rto_seconds))],
        vec!["last proven restore".into(), proof],
        vec!["last comparison".into(), compared],
        vec!["success".into(), of(f.succeeded)],
    ];
    text.push_str(&table(&["", ""], &rows));
    text.push_str("\n\n");
    let next = |r: &Run| s.next.iter().find(|n| n.kind == r.kind).map(|n| instant(n.at));
    let row = |r: &Run| {
        vec![
            r.kind.to_string(),
            r.finished_at.map(instant).unwrap_or_default(),
            seconds(r.seconds()),
            r.stored_bytes.map(|b| size(b.unsigned_abs())).unwrap_or_default(),
            r.backup.clone().unwrap_or_default(),
            next(r).unwrap_or_default(),
        ]
    };
    let head = ["RUN", "LAST", "TOOK", "STORED", "BACKUP", "NEXT"];
    text.push_str(&table(&head, &s.latest.iter().map(row).collect::<Vec<_>>()));
    for a in &s.alarms {
        text.push_str(&format!("\n! {} {}: {}", a.severity, a.key, a.text));
    }
    text
}
