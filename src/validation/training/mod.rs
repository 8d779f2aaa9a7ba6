//! Measured training steps, read from a table, and what the simulator says of them.
//!
//! A table is CSV with a header. Of its columns
//! - `device`, `layers`, `hidden` and `step_time_s` are needed; `id` and `source` say which row it is and where
//!   it was published;
//! - `tensor` and `pipeline` are 1 where they are empty, `data` is what fills `devices`; `virtual_stages`
//!   above 1 is Megatron-LM's interleaved schedule;
//! - `node_devices` is 8 where it is empty, `heads` are of 128, `sequence` is 2,048, `vocabulary` 51,200,
//!   `ffn_hidden` four times `hidden`, `precision` the device's 16 bits, `micro_batch` 1;
//! - `recompute` is `none`, `selective` or `full`; where it is unknown, full for software of before
//!   FlashAttention, for later the least that fits in memory;
//! - `zero` is a stage or `fsdp`; an `ffn_hidden` that is not four times `hidden` is a gated MLP's (Llama),
//!   with `kv_heads` heads of keys.
//!
//! Empty cells are unknown, further columns are not looked at. What a table does not say is taken alike for
//! all its rows (`assumed`) and noted. Rows that would not fit in memory are predicted all the same.

mod assumed;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collective::AlgorithmSpec;
use crate::compute::ComputeSpec;
use crate::compute::tile::TileModel;
use crate::hardware::DeviceSpec;
use crate::hardware::naming::meant_by;
use crate::ids::{DeviceId, Id, IdVec, Rank};
use crate::model::Model;
use crate::network::NetworkSpec;
use crate::numeric::optimizer::OptimizerSpec;
use crate::rng::Seed;
use crate::training::compression::CompressionSpec;
use crate::training::context::ContextSpec;
use crate::training::disturbance::Disturbances;
use crate::training::memory::{Tightest, tightest};
use crate::training::offload::Offload;
use crate::training::partition::explicit_stages;
use crate::training::recompute::Recompute;
use crate::training::schedule::ScheduleSpec;
use crate::training::sync::SyncSpec;
use crate::training::{Setup, TrainingPlan, even_stages};
use crate::units::Bytes;
use crate::validation::cells::{flag, needed, plain, whole};
use crate::validation::kernels::Skipped;
use crate::validation::machine::Place;
use crate::validation::summary::{Note, taken_for};
use crate::validation::training::assumed::Notes;
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
    #[serde(default, deserialize_with = "whole")]
    pub node_devices: Option<u32>,
    /// Nodes.
    #[serde(default, deserialize_with = "whole")]
    pub nodes: Option<u32>,
    /// What joins them.
    #[serde(default)]
    pub link: String,
    /// Devices of the run.
    #[serde(default, deserialize_with = "whole")]
    pub devices: Option<u32>,
    /// Transformer blocks.
    #[serde(deserialize_with = "needed")]
    pub layers: u64,
    /// Width of the residual stream.
    #[serde(deserialize_with = "needed")]
    pub hidden: u64,
    /// Attention heads.
    #[serde(default, deserialize_with = "whole")]
    pub heads: Option<u64>,
    /// Heads of keys and values.
    #[serde(default, deserialize_with = "whole")]
    pub kv_heads: Option<u64>,
    /// Width of the MLP.
    #[serde(default, deserialize_with = "whole")]
    pub ffn_hidden: Option<u64>,
    /// Token ids.
    #[serde(default, deserialize_with = "whole")]
    pub vocabulary: Option<u64>,
    /// Tokens of a sample.
    #[serde(default, deserialize_with = "whole")]
    pub sequence: Option<u64>,
    /// Samples of a step.
    #[serde(default, deserialize_with = "whole")]
    pub global_batch: Option<u64>,
    /// Samples of a micro-batch.
    #[serde(default, deserialize_with = "whole")]
    pub micro_batch: Option<u64>,
    /// Tensor ranks.
    #[serde(default, deserialize_with = "whole")]
    pub tensor: Option<u32>,
    /// Pipeline stages.
    #[serde(default, deserialize_with = "whole")]
    pub pipeline: Option<u32>,
    /// Replicas.
    #[serde(default, deserialize_with = "whole")]
    pub data: Option<u32>,
    /// Model chunks of each pipeline rank.
    #[serde(default, deserialize_with = "whole")]
    pub virtual_stages: Option<u32>,
    /// The pipeline schedule's name.
    #[serde(default)]
    pub schedule: Option<String>,
    /// ZeRO's stage.
    #[serde(default)]
    pub zero: Option<String>,
    /// Whether tensor ranks also split the rows between their regions.
    #[serde(default, deserialize_with = "flag")]
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
    /// What was assumed of rows.
    pub notes: Vec<Note>,
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
    let (mut notes, mut skipped) = (Vec::new(), Vec::new());
    for (done, row) in (1..).zip(rows) {
        let mut assumed = Notes::default();
        match row.predict(devices, &mut assumed) {
            Ok(seconds) => {
                compared.push(Comparison::new(&row.id, &row.device, &row.source, row.step_time_s, seconds));
                notes.extend(taken_for(&row.id, &row.device, devices));
                notes.extend(assumed.0.into_iter().map(|what| Note { id: row.id.clone(), what }));
            }
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
        tell(done);
    }
    let summary = Summary::of(&compared);
    TrainReport { rows: compared, summary, notes, skipped }
}

