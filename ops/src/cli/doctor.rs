//! `doctor`: every finding with its remedy; exit code 1 if any of them is a failure.

use super::args::{Doctor, Global};
use super::output::{Failure, Output, table};
use super::overrides;
use crate::config::{Config, Needs};
use crate::doctor::{self, Finding, Level};
use crate::logging;
use serde_json::json;

pub(super) async fn run(global: &Global, args: &Doctor, output: Output) -> Result<(), Failure> {
    if args.live {
        let config = Config::load(&overrides(global, Vec::new()), Needs::default())?;
        let address = doctor::ask_for_life(&config).await?;
        output.answer(&json!({ "alive": true, "address": address }), || {
            format!("{address} is alive")
        });
        return Ok(());
    }
    let needs = Needs { database: true, secret_key: true, ..Needs::default() };
    let config = match Config::load(&overrides(global, Vec::new()), needs) {
        Ok(config) => config,
        Err(faults) => {
            let found: Vec<Finding> = faults
                .0
                .into_iter()
                .map(|f| {
                    let what = format!("{} (from {}) {}", f.key, f.from, f.problem);
                    Finding::fail("configuration", what, f.remedy)
                })
                .collect();
            told(&found, output);
            return Err(Failure::Said(2));
        }
    };
    // What the parts log while they are looked at would only repeat the findings.
    logging::start(&crate::config::LogConfig { filter: "off".to_owned(), ..config.log.clone() });
    let found = doctor::examine(config).await;
    told(&found, output);
    if found.iter().any(|f| f.level == Level::Fail) { Err(Failure::Said(1)) } else { Ok(()) }
}

fn told(found: &[Finding], output: Output) {
    let healthy = found.iter().all(|f| f.level != Level::Fail);
    output.answer(&json!({ "healthy": healthy, "findings": found }), || {
        let row =
            |f: &Finding| vec![f.level.as_str().to_owned(), f.check.to_owned(), f.found.clone()];
        let rows: Vec<_> = found.iter().map(row).collect();
        let mut text = table(&["", "CHECK", "FOUND"], &rows);
        for finding in found {
            if let Some(remedy) = &finding.remedy {
                text.push_str(&format!("\n\n{}: {remedy}", finding.check));
            }
        }
        text
    });
}
