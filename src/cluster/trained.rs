//! How fast jobs train where they are placed: a step on the very devices of the gang, simulated.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::speed::Profiler;
use crate::cluster::{Gang, KindId, Machine};
use crate::collective::AlgorithmSpec;
use crate::compute::ComputeSpec;
use crate::hardware::{Precision, Topology};
use crate::ids::{DeviceId, IdVec, NodeId, Rank};
use crate::model::Model;
use crate::network::{NetworkSpec, links_of};
use crate::numeric::optimizer::OptimizerSpec;
use crate::parallel::Mesh;
use crate::rng::Seed;
use crate::training::compression::CompressionSpec;
use crate::training::recompute::Recompute;
use crate::training::schedule::ScheduleSpec;
use crate::training::software::SoftwareSpec;
use crate::training::state::State;
use crate::training::sync::SyncSpec;
use crate::training::zero::Zero;
use crate::training::{self, Silent, TrainingPlan, even_stages};
use crate::units::Bytes;

/// What a job trains, for any number of devices.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The network.
    pub model: Model,
    /// Tensor ranks; data-parallel replicas are as many as the gang then allows.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Micro-batches of each replica in a step.
    pub micro_batches: u32,
    /// What numbers are kept and multiplied in.
    pub precision: Precision,
    /// The order of passes.
    pub schedule: ScheduleSpec,
    /// What replicas exchange.
    pub sync: SyncSpec,
    /// How collectives are carried out.
    pub algorithm: AlgorithmSpec,
    /// How weights are stepped.
    pub optimizer: OptimizerSpec,
    /// Least size of a gradient bucket.
    pub bucket: Bytes,
}

impl Profile {
    /// The plan of training on these devices.
    ///
    /// # Errors
    /// Why it cannot be trained on so many devices.
    pub fn plan(&self, topology: &Arc<Topology>, devices: &[DeviceId]) -> Result<TrainingPlan, String> {
        let each = self.tensor * self.pipeline;
        let count = devices.len() as u32;
        if each == 0 || count == 0 || !count.is_multiple_of(each) {
            return Err(format!(
                "{count} devices do not divide into replicas of tensor {} × pipeline {}",
                self.tensor, self.pipeline
            ));
        }
        let plan = TrainingPlan {
            model: self.model.clone(),
            topology: Arc::clone(topology),
            mesh: Mesh { data: count / each, pipeline: self.pipeline, context: 1, tensor: self.tensor },
            placement: devices.iter().copied().collect::<IdVec<Rank, DeviceId>>(),
            stages: even_stages(&self.model, self.pipeline * self.schedule.stages_per_rank())?,
            micro_batch: self.micro_batch,
            micro_batches: self.micro_batches,
            // The second step finds the devices as the first left them: it is the one that repeats.
            steps: 2,
            precision: self.precision,
            schedule: self.schedule.clone(),
            sync: self.sync.clone(),
            compression: CompressionSpec::from_name("none").expect("a listed compression"),
            bucket: self.bucket,
            sequence_parallel: false,
            recompute: Recompute::None,
            software: SoftwareSpec::from_name("fused").expect("listed software"),
            zero: Zero::default(),
            folded: false,
            algorithm: self.algorithm.clone(),
            optimizer: self.optimizer.clone(),
            clip: None,
            input: None,
            expert: 1,
            seed: Seed(1),
        };
        plan.schedule.admits(plan.shape())?;
        Ok(plan)
    }
}

/// Trains to find speeds, once for each shape of a gang.
///
/// Gangs have one shape when they have the same profile and kind of device, the same places within
/// their nodes, and their nodes lie as far from each other. Nodes of one kind are taken to be wired
/// alike; where they are not, hops tell most of the difference.
pub struct Trained {
    topology: Arc<Topology>,
    machine: Machine,
    compute: ComputeSpec,
    network: NetworkSpec,
    profiles: Vec<Profile>,
    known: RefCell<BTreeMap<Shape, f64>>,
}

/// Profile, kind, places within each node, and hops between the nodes.
type Shape = (usize, KindId, Vec<Vec<usize>>, Vec<u16>);

impl Trained {
    /// Profiles on a machine, whose hops are measured here.
    pub fn new(
        topology: Arc<Topology>,
        compute: ComputeSpec,
        network: NetworkSpec,
        profiles: Vec<Profile>,
    ) -> Self {
        let mut machine = Machine::of(&topology);
        if !profiles.is_empty() {
            machine.measure(&topology);
        }
        Trained { topology, machine, compute, network, profiles, known: RefCell::default() }
    }

    /// Seconds that a step takes on a gang.
    ///
    /// # Errors
    /// Why it cannot be trained there.
    pub fn step_seconds(&self, profile: usize, gang: &Gang) -> Result<f64, String> {
        let devices: Vec<DeviceId> = gang.devices().collect();
        let plan = self.profiles[profile].plan(&self.topology, &devices)?;
        for &device in &devices {
            let spec = &self.topology.devices()[device].spec;
            self.compute.admits(spec, plan.precision).map_err(|why| why.to_string())?;
        }
        let state = State::new(&plan);
        let network = self.network.model(&links_of(&plan.topology));
        let ran = training::run(&plan, &state, &*self.compute, network, None, &mut Silent);
        let outcome = ran.map_err(|failure| failure.to_string())?;
        let last = outcome.steps.last().expect("two steps were run");
        Ok(last.duration.seconds())
    }

    fn shape(&self, profile: usize, gang: &Gang) -> Shape {
        let place = |node: NodeId, device: DeviceId| {
            let devices = &self.machine.nodes()[node].devices;
            devices.iter().position(|&other| other == device).expect("a device of its node")
        };
        let places = gang
            .parts
            .iter()
            .map(|(node, devices)| devices.iter().map(|&device| place(*node, device)).collect());
        let nodes: Vec<NodeId> = gang.parts.iter().map(|(node, _)| *node).collect();
        let pairs = nodes.iter().enumerate().flat_map(|(at, &a)| nodes[..at].iter().map(move |&b| (a, b)));
        let hops = pairs.map(|(a, b)| self.machine.hops(a, b)).collect();
        (profile, gang.kind, places.collect(), hops)
    }

    /// How many shapes were timed.
    pub fn timed(&self) -> usize {
        self.known.borrow().len()
    }
}

impl Profiler for Trained {
    fn steps_per_second(&self, profile: usize, gang: &Gang) -> f64 {
        let shape = self.shape(profile, gang);
        if let Some(&known) = self.known.borrow().get(&shape) {
            return known;
        }
        // Where it cannot be trained its speed is nothing: placements there are refused.
        let rate = self.step_seconds(profile, gang).map_or(0.0, |seconds| 1.0 / seconds);
        self.known.borrow_mut().insert(shape, rate);
        rate
    }
}
