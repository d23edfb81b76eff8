//! What was measured, by name, and its medians.

use super::drive::{Outcome, Times};
use std::collections::BTreeMap;

/// Everything measured, by name.
#[derive(Default)]
pub struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// A run of a contestant.
    pub fn run(&mut self, name: &str, who: &str, outcome: &Outcome) {
        self.add(&format!("{name}, requests/s: {who}"), outcome.rate());
        let times = outcome.times();
        self.add(&format!("{name}, p50 ms: {who}"), times.p50);
        self.add(&format!("{name}, p99 ms: {who}"), times.p99);
        let errors = outcome.errors();
        self.add(&format!("{name}, errors: {who}"), errors.values().sum::<usize>() as f64);
        if !errors.is_empty() {
            println!("  by status: {errors:?}");
        }
    }

    /// Times to something.
    pub fn times(&mut self, name: &str, times: Times) {
        self.add(&format!("{name}, p50 ms"), times.p50);
        self.add(&format!("{name}, p99 ms"), times.p99);
        self.add(&format!("{name}, slowest ms"), times.max);
    }

    /// One figure.
    pub fn add(&mut self, name: &str, value: f64) {
        println!("  {name}: {value:.1}");
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    /// Medians, lowest and highest, as a table.
    pub fn print(mut self) {
        println!("\n| what | median | lowest | highest |\n|---|---|---|---|");
        for (name, values) in &mut self.0 {
            values.sort_by(f64::total_cmp);
            let (low, high) = (values[0], values[values.len() - 1]);
            println!("| {name} | {:.1} | {low:.1} | {high:.1} |", values[values.len() / 2]);
        }
    }
}
