//! Measured training steps, read from a table, and what the simulator says of them.
//!
//! A table is CSV with a header. Of its columns
//! - `device`, `devices`, `layers`, `hidden`, `heads`, `sequence`, `global_batch`, `micro_batch` and
//!   `step_time_s` are needed; `id` and `source` say which row it is and where it was published;
//! - `tensor`, `pipeline` and `data` are 1 where they are empty, but for `data`, which is then what fills
//!   the devices; `virtual_stages` above 1 is Megatron-LM's interleaved schedule;
//! - `node_devices` is 8 where it is empty, `vocabulary` GPT-2's 51,200, `ffn_hidden` four times `hidden`,
//!   `precision` bf16;
//! - `recompute` is `none`, `selective` or `full`.
//!
//! Empty cells are unknown, further columns are not looked at. What a table does not say is taken alike for
//! all its rows ([`TrainRow::plan`]): nodes are joined by one network card a device, as fast as the slot it
//! is in; devices from before Hopper run eager software that recomputes everything unless the table says
//! otherwise, later ones fused software that recomputes nothing.

use std::sync::Arc;

use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};

use crate::collective::AlgorithmSpec;
use crate::compute::ComputeSpec;
use crate::compute::tile::TileModel;
use crate::hardware::shapes::{Rail, ShapeSpec};
use crate::hardware::{DeviceSpec, LinkClass, LinkSpec, Precision, Topology};
use crate::ids::{DeviceId, Id, IdVec, Rank};
use crate::model::{Gpt, Model};
use crate::network::{NetworkSpec, links_of};
use crate::numeric::optimizer::OptimizerSpec;
use crate::parallel::Mesh;
use crate::rng::Seed;
use crate::training::compression::CompressionSpec;
use crate::training::recompute::Recompute;
use crate::training::schedule::{Interleaved, ScheduleSpec};
use crate::training::software::SoftwareSpec;
use crate::training::state::State;
use crate::training::sync::SyncSpec;
use crate::training::zero::Zero;
use crate::training::{self, Silent, TrainingPlan, even_stages};
use crate::units::{Bandwidth, Bytes};
use crate::validation::kernels::Skipped;
use crate::validation::{Comparison, Summary};

/// A row of a table of measured training steps.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct TrainRow {
    /// Its identity; the line number if the table gives none.
    #[serde(default)]
    pub id: String,
    /// Where it was published.
    #[serde(default)]
    pub source: String,
    /// The device's name or an alias of it.
    pub device: String,
    /// Devices of a node.
    #[serde(default)]
    pub node_devices: Option<u32>,
    /// Devices of the run.
    pub devices: u32,
    /// Transformer blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Attention heads.
    pub heads: u64,
    /// Width of the MLP.
    #[serde(default)]
    pub ffn_hidden: Option<u64>,
    /// Token ids.
    #[serde(default)]
    pub vocabulary: Option<u64>,
    /// Tokens of a sample.
    pub sequence: u64,
    /// Samples of a step.
    pub global_batch: u64,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Tensor ranks.
    #[serde(default)]
    pub tensor: Option<u32>,
    /// Pipeline stages.
    #[serde(default)]
    pub pipeline: Option<u32>,
    /// Replicas.
    #[serde(default)]
    pub data: Option<u32>,
    /// Model chunks of each pipeline rank.
    #[serde(default)]
    pub virtual_stages: Option<u32>,
    /// The pipeline schedule's name.
    #[serde(default)]
    pub schedule: Option<String>,
    /// ZeRO's stage.
    #[serde(default)]
    pub zero: Option<u8>,
    /// Whether tensor ranks also split the rows between their regions.
    #[serde(default)]
    pub sequence_parallel: Option<bool>,
    /// `none`, `selective` or `full`.
    #[serde(default)]
    pub recompute: Option<String>,
    /// Number format.
    #[serde(default)]
    pub precision: Option<String>,
    /// What was measured, in seconds.
    pub step_time_s: f64,
}

/// A table with what was predicted for it.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// Measured and predicted seconds.
    pub rows: Vec<Comparison>,
    /// What the errors amount to.
    pub summary: Summary,
    /// Rows that could not be predicted, and why.
    pub skipped: Vec<Skipped>,
}

