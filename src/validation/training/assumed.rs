//! What a row of a table leaves open, taken alike for all rows.
//!
//! Every assumption is a rule over the row's own cells and its device, never over what was measured. Each
//! that is not the table's word is noted.

use crate::hardware::{DeviceSpec, LinkClass, Precision};
use crate::model::Gpt;
use crate::parallel::Mesh;
use crate::training::schedule::{Interleaved, ScheduleSpec};
use crate::training::software::SoftwareSpec;
use crate::training::zero::Zero;
use crate::validation::cells::{self, plain};
use crate::validation::training::TrainRow;

/// The row with everything in its place, and notes of what it did not say.
#[derive(Debug, Default)]
pub(super) struct Notes(pub(super) Vec<String>);

impl Notes {
    fn take<T>(&mut self, given: Option<T>, what: &str, otherwise: T) -> T
    where
        T: std::fmt::Display,
    {
        given.unwrap_or_else(|| {
            self.0.push(format!("no `{what}`: {otherwise}"));
            otherwise
        })
    }
}

impl TrainRow {
    /// Ranks along each axis. What is left of the devices, the replicas take.
    pub(super) fn mesh(&self, notes: &mut Notes) -> Result<Mesh, String> {
        let tensor = self.tensor.unwrap_or(1).max(1);
        let pipeline = self.pipeline.unwrap_or(1).max(1);
        let each = tensor * pipeline;
        let devices = self.devices.unwrap_or(each * self.data.unwrap_or(1));
        let data = self.data.filter(|data| data * each == devices);
        let data = match data {
            Some(data) => data,
            None if devices > 0 && devices.is_multiple_of(each) => {
                if let Some(said) = self.data.filter(|data| *data > 0) {
                    let taken = devices / each;
                    notes.0.push(format!("data {said} does not fill {devices} devices: {taken}"));
                }
                devices / each
            }
            None => {
                return Err(format!(
                    "pipeline {pipeline} × tensor {tensor} does not divide {devices} devices"
                ));
            }
        };
        Ok(Mesh { data, pipeline, context: 1, tensor })
    }

    /// Samples of a micro-batch and micro-batches of a step. A micro-batch that does not divide what a
    /// replica gets is made a little smaller, as many as there would be.
    pub(super) fn batches(&self, replicas: u32, notes: &mut Notes) -> Result<(u64, u32), String> {
        let replicas = u64::from(replicas);
        let micro_batch = notes.take(self.micro_batch.filter(|size| *size > 0), "micro_batch", 1);
        let global = notes.take(self.global_batch, "global_batch", micro_batch * replicas * 8);
        if global == 0 || !global.is_multiple_of(replicas) {
            return Err(format!("a batch of {global} does not divide among {replicas} replicas"));
        }
        let each = global / replicas;
        if each.is_multiple_of(micro_batch) {
            return Ok((micro_batch, (each / micro_batch) as u32));
        }
        let count = each.div_ceil(micro_batch);
        let count = (count..=each).find(|count| each.is_multiple_of(*count)).unwrap_or(each);
        notes.0.push(format!("micro-batches of {micro_batch} do not divide {each}: {}", each / count));
        Ok((each / count, count as u32))
    }

    /// The model's shape on `tensor` ranks.
    pub(super) fn shape(&self, tensor: u64, notes: &mut Notes) -> Result<Gpt, String> {
        let heads = notes.take(self.heads.filter(|heads| *heads > 0), "heads", (self.hidden / 128).max(1));
        if !heads.is_multiple_of(tensor) {
            return Err(format!("{tensor} tensor ranks do not divide {heads} heads"));
        }
        if !self.hidden.is_multiple_of(heads) {
            return Err(format!("{heads} heads do not divide a width of {}", self.hidden));
        }
        Ok(Gpt {
            layers: self.layers,
            hidden: self.hidden,
            heads,
            sequence: notes.take(self.sequence.filter(|length| *length > 0), "sequence", 2048),
            vocabulary: self.ids(tensor),
            ffn_hidden: self.width_of_mlp(heads, tensor, notes),
        })
    }

    /// Token ids that are multiplied: Megatron-LM pads them so that tensor ranks divide them by 128
    /// (`tokenizer.py`, `_vocab_size_with_padding`).
    fn ids(&self, tensor: u64) -> u64 {
        let said = self.vocabulary.filter(|ids| *ids > 0);
        said.unwrap_or(if self.is_gated() { 32_000 } else { 51_200 }).next_multiple_of(128 * tensor)
    }

    /// Whether the MLP has three maps, one of which gates (Shazeer, "GLU variants improve transformer",
    /// 2020), as Llama and its kin have: they say so by name, or by a width that is not four times `hidden`.
    fn is_gated(&self) -> bool {
        let named = plain(&format!("{} {}", self.id, self.source));
        let kin = ["llama", "mistral", "qwen", "mixtral"].iter().any(|name| named.contains(name));
        kin || self.ffn_hidden.is_some_and(|width| width > 0 && width != 4 * self.hidden)
    }

