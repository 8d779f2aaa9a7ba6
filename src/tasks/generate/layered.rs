//! Random graphs in layers.
//!
//! The generator of Topcuoglu et al., IEEE TPDS 13(3), 2002, section 5.2.1, with its parameters: the number
//! of tasks v, the shape α, the out-degree, the ratio of communication to computation CCR, and β, how much
//! the costs of a task differ between devices.

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;
use crate::rng::{RngExt, Seed, Stream};
use crate::tasks::TaskGraph;
use crate::tasks::generate::{Effort, Sketch, TaskGenerator, at_least_one};
use crate::tasks::graph::{Payload, Work};
use crate::units::{Bytes, SimDuration};

/// √v / α layers of α·√v tasks on average; what the paper leaves open is drawn so: one task a layer, the
/// others by the layers' drawn widths; edges lead to the next layer; a task without one to it is given one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layered {
    /// v.
    pub tasks: u32,
    /// α: above 1 wide and shallow, below 1 narrow and deep.
    pub shape: f64,
    /// The most edges that leave a task.
    pub degree: u32,
    /// What tasks have to do, and what they hand on.
    pub work: LayeredWork,
}

/// What the tasks of a random graph have to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LayeredWork {
    /// A row of costs for each task and plain communication costs, as in the paper: w̄ is drawn from
    /// [0, 2·mean], each cost from w̄·[1 − β/2, 1 + β/2], each edge from [0, 2·mean·CCR].
    Costs {
        /// The mean cost of a task.
        mean: SimDuration,
        /// CCR.
        ccr: f64,
        /// β.
        heterogeneity: f64,
    },
    /// Work for the machine's compute model and bytes for its network, each drawn from 0 to twice the mean.
    Work {
        /// The mean effort of a task.
        effort: Effort,
        /// The mean size of what an edge carries.
        data: Bytes,
    },
}

impl Default for Layered {
    fn default() -> Self {
        let mean = SimDuration::from_nanos(10_000_000_000);
        let work = LayeredWork::Costs { mean, ccr: 1.0, heterogeneity: 1.0 };
        Layered { tasks: 40, shape: 1.0, degree: 3, work }
    }
}

impl TaskGenerator for Layered {
    fn generate(&self, devices: usize, seed: Seed) -> TaskGraph {
        let mut stream = seed.stream("tasks/layered");
        let mut sketch = Sketch::default();
        let mut layers: Vec<Vec<TaskId>> = Vec::new();
        for width in self.widths(&mut stream) {
            let mut layer = Vec::new();
            for _ in 0..width {
                let name = format!("t{}", sketch.tasks.len());
                let work = self.work.task(devices, &mut stream);
                layer.push(sketch.task(name, work, Bytes::ZERO));
            }
            layers.push(layer);
        }
        for pair in layers.windows(2) {
            self.join(&mut sketch, &pair[0], &pair[1], &mut stream);
        }
        sketch.finish()
    }

    fn size(&self) -> Option<u64> {
        Some(u64::from(self.tasks))
    }

    fn admits(&self) -> Result<(), String> {
        at_least_one("tasks", self.tasks)?;
        at_least_one("degree", self.degree)?;
        if !(0.01..=100.0).contains(&self.shape) {
            return Err(format!("`shape` is between 0.01 and 100, not {}", self.shape));
        }
        match &self.work {
            LayeredWork::Work { effort, .. } => effort.admits(),
            LayeredWork::Costs { mean, ccr, heterogeneity } => {
                if mean.seconds() > 1e6 {
                    return Err("`mean` is at most 1000000 s".into());
                }
                if !(0.0..=1000.0).contains(ccr) {
                    return Err(format!("`ccr` is between 0 and 1000, not {ccr}"));
                }
                if !(0.0..=2.0).contains(heterogeneity) {
                    return Err(format!("`heterogeneity` is between 0 and 2, not {heterogeneity}"));
                }
                Ok(())
            }
        }
    }

    fn draws(&self) -> bool {
        true
    }
}

impl Layered {
    /// How many tasks each layer has.
    fn widths(&self, stream: &mut Stream) -> Vec<u32> {
        let root = f64::from(self.tasks).sqrt();
        // Uniform with the paper's means, from 1 on.
        let around = |mean: f64, stream: &mut Stream| {
            stream.random_range(1..=((2.0 * mean - 1.0).round().max(1.0) as u32))
        };
        let layers = around(root / self.shape, stream).min(self.tasks) as usize;
        let drawn: Vec<u32> = (0..layers).map(|_| around(root * self.shape, stream)).collect();
        let mut widths = vec![1; layers];
        let all: u64 = drawn.iter().map(|&width| u64::from(width)).sum();
        for _ in layers..self.tasks as usize {
            let mut lot = stream.random_range(0..all);
            let place = drawn.iter().position(|&width| {
                let here = lot < u64::from(width);
                lot = lot.saturating_sub(u64::from(width));
                here
            });
            widths[place.expect("the lot is below the sum")] += 1;
        }
        widths
    }

    fn join(&self, sketch: &mut Sketch, from: &[TaskId], to: &[TaskId], stream: &mut Stream) {
        let mut reached = vec![false; to.len()];
        for &task in from {
            let mut left: Vec<usize> = (0..to.len()).collect();
            for _ in 0..stream.random_range(1..=self.degree).min(to.len() as u32) {
                let next = left.swap_remove(stream.random_range(0..left.len()));
                reached[next] = true;
                let payload = self.work.edge(stream);
                sketch.edge(task, to[next], payload);
            }
        }
        for (at, _) in reached.iter().enumerate().filter(|(_, reached)| !**reached) {
            let task = from[stream.random_range(0..from.len())];
            let payload = self.work.edge(stream);
            sketch.edge(task, to[at], payload);
        }
    }
}

impl LayeredWork {
    fn task(&self, devices: usize, stream: &mut Stream) -> Work {
        match self {
            LayeredWork::Costs { mean, heterogeneity, .. } => {
                let own = mean.seconds() * 2.0 * stream.random::<f64>();
                let cost = |_| {
                    let factor = 1.0 + heterogeneity * (stream.random::<f64>() - 0.5);
                    Some(SimDuration::from_seconds(own * factor))
                };
                Work::Costs((0..devices).map(cost).collect())
            }
            LayeredWork::Work { effort, .. } => effort.times(2.0 * stream.random::<f64>()),
        }
    }

    fn edge(&self, stream: &mut Stream) -> Payload {
        let factor = 2.0 * stream.random::<f64>();
        match self {
            LayeredWork::Costs { mean, ccr, .. } => Payload::Cost(mean.scaled(factor * ccr)),
            LayeredWork::Work { data, .. } => Payload::Bytes(Bytes::from_f64(data.as_f64() * factor)),
        }
    }
}
