//! The tiled LU factorisation without pivoting, right-looking, each update of a tile a task.
//!
//! Buttari et al., Parallel Computing 35(1), 2009, section 2.3, without the pairwise pivoting. Leading
//! terms of the flops: 2b³/3 for getrf, b³ for each triangular solve, 2b³ for gemm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hardware::Precision;
use crate::ids::TaskId;
use crate::rng::Seed;
use crate::tasks::TaskGraph;
use crate::tasks::generate::{Sketch, TaskGenerator, Tiles, cholesky};
use crate::tasks::graph::Payload;

/// A matrix of `tiles` × `tiles` tiles of `tile` × `tile` numbers; every edge carries a tile.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lu {
    /// Tiles a side.
    pub tiles: u32,
    /// Numbers a side of a tile.
    pub tile: u32,
    /// The format computed in.
    pub precision: Precision,
}

impl Default for Lu {
    fn default() -> Self {
        Lu { tiles: 6, tile: 1024, precision: Precision::F64 }
    }
}

/// A task of the factorisation: its name, thirds of b³ flops, tiles touched, the tile it writes, and the
/// finished tiles it reads.
type Step = (String, u64, u64, (u32, u32), Vec<(u32, u32)>);

fn steps(tiles: u32) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for k in 0..tiles {
        steps.push((format!("getrf({k})"), 2, 2, (k, k), vec![]));
        let row = (k + 1..tiles).map(|j| (format!("solve_u({k},{j})"), 3, 3, (k, j), vec![(k, k)]));
        steps.extend(row);
        let column = (k + 1..tiles).map(|i| (format!("solve_l({i},{k})"), 3, 3, (i, k), vec![(k, k)]));
        steps.extend(column);
        for i in k + 1..tiles {
            let update = |j| (format!("gemm({i},{j},{k})"), 6, 4, (i, j), vec![(i, k), (k, j)]);
            steps.extend((k + 1..tiles).map(update));
        }
    }
    steps
}

impl TaskGenerator for Lu {
    fn generate(&self, _devices: usize, _seed: Seed) -> TaskGraph {
        let tiles = Tiles { side: u64::from(self.tile), precision: self.precision };
        let mut sketch = Sketch::default();
        let mut writer: BTreeMap<(u32, u32), TaskId> = BTreeMap::new();
        for (name, thirds, touched, tile, reads) in steps(self.tiles) {
            let task = sketch.task(name, tiles.work(thirds, touched), tiles.bytes() * touched);
            let reads = reads.into_iter().map(|tile| writer[&tile]);
            for from in writer.get(&tile).copied().into_iter().chain(reads) {
                sketch.edge(from, task, Payload::Bytes(tiles.bytes()));
            }
            writer.insert(tile, task);
        }
        sketch.finish()
    }

    fn size(&self) -> Option<u64> {
        let t = u128::from(self.tiles);
        u64::try_from(t * (t + 1) * (2 * t + 1) / 6).ok()
    }

    fn admits(&self) -> Result<(), String> {
        cholesky::admits(self.tiles, self.tile)
    }
}
