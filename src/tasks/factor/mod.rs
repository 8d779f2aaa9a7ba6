//! The Cholesky factor of a real matrix, computed tile by tile where and when its tasks run.
//!
//! Each device holds its own copies: a task reads what its device has, made there or arrived, and nothing
//! else. So data that are not sent, are sent too late, or are not made again after a failure show as a
//! missing tile, and a wrong order as a wrong factor. Finished tiles are handed in when they are done.

mod tile;

pub use tile::Tile;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{DataId, DeviceId, Id, TaskId};
use crate::rng::{RngExt, Seed};
use crate::tasks::TaskGraph;
use crate::tasks::generate::cholesky::{Step, steps};
use crate::tasks::values::Values;

/// A factorisation on its way, for the graph that [`Cholesky`](crate::tasks::generate::cholesky::Cholesky)
/// makes of as many tiles.
#[derive(Debug, Clone)]
pub struct Factor {
    steps: Vec<Step>,
    /// By task: where its inputs come from.
    inputs: Vec<Vec<(DataId, TaskId)>>,
    /// By edge: the task that makes it.
    makers: Vec<TaskId>,
    matrix: Matrix,
    held: BTreeMap<(DeviceId, What), Tile>,
    running: BTreeMap<TaskId, Tile>,
    handed_in: BTreeMap<(u32, u32), Tile>,
}

/// What a device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Made(TaskId),
    Copy(DataId),
}

/// A symmetric positive definite matrix in tiles.
#[derive(Debug, Clone)]
struct Matrix {
    tiles: u32,
    side: usize,
    /// The lower triangle, row by row.
    numbers: Vec<f64>,
}

/// How right a factor is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rightness {
    /// Numbers a side of the matrix.
    pub size: usize,
    /// ‖A − L·Lᵀ‖ / ‖A‖ by Frobenius' norm.
    pub residual: f64,
    /// The largest difference to the factor computed without tiles.
    pub largest_difference: f64,
}

impl Rightness {
    /// Whether the residual is what rounding alone explains: below n·ε, a loose form of the bound of Higham,
    /// "Accuracy and Stability of Numerical Algorithms", 2nd edition, theorem 10.3.
    pub fn is_right(&self) -> bool {
        self.residual <= self.size as f64 * f64::EPSILON
    }
}

impl Factor {
    /// The factorisation of a matrix drawn from the stream `tasks/matrix`, in tiles of `side` numbers a side.
    pub fn new(graph: &TaskGraph, tiles: u32, side: usize, seed: Seed) -> Self {
        let steps = steps(tiles);
        assert_eq!(steps.len(), graph.len(), "the graph is that of {tiles} × {tiles} tiles");
        let inputs = |task| graph.inputs(task).map(|(id, data)| (id, data.from)).collect();
        let makers = (0..graph.data_len()).map(|at| graph.data(DataId::from_index(at)).from);
        Factor {
            steps,
            inputs: graph.ids().map(inputs).collect(),
            makers: makers.collect(),
            matrix: Matrix::draw(tiles, side, seed),
            held: BTreeMap::new(),
            running: BTreeMap::new(),
            handed_in: BTreeMap::new(),
        }
    }

    /// The finished tiles, by row and column.
    pub fn tiles(&self) -> &BTreeMap<(u32, u32), Tile> {
        &self.handed_in
    }

    /// How right the factor is that was handed in.
    ///
    /// # Panics
    /// When a tile has not been.
    pub fn rightness(&self) -> Rightness {
        let size = self.matrix.size();
        let side = self.matrix.side;
        let l = |row: usize, column: usize| {
            let tile = &self.handed_in[&((row / side) as u32, (column / side) as u32)];
            tile.at(row % side, column % side)
        };
        let rows: Vec<Vec<f64>> =
            (0..size).map(|row| (0..=row).map(|column| l(row, column)).collect()).collect();
        let plain = self.matrix.whole().potrf().expect("it is positive definite");
        let (mut off, mut all, mut largest) = (0.0, 0.0, 0.0_f64);
        for row in 0..size {
            for column in 0..=row {
                let product: f64 = rows[row].iter().zip(&rows[column]).map(|(a, b)| a * b).sum();
                let number = self.matrix.at(row, column);
                // What is below the diagonal stands for what is above it too.
                let weight = if row == column { 1.0 } else { 2.0 };
                off += weight * (number - product).powi(2);
                all += weight * number.powi(2);
                largest = largest.max((rows[row][column] - plain.at(row, column)).abs());
            }
        }
        Rightness { size, residual: (off / all).sqrt(), largest_difference: largest }
    }

