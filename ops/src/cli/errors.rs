//! `jobs errors`: failures in groups, and acting on the dead letters of a whole group.

use super::args::JobsErrors;
use super::jobs::{away, instant};
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use serde_json::json;
use switchyard_store::jobs::errors::{self, Acted, ErrorFilter, ErrorGroup};
use switchyard_store::{Result as Stored, StoreFault};

pub(super) async fn run(base: &Base, args: &JobsErrors, output: Output) -> Result<(), Failure> {
    if let Some(fingerprint) = &args.retry {
        return acted(errors::retry(&base.db, fingerprint).await, "due now", output);
    }
    if let Some(fingerprint) = &args.cancel {
        return acted(errors::cancel(&base.db, fingerprint).await, "given up", output);
    }
    let filter = ErrorFilter { kind: args.kind.clone(), limit: u32::from(args.limit) };
    let groups = errors::list(&base.db, &filter).await.map_err(away)?;
    output.answer(&json!({ "errors": groups }), || {
        let cells: Vec<_> = groups.iter().map(row).collect();
        table(&["FINGERPRINT", "KIND", "FAILURES", "DEAD", "FIRST", "LAST", "ERROR"], &cells)
    });
    Ok(())
}

fn row(g: &ErrorGroup) -> Vec<String> {
    let pattern = g.pattern.lines().next().unwrap_or_default();
    vec![
        g.fingerprint.clone(),
        g.kind.clone(),
        g.failures.to_string(),
        g.dead_letters.to_string(),
        instant(g.first_seen),
        instant(g.last_seen),
        format!("{}: {}", g.class, pattern.chars().take(60).collect::<String>()),
    ]
}

fn acted(result: Stored<Acted>, done: &str, output: Output) -> Result<(), Failure> {
    let acted = result.map_err(|e| match e {
        StoreFault::NotFound => Fault::new("not_found", "there is no such group of failures"),
        other => away(other),
    })?;
    output.answer(&acted, || {
        let Acted { done: n, kept } = acted;
        format!("{done}: {n}\nkept, because another job holds their unique key: {kept}")
    });
    Ok(())
}