impl TrainRow {
    /// Seconds of a step.
    fn predict(&self, devices: &[DeviceSpec], notes: &mut Notes) -> Result<f64, String> {
        let device = meant_by(devices, &self.device);
        let device = device.ok_or_else(|| format!("no device is called `{}`", self.device))?;
        let mut plan = self.plan_noting(device, notes)?;
        let compute = match device.gpu {
            // A run keeps its devices under load all the time.
            Some(_) => ComputeSpec::Tile(TileModel { sustained: true }),
            None => ComputeSpec::from_name("native").expect("a listed model"),
        };
        compute.admits(device, plan.precision).map_err(|unsuited| unsuited.to_string())?;
        let first = step(&plan, &compute)?;
        if first.fits() {
            return Ok(first.step.seconds());
        }
        if self.recomputed()?.is_none() && plan.recompute == Recompute::None {
            plan.recompute = Recompute::Full;
            let again = step(&plan, &compute)?;
            if again.fits() {
                notes.0.push("`recompute` is unknown, and without there is no room: full".to_owned());
                return Ok(again.step.seconds());
            }
            notes.0.push(no_room(&again));
            return Ok(again.step.seconds());
        }
        notes.0.push(no_room(&first));
        Ok(first.step.seconds())
    }

    /// The plan of the row on nodes of a device.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn plan(&self, device: &DeviceSpec) -> Result<TrainingPlan, String> {
        self.plan_noting(device, &mut Notes::default())
    }

    fn plan_noting(&self, device: &DeviceSpec, notes: &mut Notes) -> Result<TrainingPlan, String> {
        let mesh = self.mesh(notes)?;
        let (micro_batch, micro_batches) = self.batches(mesh.data, notes)?;
        let shape = self.shape(u64::from(mesh.tensor), notes)?;
        let precision = self.format(device, notes)?;
        let software = self.software(device, precision, shape.sequence);
        // Software of before FlashAttention kept the scores, and so computed its blocks again.
        let otherwise = if software.is_eager() { Recompute::Full } else { Recompute::None };
        let model = Model::Gpt(shape);
        let schedule = self.schedule(micro_batches, notes);
        let place = Place::of(mesh.ranks(), self.nodes, self.node_devices, &self.link);
        let plan = TrainingPlan {
            offload: Offload::default(),
            fragmentation: 0.0,
            stages: self.stages(&model, mesh.pipeline, &schedule)?,
            model,
            topology: Arc::new(place.rails(device)?),
            mesh,
            placement: (0..mesh.ranks())
                .map(|rank| DeviceId::from_index(rank as usize))
                .collect::<IdVec<Rank, _>>(),
            micro_batch,
            micro_batches,
            steps: 1,
            precision,
            schedule,
            sync: SyncSpec::from_name("all_reduce").expect("a listed sync"),
            // Megatron-LM's classic data parallelism reduces what it has gathered once, at the end.
            compression: CompressionSpec::from_name("none").expect("a listed compression"),
            bucket: if software.is_eager() { Bytes(1 << 50) } else { Bytes(40 << 20) },
            sequence_parallel: self.sequence_parallel.unwrap_or(false),
            context_scheme: ContextSpec::from_name("ring").expect("a listed scheme"),
            tensor_overlap: false,
            zero: self.shared(mesh, notes),
            recompute: self.recomputed()?.unwrap_or(otherwise),
            software,
            folded: mesh.ranks() > mesh.pipeline,
            algorithm: AlgorithmSpec::from_name("auto").expect("a listed algorithm"),
            optimizer: OptimizerSpec::from_name("adam").expect("a listed optimiser"),
            clip: Some(1.0),
            input: None,
        };
        plan.schedule.admits(plan.shape())?;
        Ok(plan)
    }

    /// As many layers to each stage, the first ones one more where they do not divide.
    fn stages(
        &self,
        model: &Model,
        pipeline: u32,
        schedule: &ScheduleSpec,
    ) -> Result<IdVec<crate::ids::Stage, std::ops::Range<usize>>, String> {
        let stages = pipeline * schedule.stages_per_rank();
        even_stages(model, stages).or_else(|_| {
            let (each, left) = (self.layers as u32 / stages, self.layers as u32 % stages);
            let layers: Vec<u32> = (0..stages).map(|stage| each + u32::from(stage < left)).collect();
            explicit_stages(model, &layers, stages)
        })
    }

    /// What is computed again, if the table says it.
    fn recomputed(&self) -> Result<Option<Recompute>, String> {
        let word = plain(self.recompute.as_deref().unwrap_or_default());
        Ok(match word.as_str() {
            "none" | "false" | "no" | "off" | "0" => Some(Recompute::None),
            "selective" | "sel" | "seqsel" | "attention" | "attnonly" | "coreattn" => {
                Some(Recompute::Selective)
            }
            "full" | "true" | "yes" | "on" | "1" | "block" | "uniform" | "checkpoint" | "checkpointing" => {
                Some(Recompute::Full)
            }
            "" | "unknown" | "na" | "nan" => None,
            _ => {
                let written = self.recompute.as_deref().unwrap_or_default();
                return Err(format!("`recompute` is `{written}`, not none, selective or full"));
            }
        })
    }
}