    /// This factor beside another one's matrix.
    #[cfg(test)]
    pub(super) fn with_matrix_of(&self, other: &Factor) -> Factor {
        Factor { matrix: other.matrix.clone(), ..self.clone() }
    }

    /// A tile that a task needs, from what its device holds.
    fn input(&self, task: TaskId, (data, maker): (DataId, TaskId), device: DeviceId) -> &Tile {
        let made = self.held.get(&(device, What::Made(maker)));
        made.or_else(|| self.held.get(&(device, What::Copy(data)))).unwrap_or_else(|| {
            let (step, maker) = (self.steps[task.index()], self.steps[maker.index()]);
            panic!("{step:?} begins on {device} without what {maker:?} makes")
        })
    }

    fn compute(&self, task: TaskId, device: DeviceId) -> Tile {
        let step = self.steps[task.index()];
        let inputs = &self.inputs[task.index()];
        // The tile as it was written last comes first; where nobody has, it is the matrix's own.
        let reads = step.reads();
        let written = inputs.len() > reads;
        let own;
        let before = if written {
            self.input(task, inputs[0], device)
        } else {
            own = self.matrix.tile(step.tile());
            &own
        };
        let read = |at: usize| self.input(task, inputs[usize::from(written) + at], device);
        match step {
            Step::Potrf { .. } => before.potrf().expect("what is left of a positive definite matrix is one"),
            Step::Trsm { .. } => before.trsm(read(0)),
            Step::Syrk { .. } => before.gemm(read(0), read(0)),
            Step::Gemm { .. } => before.gemm(read(0), read(1)),
        }
    }
}

impl Values for Factor {
    fn begin(&mut self, task: TaskId, device: DeviceId) {
        let made = self.compute(task, device);
        self.running.insert(task, made);
    }

    fn finish(&mut self, task: TaskId, device: DeviceId) {
        let made = self.running.remove(&task).expect("a task that has begun");
        let step = self.steps[task.index()];
        if step.finishes() {
            self.handed_in.insert(step.tile(), made.clone());
        }
        self.held.insert((device, What::Made(task)), made);
    }

    fn abort(&mut self, task: TaskId, _device: DeviceId) {
        self.running.remove(&task);
    }

    fn arrive(&mut self, data: DataId, from: DeviceId, to: DeviceId) {
        let maker = self.makers[data.index()];
        let held = self.held.get(&(from, What::Made(maker)));
        let held = held.or_else(|| self.held.get(&(from, What::Copy(data))));
        let tile = held.expect("data leave from a device that holds them").clone();
        self.held.insert((to, What::Copy(data)), tile);
    }

    fn fail(&mut self, device: DeviceId) {
        self.held.retain(|(at, _), _| *at != device);
    }
}

impl Matrix {
    /// Numbers from [−1, 1), with its size added on the diagonal: it dominates, so the matrix is positive
    /// definite (Gershgorin).
    fn draw(tiles: u32, side: usize, seed: Seed) -> Self {
        let mut stream = seed.stream("tasks/matrix");
        let size = tiles as usize * side;
        let mut numbers = Vec::with_capacity(size * (size + 1) / 2);
        for row in 0..size {
            for column in 0..=row {
                let number = 2.0 * stream.random::<f64>() - 1.0;
                numbers.push(if row == column { size as f64 + number } else { number });
            }
        }
        Matrix { tiles, side, numbers }
    }

    fn size(&self) -> usize {
        self.tiles as usize * self.side
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        let (low, high) = (row.min(column), row.max(column));
        self.numbers[high * (high + 1) / 2 + low]
    }

    fn tile(&self, (i, j): (u32, u32)) -> Tile {
        let (top, left) = (i as usize * self.side, j as usize * self.side);
        Tile::from_fn(self.side, |row, column| self.at(top + row, left + column))
    }

    /// All of it as one tile.
    fn whole(&self) -> Tile {
        Tile::from_fn(self.size(), |row, column| self.at(row, column))
    }
}