/// Reads a table; the error names the line and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<TrainRow>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (index, row) in reader.deserialize::<TrainRow>().enumerate() {
        let mut row = row.map_err(|error| error.to_string())?;
        if !(row.step_time_s > 0.0 && row.step_time_s.is_finite()) {
            let written = row.step_time_s;
            return Err(format!("line {}: `step_time_s` is {written}, not a length of time", index + 2));
        }
        if row.id.is_empty() {
            row.id = format!("line {}", index + 2);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Predicts every row of a table; `tell` hears how many are done.
pub fn predict(rows: &[TrainRow], devices: &[DeviceSpec], mut tell: impl FnMut(u64)) -> TrainReport {
    let mut compared = Vec::new();
    let mut skipped = Vec::new();
    for (done, row) in (1..).zip(rows) {
        match row.predict(devices) {
            Ok(seconds) => {
                compared.push(Comparison::new(&row.id, &row.device, &row.source, row.step_time_s, seconds));
            }
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
        tell(done);
    }
    let summary = Summary::of(&compared);
    TrainReport { rows: compared, summary, skipped }
}

/// The slot's generation decides the card: 3.0 has EDR or 100 Gbit/s Ethernet, 4.0 HDR, 5.0 NDR (the DGX-1,
/// DGX A100 and DGX H100 of NVIDIA's reference architectures).
fn card(host: Option<&LinkSpec>) -> LinkSpec {
    let gigabytes = match host.map_or(0.0, |host| host.bandwidth.get() / 1e9) {
        slow if slow < 20.0 => 12.5,
        middle if middle < 40.0 => 25.0,
        _ => 50.0,
    };
    LinkSpec { bandwidth: Bandwidth::per_second(gigabytes * 1e9), ..Rail::default().network }
}

impl TrainRow {
    /// Seconds of a step.
    fn predict(&self, devices: &[DeviceSpec]) -> Result<f64, String> {
        let device = devices.iter().find(|device| device.is_called(&self.device));
        let device = device.ok_or_else(|| format!("no device is called `{}`", self.device))?;
        let plan = self.plan(device)?;
        let compute = match device.gpu {
            // A run keeps its devices under load all the time.
            Some(_) => ComputeSpec::Tile(TileModel { sustained: true }),
            None => ComputeSpec::from_name("native").expect("a listed model"),
        };
        compute.admits(device, plan.precision).map_err(|unsuited| unsuited.to_string())?;
        let network =
            NetworkSpec::from_name("fluid").expect("a listed model").model(&links_of(&plan.topology));
        let state = State::new(&plan);
        let ran = training::run(&plan, &state, &*compute, network, None, &mut Silent);
        let outcome = ran.map_err(|failure| failure.to_string())?;
        Ok(outcome.steps.last().expect("a step was run").duration.seconds())
    }

    /// The plan of the row on nodes of a device.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn plan(&self, device: &DeviceSpec) -> Result<TrainingPlan, String> {
        let (tensor, pipeline) = (self.tensor.unwrap_or(1), self.pipeline.unwrap_or(1));
        let filling = (self.devices / (tensor * pipeline).max(1)).max(1);
        let mesh = Mesh { data: self.data.unwrap_or(filling), pipeline, context: 1, tensor };
        if mesh.ranks() == 0 || mesh.ranks() != self.devices {
            return Err(format!(
                "data {} × pipeline {pipeline} × tensor {tensor} is not {} devices",
                mesh.data, self.devices
            ));
        }
        let each = self.micro_batch * u64::from(mesh.data);
        if each == 0 || self.global_batch == 0 || !self.global_batch.is_multiple_of(each) {
            let why = "micro-batches of {} over {} replicas do not divide a batch of {}";
            let parts = [self.micro_batch, u64::from(mesh.data), self.global_batch];
            return Err(parts
                .iter()
                .fold(why.to_owned(), |why, part| why.replacen("{}", &part.to_string(), 1)));
        }
        let model = self.model(u64::from(tensor))?;
        let schedule = self.schedule()?;
        let eager = !device_is_recent(device);
        let software = if eager { "eager" } else { "fused" };
        let topology = self.topology(device)?;
        let plan = TrainingPlan {
            stages: even_stages(&model, pipeline * schedule.stages_per_rank())?,
            model,
            topology: Arc::new(topology),
            mesh,
            placement: (0..mesh.ranks())
                .map(|rank| DeviceId::from_index(rank as usize))
                .collect::<IdVec<Rank, _>>(),
            micro_batch: self.micro_batch,
            micro_batches: (self.global_batch / each) as u32,
            steps: 1,
            precision: self.precision()?,
            schedule,
            sync: SyncSpec::from_name("all_reduce").expect("a listed sync"),
            // Megatron-LM's classic data parallelism reduces what it has gathered once, at the end.
            compression: CompressionSpec::from_name("none").expect("a listed compression"),
            bucket: if eager { Bytes(1 << 50) } else { Bytes(40 << 20) },
            sequence_parallel: self.sequence_parallel.unwrap_or(false),
            zero: Zero { stage: if mesh.data > 1 { self.zero.unwrap_or(0) } else { 0 }, ..Zero::default() },
            recompute: self.recompute(eager)?,
            software: SoftwareSpec::from_name(software).expect("listed software"),
            folded: mesh.ranks() > mesh.pipeline,
            algorithm: AlgorithmSpec::from_name("auto").expect("a listed algorithm"),
            optimizer: OptimizerSpec::from_name("adam").expect("a listed optimiser"),
            clip: Some(1.0),
            input: None,
            expert: 1,
            seed: Seed(1),
        };
        plan.schedule.admits(plan.shape())?;
        Ok(plan)
    }

    /// Megatron-LM pads the vocabulary so that tensor ranks divide it by 128.
    fn model(&self, tensor: u64) -> Result<Model, String> {
        if tensor == 0 || self.heads == 0 || !self.heads.is_multiple_of(tensor) {
            return Err(format!("{tensor} tensor ranks do not divide {} heads", self.heads));
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!("{} heads do not divide a width of {}", self.heads, self.hidden));
        }
        Ok(Model::Gpt(Gpt {
            layers: self.layers,
            hidden: self.hidden,
            heads: self.heads,
            sequence: self.sequence,
            vocabulary: self.vocabulary.unwrap_or(51_200).next_multiple_of(128 * tensor),
            ffn_hidden: self.ffn_hidden,
            experts: None,
        }))
    }

    fn schedule(&self) -> Result<ScheduleSpec, String> {
        let chunks = self.virtual_stages.unwrap_or(1);
        if chunks > 1 {
            return Ok(ScheduleSpec::Interleaved(Interleaved { virtual_stages: chunks }));
        }
        let name = self.schedule.as_deref().filter(|name| *name != "interleaved").unwrap_or("one_f_one_b");
        ScheduleSpec::from_name(name).ok_or_else(|| format!("there is no schedule `{name}`"))
    }

    fn recompute(&self, eager: bool) -> Result<Recompute, String> {
        match self.recompute.as_deref() {
            Some("none") => Ok(Recompute::None),
            Some("selective") => Ok(Recompute::Selective),
            Some("full") => Ok(Recompute::Full),
            None | Some("unknown") if eager => Ok(Recompute::Full),
            None | Some("unknown") => Ok(Recompute::None),
            Some(other) => Err(format!("`recompute` is `{other}`, not none, selective or full")),
        }
    }

    fn precision(&self) -> Result<Precision, String> {
        let name = self.precision.as_deref().unwrap_or("bf16");
        let named: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
        Precision::deserialize(named)
            .map_err(|_| format!("`precision` is `{name}`, which is no number format"))
    }

    fn topology(&self, device: &DeviceSpec) -> Result<Topology, String> {
        let node_devices = u64::from(self.node_devices.unwrap_or(8)).max(1);
        let rail = Rail {
            nodes: u64::from(self.devices).div_ceil(node_devices),
            node_devices,
            scale_up: device.peers.or(device.host).unwrap_or(Rail::default().scale_up),
            host: device.host.unwrap_or(Rail::default().host),
            network: card(device.host.as_ref()),
            ..Rail::default()
        };
        let built = ShapeSpec::Rail(rail).build("nodes of the table", &Arc::new(device.clone()));
        built.map_err(|problems| {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
        })
    }
}

