//! The line that tells how far a long run is. It goes to stderr: renewed in place on a terminal, a line
//! every few seconds elsewhere. The result on stdout never depends on it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is printed where it cannot be renewed.
const EVERY_LOGGED: Duration = Duration::from_secs(5);

/// A line that is renewed.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    told: Option<Instant>,
    total: u64,
    unit: &'static str,
    /// Nothing where stderr is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A line for `total` steps.
    pub(crate) fn new(total: u64) -> Self {
        Progress::of(total, "steps")
    }

    /// A line for `total` pieces of work that are called so.
    pub(crate) fn of(total: u64, unit: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            // Cut to the width of the terminal: a line that wraps cannot be renewed.
            let style = ProgressStyle::with_template("{wide_msg}").expect("a template");
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10))
                .with_style(style)
        });
        Progress { began: Instant::now(), told: None, total, unit, bar }
    }

    /// Tells that `done` pieces are done, if it is time to.
    pub(crate) fn tell(&mut self, done: u64, what: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(self.line(done, &what()));
            return;
        }
        if self.told.is_none_or(|told| told.elapsed() >= EVERY_LOGGED) || done == self.total {
            self.told = Some(Instant::now());
            eprintln!("{}", self.line(done, &what()));
        }
    }

    fn line(&self, done: u64, what: &str) -> String {
        let rate = done as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        let eta = (self.total - done) as f64 / rate.max(1e-9);
        format!("{what} | {rate:.1} {}/s | ETA {eta:.0} s", self.unit)
    }

    /// Ends the line and tells how long it took.
    pub(crate) fn end(self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{what} in {:.1} s", self.began.elapsed().as_secs_f64());
    }
}
