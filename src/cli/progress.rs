//! The line that tells how far a long run is. It goes to stderr, and only to a terminal or when the
//! run is long; the result on stdout never depends on it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is renewed on a terminal, and printed where it cannot be renewed.
const EVERY: Duration = Duration::from_millis(100);
const EVERY_LOGGED: Duration = Duration::from_secs(5);

/// A line that is renewed.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    told: Option<Instant>,
    total: u64,
    unit: &'static str,
    terminal: bool,
}

impl Progress {
    /// A line for `total` steps.
    pub(crate) fn new(total: u64) -> Self {
        Progress::of(total, "steps")
    }

    /// A line for `total` pieces of work that are called so.
    pub(crate) fn of(total: u64, unit: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Progress { began: Instant::now(), told: None, total, unit, terminal }
    }

    /// Tells that `done` pieces are done, if it is time to.
    pub(crate) fn tell(&mut self, done: u64, what: impl FnOnce() -> String) {
        let every = if self.terminal { EVERY } else { EVERY_LOGGED };
        let due = self.told.is_none_or(|told| told.elapsed() >= every) || done == self.total;
        if !due {
            return;
        }
        self.told = Some(Instant::now());
        let elapsed = self.began.elapsed().as_secs_f64();
        let rate = done as f64 / elapsed.max(1e-9);
        let eta = (self.total - done) as f64 / rate.max(1e-9);
        let line = format!("{} | {rate:.1} {}/s | ETA {eta:.0} s", what(), self.unit);
        let mut stderr = std::io::stderr().lock();
        let _ = if self.terminal { write!(stderr, "\r\x1b[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    /// Ends the line and tells how long it took.
    pub(crate) fn end(self, what: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        eprintln!("{clear}{what} in {:.1} s", self.began.elapsed().as_secs_f64());
    }
}
