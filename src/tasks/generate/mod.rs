//! Task graphs made up: the shapes that the literature schedules.
//!
//! A generator is a pure function of its parameters, the number of devices and the seed. To add one,
//! write its file and list it here; the conformance tests will find it.

pub mod cholesky;
pub mod fft;
pub mod fork_join;
pub mod layered;
pub mod lu;

use serde::{Deserialize, Serialize};

use crate::hardware::Precision;
use crate::ids::{Id, TaskId};
use crate::registry;
use crate::rng::Seed;
use crate::tasks::graph::{Data, Payload, Work};
use crate::tasks::{Task, TaskGraph};
use crate::units::{Bytes, Flops, SimDuration};

registry! {
    /// `generate:` of a task workload.
    pub enum TaskGeneratorSpec: TaskGenerator {
        /// stages that fan out and gather again
        "fork_join" => ForkJoin(fork_join::ForkJoin),
        /// random graphs in layers (Topcuoglu et al.)
        "layered" => Layered(layered::Layered),
        /// the tiled Cholesky factorisation
        "cholesky" => Cholesky(cholesky::Cholesky),
        /// the tiled LU factorisation without pivoting
        "lu" => Lu(lu::Lu),
        /// the fast Fourier transform: calls and butterflies
        "fft" => Fft(fft::Fft),
    }
}

/// Makes up a task graph.
pub trait TaskGenerator {
    /// The graph, for a machine of so many devices; the same for the same seed.
    fn generate(&self, devices: usize, seed: Seed) -> TaskGraph;

    /// How many tasks that are; nothing where that is beyond counting.
    fn size(&self) -> Option<u64>;

    /// Why its parameters would not do, and what would.
    fn admits(&self) -> Result<(), String>;

    /// Whether another seed gives another graph.
    fn draws(&self) -> bool {
        false
    }
}

/// Larger graphs are not made up.
pub const MOST_TASKS: u64 = 200_000;

/// A graph in the making: tasks by name, edges by their ends.
#[derive(Debug, Default)]
struct Sketch {
    tasks: Vec<Task>,
    edges: Vec<Data>,
}

impl Sketch {
    fn task(&mut self, name: String, work: Work, memory: Bytes) -> TaskId {
        self.tasks.push(Task { name, work, memory });
        TaskId::from_index(self.tasks.len() - 1)
    }

    fn edge(&mut self, from: TaskId, to: TaskId, payload: Payload) {
        self.edges.push(Data { from, to, payload });
    }

    fn finish(self) -> TaskGraph {
        TaskGraph::new(self.tasks, self.edges).expect("generators make graphs without cycles")
    }
}

/// What tasks that are alike have to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// So long on a device of speed 1.
    Time(SimDuration),
    /// So much on a device whose compute model says how long.
    Work {
        /// Floating-point operations.
        flops: Flops,
        /// Bytes moved to and from the device's memory.
        #[serde(default)]
        bytes: Bytes,
        /// The format computed in.
        #[serde(default = "single")]
        precision: Precision,
    },
}

fn single() -> Precision {
    Precision::F32
}

impl Effort {
    /// This effort times a factor.
    fn times(self, factor: f64) -> Work {
        let scaled = |count: u64| (count as f64 * factor).round() as u64;
        match self {
            Effort::Time(time) => Work::Reference(time.scaled(factor)),
            Effort::Work { flops, bytes, precision } => Work::Arithmetic {
                flops: Flops(scaled(flops.get())),
                bytes: Bytes(scaled(bytes.get())),
                precision,
            },
        }
    }

    /// Why it would not do.
    fn admits(self) -> Result<(), String> {
        match self {
            Effort::Time(time) if time.seconds() > 1e6 => Err("a task takes at most 1000000 s".into()),
            Effort::Work { flops, bytes, .. } if flops.get() > 1 << 59 || bytes.get() > 1 << 49 => {
                Err("a task has at most 2^59 flops and 2^49 bytes".into())
            }
            _ => Ok(()),
        }
    }
}

/// A parameter that is a number of things, from 1 on.
fn at_least_one(name: &str, count: u32) -> Result<(), String> {
    if count == 0 { Err(format!("`{name}` is at least 1")) } else { Ok(()) }
}

/// Work on square tiles: how the two factorisations count it.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    side: u64,
    precision: Precision,
}

impl Tiles {
    /// The largest tile: 2b³ flops must be countable.
    const MOST: u32 = 65_536;

    /// One tile's bytes.
    fn bytes(self) -> Bytes {
        self.precision.bytes_of(self.side * self.side)
    }

    /// `thirds` / 3 · b³ flops that read or write `tiles` tiles.
    fn work(self, thirds: u64, tiles: u64) -> Work {
        let flops = Flops(thirds * self.side.pow(3) / 3);
        Work::Arithmetic { flops, bytes: self.bytes() * tiles, precision: self.precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> TaskGraph {
        TaskGeneratorSpec::from_name(name).unwrap().generate(3, Seed(1))
    }

    #[test]
    fn every_generator_makes_as_many_tasks_as_it_says_and_the_same_for_the_same_seed() {
        for name in TaskGeneratorSpec::NAMES {
            let spec = TaskGeneratorSpec::from_name(name).unwrap();
            assert_eq!(spec.admits(), Ok(()), "{name}");
            let (a, b) = (spec.generate(3, Seed(7)), spec.generate(3, Seed(7)));
            assert_eq!(spec.size(), Some(a.len() as u64), "{name}");
            let tasks = |graph: &TaskGraph| graph.ids().map(|id| graph.task(id).clone()).collect::<Vec<_>>();
            assert_eq!(tasks(&a), tasks(&b), "{name}");
        }
    }

    /// T tiles a side: T potrf, T(T − 1)/2 trsm and as many syrk, T(T − 1)(T − 2)/6 gemm; the longest way is
    /// potrf, trsm, syrk, potrf …: 3T − 2 tasks.
    #[test]
    fn cholesky_has_the_tasks_and_the_depth_of_the_textbook() {
        let graph = TaskGeneratorSpec::Cholesky(cholesky::Cholesky { tiles: 6, ..Default::default() })
            .generate(1, Seed(1));
        let of = |kind: &str| graph.ids().filter(|&id| graph.task(id).name.starts_with(kind)).count();
        assert_eq!(["potrf", "trsm", "syrk", "gemm"].map(of), [6, 15, 15, 20]);
        assert_eq!(depth(&graph), 16);
    }

    /// LU of T tiles: T + T(T − 1) + Σ k² tasks and 3T − 2 deep. FFT of m points: 2m − 1 calls and
    /// m·log₂ m butterflies (Topcuoglu et al. 2002, section 5.3.2).
    #[test]
    fn lu_and_fft_have_the_tasks_of_the_textbook() {
        let lu = TaskGeneratorSpec::Lu(lu::Lu { tiles: 4, ..Default::default() }).generate(1, Seed(1));
        assert_eq!((lu.len(), depth(&lu)), (4 + 12 + 14, 10));
        let fft = made("fft");
        let of = |kind: &str| fft.ids().filter(|&id| fft.task(id).name.starts_with(kind)).count();
        assert_eq!(["call", "butterfly"].map(of), [15, 24]);
    }

    /// Tasks on the longest way.
    fn depth(graph: &TaskGraph) -> usize {
        let mut depth = vec![1; graph.len()];
        for &task in graph.order() {
            let before = graph.inputs(task).map(|(_, data)| depth[data.from.index()]);
            depth[task.index()] = before.max().unwrap_or(0) + 1;
        }
        depth.into_iter().max().unwrap()
    }
}