/// One step, and how full it makes memory.
fn step(plan: &TrainingPlan, compute: &ComputeSpec) -> Result<Tightest, String> {
    let network = NetworkSpec::from_name("fluid").expect("a listed model");
    let disturbances = Disturbances::none(Seed(0));
    let setup = Setup { plan, compute: &**compute, network: &*network, disturbances: &disturbances };
    tightest(&setup).map_err(|failure| failure.to_string())
}

fn no_room(tightest: &Tightest) -> String {
    format!("by our model it needs {} of memory, more than {}", tightest.needed(), tightest.capacity)
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
        assert!(why("a,x,9,4,64,4,32,8,1,2,2,1,full,fp16,1").contains("does not divide 9 devices"));
        assert!(why("a,x,4,4,64,4,32,7,3,1,2,2,full,fp16,1").contains("a batch of 7"));
        assert!(why("a,x,8,4,64,4,32,8,1,8,1,1,full,fp16,1").contains("do not divide 4 heads"));
        assert!(why("a,x,2,4,64,4,32,8,1,2,1,1,some,fp16,1").contains("`some`"));
        assert!(why("a,x,2,4,64,4,32,8,1,2,1,1,full,fp17,1").contains("`fp17`"));
    }

    #[test]
    fn what_a_table_leaves_open_is_taken_and_noted() {
        let device = crate::compute::support::fitted_a100();
        let of = |line: &str| {
            let mut notes = Notes::default();
            let plan = row(line).plan_noting(&device, &mut notes).unwrap();
            (plan, notes.0.join("; "))
        };
        let (plan, notes) = of("a,x,8,4,256,,,8,,2,,,,,1");
        assert_eq!((plan.mesh.data, plan.micro_batch, plan.micro_batches), (4, 1, 2));
        assert!(
            notes.contains("heads") && notes.contains("sequence") && notes.contains("precision"),
            "{notes}"
        );
        // 20 samples a replica in micro-batches of 8: three would do, four divide.
        let (plan, notes) = of("a,x,2,4,64,4,32,40,8,1,1,2,full,fp16,1");
        assert_eq!((plan.micro_batch, plan.micro_batches), (5, 4));
        assert!(notes.contains("do not divide 20"), "{notes}");
        // 5 layers on 2 stages.
        let (plan, _) = of("a,x,2,5,64,4,32,8,1,1,2,1,full,fp16,1");
        assert_eq!(plan.stages.iter().map(|held| held.len()).collect::<Vec<_>>(), [4, 3]);
    }

    /// Llama 2 70B has 8192·(8192·2 + 2·1024) + 3·8192·28672 = 855.6 M products a layer.
    #[test]
    fn a_gated_model_has_the_products_of_its_kind() {
        let header = "device,layers,hidden,heads,ffn_hidden,step_time_s";
        let table = format!("{header}\na100,80,8192,64,28672,1\n");
        let row = &read(&table).unwrap()[0];
        let gpt = row.shape(8, &mut Notes::default()).unwrap();
        let products = 4 * 8192 * 8192 + 2 * 8192 * gpt.ffn_hidden.unwrap();
        assert!((products as f64 / 855.6e6 - 1.0).abs() < 0.01, "{products}");
        assert_eq!(gpt.vocabulary, 32_768);
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_its_line() {
        let error = read(&format!("{HEADER}a,x,2,4,64,4,32,8,1,2,1,1,full,fp16,0\n")).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}
