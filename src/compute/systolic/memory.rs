//! What folds wait for: operands from memory, through one server in order of arrival.
//!
//! Buffers are double: while a fold runs, the operands of the next one arrive in the other half.
//! A fold's operands are requested when the fold before starts, its results when it ends; the
//! memory serves requests one after the other. Folds go down the rows of a column before the next
//! column. What need not be fetched again:
//!
//! - results that stay: the column's operand, while its strip fits half its buffer;
//! - the rows' operand in later columns, if all of it fits half its buffer;
//! - partial sums between the rows of a column, if they fit half the output buffer; else they are
//!   written and read back in single precision.
//!
//! So max(compute, bytes/bandwidth) ≤ T ≤ compute + bytes/bandwidth, and more bandwidth or larger
//! buffers are never slower. A transfer ends on a clock edge: its cycles are rounded up.

use std::collections::VecDeque;

use crate::compute::systolic::folds::Folds;
use crate::hardware::device::{Dataflow, SystolicSpec};

/// Bytes of the buffers, both halves together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buffers {
    /// Of the operand along the rows: the one that moves, or the rows' where results stay.
    pub rows: f64,
    /// Of the other operand.
    pub columns: f64,
    /// Of the results.
    pub results: f64,
}

impl Buffers {
    /// Those of a device whose arrays work at `products` products at a time.
    pub fn of(spec: &SystolicSpec, dataflow: Dataflow, products: u64) -> Buffers {
        let share = |bytes: crate::units::Bytes| bytes.as_f64() / products as f64;
        let (inputs, weights) = (share(spec.input_sram), share(spec.weight_sram));
        // Inputs move past weights that stay, and the other way round.
        let (rows, columns) = match dataflow {
            Dataflow::OutputStationary | Dataflow::WeightStationary => (inputs, weights),
            Dataflow::InputStationary => (weights, inputs),
        };
        Buffers { rows, columns, results: share(spec.output_sram) }
    }
}

/// Bytes of an element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elements {
    /// Of both operands.
    pub operand: f64,
    /// Of a result.
    pub result: f64,
}

/// Bytes of a partial sum: single precision or 32-bit integers.
const PARTIAL: f64 = 4.0;

/// Folds with their transfers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Cycles from the first request to the last byte written.
    pub total: u64,
    /// Bytes loaded.
    pub loaded: f64,
    /// Bytes written.
    pub written: f64,
    /// Cycles that the memory was busy.
    pub memory: u64,
}

/// The transfers of a product on an array.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    folds: Folds,
    dataflow: Dataflow,
    elements: Elements,
    /// Bytes per cycle.
    bandwidth: f64,
    rows_kept: bool,
    column_kept: bool,
    partials_kept: bool,
}

impl Plan {
    /// The transfers of `folds` through `buffers` and a memory of `bandwidth` bytes per cycle.
    pub fn new(
        folds: Folds,
        dataflow: Dataflow,
        buffers: Buffers,
        elements: Elements,
        bandwidth: f64,
    ) -> Plan {
        let fits = |elements: u64, size: f64, buffer: f64| elements as f64 * size <= buffer / 2.0;
        let strip = folds.columns_of_fold.min(folds.column_extent) * folds.steps;
        Plan {
            folds,
            dataflow,
            elements,
            bandwidth,
            rows_kept: fits(folds.row_extent * folds.steps, elements.operand, buffers.rows),
            column_kept: fits(strip, elements.operand, buffers.columns),
            partials_kept: fits(strip, PARTIAL, buffers.results),
        }
    }

    /// All folds, one after the other; columns that repeat the one before are not stepped through again.
    pub fn run(&self) -> Run {
        self.run_columns(true)
    }

    /// The same with every fold stepped through.
    #[cfg(test)]
    pub fn run_every_fold(&self) -> Run {
        self.run_columns(false)
    }

    fn run_columns(&self, skip: bool) -> Run {
        let columns = self.folds.columns();
        if self.folds.count() == 0 {
            return Run { total: 0, loaded: 0.0, written: 0.0, memory: 0 };
        }
        let mut server = Server::new(self.cycles(self.loads(0, 0)), self.folds.head);
        let mut column = 0;
        let mut before: Option<(State, u64, u64)> = None;
        while column < columns {
            self.run_column(column, &mut server);
            let now = (server.state(), server.started, server.busy);
            // The first column may load what later ones keep; the last may be narrower, and is first
            // loaded for by the one before. Those between are alike, and once one of them leaves the
            // memory as it found it, so do all others.
            let alike = column >= 2 && column + 3 < columns;
            if let Some((state, started, busy)) = before.as_ref().filter(|_| skip && alike)
                && *state == now.0
            {
                let rest = columns - 3 - column;
                server.skip(rest * (now.1 - started), rest * (now.2 - busy));
                column += rest;
            }
            before = Some(now);
            column += 1;
        }
        let total = server.finish(self.folds.span);
        let (loaded, written) = self.bytes();
        Run { total, loaded, written, memory: server.busy }
    }

    fn run_column(&self, column: u64, server: &mut Server) {
        let (rows, columns) = (self.folds.rows(), self.folds.columns());
        for row in 0..rows {
            let next = match (row + 1 < rows, column + 1 < columns) {
                (true, _) => Some((row + 1, column)),
                (false, true) => Some((0, column + 1)),
                (false, false) => None,
            };
            let load = next.map(|(row, column)| self.cycles(self.loads(row, column)));
            let write = self.cycles(self.writes(row, column));
            server.fold(self.folds.interval, self.folds.span, load, write);
        }
    }

