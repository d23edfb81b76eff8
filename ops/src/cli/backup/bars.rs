//! Progress on a terminal: a bar where the end is known, a spinner where it is not. Programs, files and
//! `--json` get none.

use crate::cli::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;
use switchyard_backup::Progress;

/// The bar.
pub(super) struct Bars(ProgressBar);

impl Bars {
    pub(super) fn new(output: Output) -> Self {
        let bar = ProgressBar::new_spinner();
        if output.json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self(bar)
    }

    /// Takes it off the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bars {
    fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn bytes(&self, done: u64, of: Option<u64>) {
        if let Some(of) = of
            && self.0.length() != Some(of)
        {
            self.0.set_length(of);
            let style = "{spinner} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                self.0.set_style(style);
            }
        }
        self.0.set_position(done);
    }
}