/// Hopper's slot is PCIe 5.0: runs on it and its successors were published after FlashAttention had become
/// the rule (Dao et al. 2022).
fn device_is_recent(device: &DeviceSpec) -> bool {
    let slot = device.host.filter(|host| host.class == LinkClass::Pcie);
    slot.is_none_or(|slot| slot.bandwidth.get() > 40e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,device,devices,layers,hidden,heads,sequence,global_batch,micro_batch,tensor,pipeline,\
                          data,recompute,precision,step_time_s\n";

    fn row(line: &str) -> TrainRow {
        read(&format!("{HEADER}{line}\n")).unwrap().remove(0)
    }

    #[test]
    fn what_does_not_fit_together_says_why() {
        let device = crate::compute::support::fitted_a100();
        let why = |line: &str| row(line).plan(&device).unwrap_err();
        assert!(why("a,x,8,4,64,4,32,8,1,2,2,1,full,fp16,1").contains("is not 8 devices"));
        assert!(why("a,x,4,4,64,4,32,8,3,2,2,1,full,fp16,1").contains("do not divide a batch of 8"));
        assert!(why("a,x,8,4,64,4,32,8,1,8,1,1,full,fp16,1").contains("do not divide 4 heads"));
        assert!(why("a,x,2,4,64,4,32,8,1,2,1,1,some,fp16,1").contains("`some`"));
        assert!(why("a,x,2,4,64,4,32,8,1,2,1,1,full,fp17,1").contains("`fp17`"));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_its_line() {
        let error = read(&format!("{HEADER}a,x,2,4,64,4,32,8,1,2,1,1,full,fp16,0\n")).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}