    /// A transfer's cycles, rounded up; nothing takes none.
    fn cycles(&self, bytes: f64) -> u64 {
        (bytes / self.bandwidth * (1.0 - 1e-12)).ceil() as u64
    }

    fn rows_at(&self, row: u64) -> u64 {
        self.folds.rows_of_fold.min(self.folds.row_extent - row * self.folds.rows_of_fold)
    }

    fn columns_at(&self, column: u64) -> u64 {
        self.folds.columns_of_fold.min(self.folds.column_extent - column * self.folds.columns_of_fold)
    }

    /// Bytes that the fold at (row, column) loads.
    fn loads(&self, row: u64, column: u64) -> f64 {
        let (high, wide, steps) = (self.rows_at(row), self.columns_at(column), self.folds.steps);
        let moving = if column == 0 || !self.rows_kept { high * steps } else { 0 };
        let (other, partials) = match self.dataflow {
            Dataflow::OutputStationary => (if row == 0 || !self.column_kept { wide * steps } else { 0 }, 0),
            _ => (high * wide, if row > 0 && !self.partials_kept { wide * steps } else { 0 }),
        };
        (moving + other) as f64 * self.elements.operand + partials as f64 * PARTIAL
    }

    /// Bytes that the fold at (row, column) writes.
    fn writes(&self, row: u64, column: u64) -> f64 {
        let (high, wide, steps) = (self.rows_at(row), self.columns_at(column), self.folds.steps);
        match self.dataflow {
            Dataflow::OutputStationary => (high * wide) as f64 * self.elements.result,
            _ if row + 1 == self.folds.rows() => (wide * steps) as f64 * self.elements.result,
            _ if self.partials_kept => 0.0,
            _ => (wide * steps) as f64 * PARTIAL,
        }
    }

    /// Bytes loaded and written by all folds: the sums of [`loads`](Self::loads) and
    /// [`writes`](Self::writes), summed by hand.
    fn bytes(&self) -> (f64, f64) {
        let Folds { row_extent, column_extent, steps, .. } = self.folds;
        let (rows, columns) = (self.folds.rows(), self.folds.columns());
        let moving = row_extent * steps * if self.rows_kept { 1 } else { columns };
        let column_operand = column_extent * steps;
        let (other, partials) = match self.dataflow {
            Dataflow::OutputStationary => (column_operand * if self.column_kept { 1 } else { rows }, 0),
            _ => {
                (row_extent * column_extent, if self.partials_kept { 0 } else { column_operand * (rows - 1) })
            }
        };
        let results = match self.dataflow {
            Dataflow::OutputStationary => row_extent * column_extent,
            _ => column_operand,
        };
        let partials = partials as f64 * PARTIAL;
        let loaded = (moving + other) as f64 * self.elements.operand + partials;
        (loaded, results as f64 * self.elements.result + partials)
    }
}

/// The memory and the fold that runs: when the next may start.
struct Server {
    /// When the memory has served all requests so far.
    free: u64,
    /// When the next fold's operands are there.
    loaded: u64,
    /// When the last fold started.
    started: u64,
    /// The earliest start of the next fold by the array.
    ready: u64,
    /// Results to write: when they are complete, and the cycles they take.
    writes: VecDeque<(u64, u64)>,
    /// Cycles of all transfers so far.
    busy: u64,
}

/// A server seen from the last fold's start.
#[derive(Debug, PartialEq, Eq)]
struct State {
    free: u64,
    loaded: u64,
    ready: u64,
    writes: Vec<(u64, u64)>,
}

impl Server {
    fn new(first_load: u64, head: u64) -> Server {
        let writes = VecDeque::new();
        Server { free: first_load, loaded: first_load + head, started: 0, ready: 0, writes, busy: first_load }
    }

    /// A fold starts, requests the next one's operands, and will write its results when it ends.
    fn fold(&mut self, interval: u64, span: u64, next_load: Option<u64>, write: u64) {
        self.started = self.ready.max(self.loaded);
        self.serve_writes(self.started);
        if let Some(cycles) = next_load {
            self.serve(self.started, cycles);
            self.loaded = if cycles > 0 { self.free } else { self.started };
        }
        self.ready = self.started + interval;
        if write > 0 {
            self.writes.push_back((self.started + span, write));
        }
    }

    fn serve(&mut self, requested: u64, cycles: u64) {
        if cycles > 0 {
            self.free = self.free.max(requested) + cycles;
            self.busy += cycles;
        }
    }

    /// Results complete by `now` came before what is requested now.
    fn serve_writes(&mut self, now: u64) {
        while let Some((complete, cycles)) = self.writes.front().copied().filter(|(at, _)| *at <= now) {
            self.writes.pop_front();
            self.serve(complete, cycles);
        }
    }

    /// When the last fold has ended and the last byte is written.
    fn finish(&mut self, span: u64) -> u64 {
        self.serve_writes(u64::MAX);
        self.free.max(self.started + span)
    }

    fn state(&self) -> State {
        let since = |at: u64| at.saturating_sub(self.started);
        State {
            free: since(self.free),
            loaded: since(self.loaded),
            ready: since(self.ready),
            writes: self.writes.iter().map(|(at, cycles)| (since(*at), *cycles)).collect(),
        }
    }

    fn skip(&mut self, cycles: u64, busy: u64) {
        for moment in [&mut self.free, &mut self.loaded, &mut self.started, &mut self.ready] {
            *moment += cycles;
        }
        for (complete, _) in &mut self.writes {
            *complete += cycles;
        }
        self.busy += busy;
    }
}
