//! Fork and join: one task divides, many execute, one gathers; several times over.

use serde::{Deserialize, Serialize};

use crate::rng::Seed;
use crate::tasks::TaskGraph;
use crate::tasks::generate::{Effort, Sketch, TaskGenerator, at_least_one, single};
use crate::tasks::graph::Payload;
use crate::units::{Bytes, Flops};

/// `stages` stages of `width` equal tasks each; dividing and gathering take a tenth of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForkJoin {
    /// How often it is divided and gathered.
    pub stages: u32,
    /// How many tasks at once.
    pub width: u32,
    /// What a task has to do.
    pub effort: Effort,
    /// What each task is given, and what it hands back.
    pub data: Bytes,
}

impl Default for ForkJoin {
    fn default() -> Self {
        let effort =
            Effort::Work { flops: Flops(20_000_000_000), bytes: Bytes(256 << 20), precision: single() };
        ForkJoin { stages: 3, width: 12, effort, data: Bytes(16 << 20) }
    }
}

impl TaskGenerator for ForkJoin {
    fn generate(&self, _devices: usize, _seed: Seed) -> TaskGraph {
        let mut sketch = Sketch::default();
        let payload = Payload::Bytes(self.data);
        let mut last = None;
        for stage in 0..self.stages {
            let fork = sketch.task(format!("fork({stage})"), self.effort.times(0.1), Bytes::ZERO);
            if let Some(join) = last {
                sketch.edge(join, fork, payload);
            }
            let work: Vec<_> = (0..self.width)
                .map(|at| sketch.task(format!("work({stage},{at})"), self.effort.times(1.0), Bytes::ZERO))
                .collect();
            let join = sketch.task(format!("join({stage})"), self.effort.times(0.1), Bytes::ZERO);
            for task in work {
                sketch.edge(fork, task, payload);
                sketch.edge(task, join, payload);
            }
            last = Some(join);
        }
        sketch.finish()
    }

    fn size(&self) -> Option<u64> {
        Some(u64::from(self.stages) * (u64::from(self.width) + 2))
    }

    fn admits(&self) -> Result<(), String> {
        at_least_one("stages", self.stages)?;
        at_least_one("width", self.width)?;
        self.effort.admits()
    }
}