    /// The width of an MLP of two maps with as many products as the layer has.
    ///
    /// A gated MLP of width f has three maps of hidden × f, as many flops and parameters as two of 1.5 f. Keys
    /// and values that query heads share save 2·hidden²·(1 − kv/heads), as many as hidden·(1 − kv/heads) of
    /// that width.
    fn width_of_mlp(&self, heads: u64, tensor: u64, notes: &mut Notes) -> Option<u64> {
        if !self.is_gated() {
            return self.ffn_hidden.filter(|width| *width > 0);
        }
        let hidden = self.hidden;
        // Llama 1: two thirds of four times the width, in steps of 256.
        let width = self.ffn_hidden.filter(|width| *width > 0);
        let width = notes.take(width, "ffn_hidden", (hidden * 8).div_ceil(3).next_multiple_of(256));
        // Llama 2 70B, Llama 3 and Mistral share eight heads of keys; their MLPs are the wide ones.
        let wide = 10 * width > 32 * hidden;
        let kv_heads = self.kv_heads.unwrap_or(if wide { 8.min(heads) } else { heads });
        let saved = hidden - hidden * kv_heads.min(heads) / heads;
        notes.0.push(format!("gated MLP of {width}, {kv_heads} heads of keys: as many products in two maps"));
        Some((width * 3 / 2).saturating_sub(saved).max(hidden).next_multiple_of(128 * tensor))
    }

    /// The schedule, made what the shape allows.
    pub(super) fn schedule(&self, micro_batches: u32, notes: &mut Notes) -> ScheduleSpec {
        let pipeline = self.pipeline.unwrap_or(1);
        let plainest = || ScheduleSpec::from_name("one_f_one_b").expect("a listed schedule");
        let chunks = self.virtual_stages.unwrap_or(1);
        if pipeline > 1 && chunks > 1 {
            let stages = u64::from(pipeline * chunks);
            if self.layers.is_multiple_of(stages) && micro_batches.is_multiple_of(pipeline) {
                return ScheduleSpec::Interleaved(Interleaved { virtual_stages: chunks });
            }
            notes.0.push(format!("{chunks} chunks a stage do not work out: one"));
        }
        let word = plain(self.schedule.as_deref().unwrap_or_default());
        let named = ScheduleSpec::NAMES.iter().find(|name| plain(name) == word && !word.contains("custom"));
        match (named, word.as_str()) {
            _ if pipeline == 1 => plainest(),
            (Some(name), _) if word != "interleaved" => ScheduleSpec::from_name(name).expect("a listed name"),
            (_, "" | "1f1b" | "interleaved" | "interleaved1f1b" | "pipedreamflush" | "none" | "unknown") => {
                plainest()
            }
            (_, other) => {
                notes.0.push(format!("no schedule is called `{other}`: one_f_one_b"));
                plainest()
            }
        }
    }

    /// What replicas share. DeepSpeed's pipelines share no more than stage 1, and no more is assumed of others.
    pub(super) fn shared(&self, mesh: Mesh, notes: &mut Notes) -> Zero {
        let stage = self.zero_stage();
        let most = if mesh.pipeline > 1 { stage.min(1) } else { stage };
        if most < stage {
            notes.0.push(format!("ZeRO {stage} with a pipeline: 1"));
        }
        Zero { stage: if mesh.data > 1 { most } else { 0 }, ..Zero::default() }
    }

    /// The stage that the table names, by number or as PyTorch's FSDP calls it.
    fn zero_stage(&self) -> u8 {
        let word = plain(self.zero.as_deref().unwrap_or_default());
        match word.as_str() {
            "fsdp" | "fullshard" | "hsdp" | "hybridshard" => 3,
            "shardgradop" => 2,
            "true" | "yes" | "distributedoptimizer" => 1,
            other => {
                let digits: String = other.chars().filter(char::is_ascii_digit).collect();
                digits.parse::<u8>().map_or(0, |stage| stage.min(3))
            }
        }
    }

    /// The number format; where none is given, the 16 bits that the device's matrix engine has.
    pub(super) fn format(&self, device: &DeviceSpec, notes: &mut Notes) -> Result<Precision, String> {
        let word = self.precision.as_deref().unwrap_or_default();
        if !plain(word).is_empty() && plain(word) != "unknown" {
            let precision = cells::precision(word);
            return precision.ok_or_else(|| format!("`precision` is `{word}`, which is no number format"));
        }
        let has = device.matrix_peak(Precision::Bf16).is_some();
        let taken = if has { Precision::Bf16 } else { Precision::F16 };
        notes.0.push(format!("no `precision`: {taken}"));
        Ok(taken)
    }

    /// The software of its time.
    ///
    /// Runs of fp16 on devices from before Hopper (PCIe 5.0) were published before FlashAttention had become
    /// the rule (Dao et al. 2022), and go kernel by kernel; so does everything on devices that have no bf16,
    /// which FlashAttention-2 never ran on. What shares weights (FSDP, ZeRO 3), runs in bf16 or fp8 or has
    /// sequences whose scores would not fit is later.
    pub(super) fn software(&self, device: &DeviceSpec, precision: Precision, sequence: u64) -> SoftwareSpec {
        let named = plain(&self.source);
        let fused = ["flash", "mosaic", "fsdp", "nemo"].iter().any(|word| named.contains(word));
        let old = device.matrix_peak(Precision::Bf16).is_none();
        let narrow = matches!(precision, Precision::Bf16 | Precision::F8 | Precision::I8);
        let later = fused || narrow || self.zero_stage() == 3 || sequence > 2048 || is_recent(device);
        let eager = old || !later;
        SoftwareSpec::from_name(if eager { "eager" } else { "fused" }).expect("listed software")
    }
}

/// Hopper's slot is PCIe 5.0, and so are its successors'.
fn is_recent(device: &DeviceSpec) -> bool {
    let slot = device.host.filter(|host| host.class == LinkClass::Pcie);
    slot.is_none_or(|slot| slot.bandwidth.get() > 40e9)
}
