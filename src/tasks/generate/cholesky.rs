//! The tiled Cholesky factorisation A = L·Lᵀ, right-looking, each update of a tile a task.
//!
//! Buttari, Langou, Kurzak and Dongarra, "A Class of Parallel Tiled Linear Algebra Algorithms for
//! Multicore Architectures", Parallel Computing 35(1), 2009, algorithm 1. Leading terms of the flops as
//! in LAPACK Working Note 41: b³/3 for potrf, b³ for trsm and syrk, 2b³ for gemm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hardware::Precision;
use crate::ids::TaskId;
use crate::rng::Seed;
use crate::tasks::TaskGraph;
use crate::tasks::generate::{Sketch, TaskGenerator, Tiles, at_least_one};
use crate::tasks::graph::Payload;

/// A matrix of `tiles` × `tiles` tiles of `tile` × `tile` numbers; every edge carries a tile.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cholesky {
    /// Tiles a side.
    pub tiles: u32,
    /// Numbers a side of a tile.
    pub tile: u32,
    /// The format computed in.
    pub precision: Precision,
}

impl Default for Cholesky {
    fn default() -> Self {
        Cholesky { tiles: 8, tile: 1024, precision: Precision::F64 }
    }
}

/// What a task does to the tile that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// L(k, k) from A(k, k).
    Potrf {
        /// The column of tiles.
        k: u32,
    },
    /// L(i, k) = A(i, k)·L(k, k)⁻ᵀ.
    Trsm {
        /// The row of tiles.
        i: u32,
        /// The column of tiles.
        k: u32,
    },
    /// A(i, i) −= L(i, k)·L(i, k)ᵀ.
    Syrk {
        /// The row of tiles.
        i: u32,
        /// The column of tiles.
        k: u32,
    },
    /// A(i, j) −= L(i, k)·L(j, k)ᵀ.
    Gemm {
        /// The row of tiles.
        i: u32,
        /// The column of tiles that is updated.
        j: u32,
        /// The column of tiles that it is updated with.
        k: u32,
    },
}

impl Step {
    /// The tile that it writes.
    pub fn tile(self) -> (u32, u32) {
        match self {
            Step::Potrf { k } => (k, k),
            Step::Trsm { i, k } => (i, k),
            Step::Syrk { i, .. } => (i, i),
            Step::Gemm { i, j, .. } => (i, j),
        }
    }

    fn name(self) -> String {
        match self {
            Step::Potrf { k } => format!("potrf({k})"),
            Step::Trsm { i, k } => format!("trsm({i},{k})"),
            Step::Syrk { i, k } => format!("syrk({i},{k})"),
            Step::Gemm { i, j, k } => format!("gemm({i},{j},{k})"),
        }
    }

    /// Thirds of b³ flops, and how many tiles are read or written.
    fn work(self) -> (u64, u64) {
        match self {
            Step::Potrf { .. } => (1, 2),
            Step::Trsm { .. } | Step::Syrk { .. } => (3, 3),
            Step::Gemm { .. } => (6, 4),
        }
    }

    /// Whether the tile that it writes is one of the factor's.
    pub fn finishes(self) -> bool {
        matches!(self, Step::Potrf { .. } | Step::Trsm { .. })
    }

    /// How many finished tiles it reads.
    pub fn reads(self) -> usize {
        self.sources().len()
    }

    /// The finished tiles that it reads, in the order of its formula.
    fn sources(self) -> Vec<(u32, u32)> {
        match self {
            Step::Potrf { .. } => vec![],
            Step::Trsm { k, .. } => vec![(k, k)],
            Step::Syrk { i, k } => vec![(i, k)],
            Step::Gemm { i, j, k } => vec![(i, k), (j, k)],
        }
    }
}

/// The tasks of a factorisation, in the order of the sequential algorithm: a task's place is its identity.
pub fn steps(tiles: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    for k in 0..tiles {
        steps.push(Step::Potrf { k });
        steps.extend((k + 1..tiles).map(|i| Step::Trsm { i, k }));
        for i in k + 1..tiles {
            steps.push(Step::Syrk { i, k });
            steps.extend((k + 1..i).map(|j| Step::Gemm { i, j, k }));
        }
    }
    steps
}

impl TaskGenerator for Cholesky {
    fn generate(&self, _devices: usize, _seed: Seed) -> TaskGraph {
        let tiles = Tiles { side: u64::from(self.tile), precision: self.precision };
        let mut sketch = Sketch::default();
        // Who wrote each tile last: finished tiles are written once more by no one.
        let mut writer: BTreeMap<(u32, u32), TaskId> = BTreeMap::new();
        for step in steps(self.tiles) {
            let (thirds, touched) = step.work();
            let task = sketch.task(step.name(), tiles.work(thirds, touched), tiles.bytes() * touched);
            let needs = writer.get(&step.tile()).copied();
            let reads = step.sources().into_iter().map(|tile| writer[&tile]);
            for from in needs.into_iter().chain(reads) {
                sketch.edge(from, task, Payload::Bytes(tiles.bytes()));
            }
            writer.insert(step.tile(), task);
        }
        sketch.finish()
    }

    fn size(&self) -> Option<u64> {
        let t = u128::from(self.tiles);
        u64::try_from(t * (t + 1) * (t + 2) / 6).ok()
    }

    fn admits(&self) -> Result<(), String> {
        admits(self.tiles, self.tile)
    }
}

/// Why a matrix of tiles would not do.
pub(super) fn admits(tiles: u32, tile: u32) -> Result<(), String> {
    at_least_one("tiles", tiles)?;
    at_least_one("tile", tile)?;
    if tile > Tiles::MOST { Err(format!("`tile` is at most {}", Tiles::MOST)) } else { Ok(()) }
}
