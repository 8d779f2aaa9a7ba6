//! The fast Fourier transform: a tree of calls that divides, and butterflies that gather.
//!
//! The task graph of Topcuoglu et al., IEEE TPDS 13(3), 2002, section 5.3.2 (after Chung and Ranka 1992):
//! 2m − 1 calls and m·log₂ m butterflies for m points.

use serde::{Deserialize, Serialize};

use crate::hardware::Precision;
use crate::ids::TaskId;
use crate::rng::Seed;
use crate::tasks::TaskGraph;
use crate::tasks::generate::{Sketch, TaskGenerator};
use crate::tasks::graph::{Payload, Work};
use crate::units::{Bytes, Flops};

/// `points` points, each a block of `block` complex numbers of 8 bytes.
///
/// A call hands half of its data to each of the two that it calls. A butterfly makes one block of two:
/// a complex product and a sum, 8 flops a number.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fft {
    /// m, a power of two.
    pub points: u32,
    /// Complex numbers a point.
    pub block: u64,
}

impl Default for Fft {
    fn default() -> Self {
        Fft { points: 8, block: 1 << 20 }
    }
}

const COMPLEX: u64 = 8;

impl Fft {
    fn work(&self, flops: u64, blocks: u64) -> Work {
        let bytes = Bytes(blocks * self.block * COMPLEX);
        Work::Arithmetic { flops: Flops(flops * self.block), bytes, precision: Precision::F32 }
    }

    /// The tree of calls; those that call no more.
    fn calls(&self, sketch: &mut Sketch) -> Vec<TaskId> {
        let mut level = vec![sketch.task("call(0,0)".into(), self.work(0, 2 * self.blocks(0)), Bytes::ZERO)];
        for depth in 1..=self.points.ilog2() {
            let payload = Payload::Bytes(Bytes(self.blocks(depth) * self.block * COMPLEX));
            let mut next = Vec::new();
            for at in 0..1_usize << depth {
                let work = self.work(0, 2 * self.blocks(depth));
                let call = sketch.task(format!("call({depth},{at})"), work, Bytes::ZERO);
                sketch.edge(level[at / 2], call, payload);
                next.push(call);
            }
            level = next;
        }
        level
    }

    /// Blocks that a call of this depth holds.
    fn blocks(&self, depth: u32) -> u64 {
        u64::from(self.points >> depth)
    }
}

impl TaskGenerator for Fft {
    fn generate(&self, _devices: usize, _seed: Seed) -> TaskGraph {
        let mut sketch = Sketch::default();
        let mut row = self.calls(&mut sketch);
        let payload = Payload::Bytes(Bytes(self.block * COMPLEX));
        for stage in 0..self.points.ilog2() {
            let mut next = Vec::new();
            for at in 0..row.len() {
                let name = format!("butterfly({stage},{at})");
                let butterfly = sketch.task(name, self.work(8, 3), Bytes::ZERO);
                let partner = at ^ (1 << stage);
                sketch.edge(row[at.min(partner)], butterfly, payload);
                sketch.edge(row[at.max(partner)], butterfly, payload);
                next.push(butterfly);
            }
            row = next;
        }
        sketch.finish()
    }

    fn size(&self) -> Option<u64> {
        let m = u64::from(self.points);
        Some((2 * m).saturating_sub(1) + m * u64::from(self.points.checked_ilog2().unwrap_or(0)))
    }

    fn admits(&self) -> Result<(), String> {
        if !self.points.is_power_of_two() {
            return Err(format!("`points` is a power of two, not {}", self.points));
        }
        if !(1..=1 << 32).contains(&self.block) {
            return Err(format!("`block` is between 1 and 2^32, not {}", self.block));
        }
        Ok(())
    }
}
