//! How a product folds onto an array, and how many cycles a fold lasts.
//!
//! An array of R×C cells keeps one operand (or the results) still. With
//!
//! | dataflow | Sr, along the rows | Sc, along the columns | T, one after the other |
//! |---|---|---|---|
//! | output stationary | M | N | K |
//! | weight stationary | K | N | M |
//! | input stationary | K | M | N |
//!
//! there are F = ⌈Sr/R⌉·⌈Sc/C⌉ folds. Operands enter skewed, one row (column) a cycle later than the
//! one before, so a fold lasts
//!
//! ```text
//! T + R + C − 2        output stationary
//! R + T + R + C − 2    weight and input stationary: R cycles to bring the still operand in place first
//! ```
//!
//! (Samajdar et al., "A systematic methodology for characterizing scalability of DNN accelerators using
//! SCALE-Sim", ISPASS 2020, equations 1–3; SCALE-Sim v3 prints the index of the last cycle, one less.)
//! Where the next still operand slides in behind the moving one, a fold follows the one before after
//! max(T, R, 4) cycles (Ham et al., "ONNXim", 2024, and its source: (2R − 1) + (F − 1)·max(T, R, 4) +
//! (R + C − 2 + max(T, 4)) in all).

use crate::hardware::device::Dataflow;

/// The cells of one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// Rows of cells.
    pub rows: u64,
    /// Columns of cells.
    pub columns: u64,
    /// What stays in the cells.
    pub dataflow: Dataflow,
    /// Whether the next still operand slides in while this one is used.
    pub preload_overlap: bool,
}

/// How several arrays share one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// Arrays beside one another along the columns.
    pub columns: u64,
    /// Arrays along the rows if the results stay (each has rows of its own), else along the steps
    /// (each has a share of what moves, and the same still operand).
    pub others: u64,
}

impl Beside {
    /// A single array.
    pub const ALONE: Beside = Beside { columns: 1, others: 1 };
}

/// A product on an array: its extents, what one fold covers of them, and how long folds last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folds {
    /// Sr.
    pub row_extent: u64,
    /// Sc.
    pub column_extent: u64,
    /// T of all arrays together.
    pub steps: u64,
    /// Rows that a fold covers.
    pub rows_of_fold: u64,
    /// Columns that a fold covers.
    pub columns_of_fold: u64,
    /// Cycles before the first fold.
    pub head: u64,
    /// Cycles from a fold's start to the next one's, if its operands are there.
    pub interval: u64,
    /// Cycles from a fold's start to its last result.
    pub span: u64,
}

impl Folds {
    /// The product y(m×n) = x(m×k)·W(k×n) on `array`, shared as `beside` says.
    pub fn of(array: &Array, beside: Beside, m: u64, n: u64, k: u64) -> Folds {
        let (row_extent, column_extent, steps) = match array.dataflow {
            Dataflow::OutputStationary => (m, n, k),
            Dataflow::WeightStationary => (k, n, m),
            Dataflow::InputStationary => (k, m, n),
        };
        let (r, c) = (array.rows, array.columns);
        let results_stay = array.dataflow == Dataflow::OutputStationary;
        let own_steps = if results_stay { steps } else { steps.div_ceil(beside.others) };
        let (head, interval, span) = if results_stay {
            (0, own_steps + r + c - 2, own_steps + r + c - 2)
        } else if array.preload_overlap {
            (2 * r - 1, own_steps.max(r).max(4), r + c - 2 + own_steps.max(4))
        } else {
            (0, 2 * r + c + own_steps - 2, 2 * r + c + own_steps - 2)
        };
        Folds {
            row_extent,
            column_extent,
            steps,
            rows_of_fold: if results_stay { r * beside.others } else { r },
            columns_of_fold: c * beside.columns,
            head,
            interval,
            span,
        }
    }

    /// Folds along the rows.
    pub fn rows(&self) -> u64 {
        self.row_extent.div_ceil(self.rows_of_fold)
    }

    /// Folds along the columns.
    pub fn columns(&self) -> u64 {
        self.column_extent.div_ceil(self.columns_of_fold)
    }

    /// Folds in all.
    pub fn count(&self) -> u64 {
        self.rows() * self.columns()
    }

    /// Cycles of all folds when no operand is ever waited for.
    pub fn cycles(&self) -> u64 {
        match self.count() {
            0 => 0,
            count => self.head + (count - 1) * self.interval + self.span,
        }
    }

    /// The same folds on cells that take `factor` times as long.
    pub fn slowed(self, factor: f64) -> Folds {
        let slowed = |cycles: u64| (cycles as f64 * factor * (1.0 - 1e-12)).ceil() as u64;
        Folds { head: slowed(self.head), interval: slowed(self.interval), span: slowed(self.span), ..self }
    }
}
