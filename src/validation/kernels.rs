//! Measured kernels, read from a table, and what a compute model says of them.
//!
//! A table is CSV with a header. Of its columns
//! - `device`, `op`, `dtype` and `time_us` are needed; `id` and `source` say which row it is and where
//!   it was published;
//! - `gemm` needs `m`, `n`, `k` (y(m×n) = x(m×k)·W(k×n)) and may give `batch`;
//! - `attention_prefill` and `attention_decode` need `batch`, `heads`, `head_dim` and `sequence` (new
//!   positions of each sequence), and may give `kv_heads`, `past` (positions already cached) and
//!   `causal`; `attention` and `attention_backward` are the bare kernels of a training step;
//! - the other operations ([`OPERATIONS`]) need `elements` (or `m` rows of `n`); `layer_norm`, `rms_norm`
//!   and `softmax` may give the width of a row as `n`, `embedding` its tokens as `m`.
//!
//! Operations, formats and devices may go by other common names (`linear`, `LayerNorm`, `A100-SXM4-80GB`).
//!
//! Empty cells are unknown, further columns are not looked at.
//!
//! An operation of a serving engine is more than its kernel; what its `source` says was run is
//! what is predicted ([`KernelRow::sequence`]).

use serde::{Deserialize, Serialize};

use crate::compute::calibrate::{Sample, Sequence};
use crate::compute::{ComputeSpec, Kernel, Pass};
use crate::hardware::naming::meant_by;
use crate::hardware::{DeviceSpec, Precision};
use crate::units::{Bytes, SimDuration};
use crate::validation::cells::{self, flag, plain, whole};
use crate::validation::summary::{Note, taken_for};
use crate::validation::{Comparison, Summary};

/// The operations that a table may name.
pub const OPERATIONS: [&str; 22] = [
    "gemm",
    "attention_prefill",
    "attention_decode",
    "attention",
    "attention_backward",
    "rms_norm",
    "layer_norm",
    "softmax",
    "add",
    "mul",
    "silu_mul",
    "rope",
    "gelu",
    "silu",
    "relu",
    "tanh",
    "dropout",
    "embedding",
    "cast",
    "copy",
    "quantise",
    "adamw",
];

/// A row of a table of measured kernels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelRow {
    /// Its identity; the line number if the table gives none.
    #[serde(default)]
    pub id: String,
    /// Where it was published.
    #[serde(default)]
    pub source: String,
    /// The device's name or an alias of it.
    pub device: String,
    /// One of [`OPERATIONS`].
    pub op: String,
    /// Number format.
    pub dtype: String,
    /// Independent products, or sequences.
    #[serde(default, deserialize_with = "whole")]
    pub batch: Option<u64>,
    /// Rows of a product.
    #[serde(default, deserialize_with = "whole")]
    pub m: Option<u64>,
    /// Columns of a product, or of a normalised row.
    #[serde(default, deserialize_with = "whole")]
    pub n: Option<u64>,
    /// Depth of a product.
    #[serde(default, deserialize_with = "whole")]
    pub k: Option<u64>,
    /// Query heads.
    #[serde(default, deserialize_with = "whole")]
    pub heads: Option<u64>,
    /// Key and value heads.
    #[serde(default, deserialize_with = "whole")]
    pub kv_heads: Option<u64>,
    /// Width of a head.
    #[serde(default, deserialize_with = "whole")]
    pub head_dim: Option<u64>,
    /// New positions.
    #[serde(default, deserialize_with = "whole")]
    pub sequence: Option<u64>,
    /// Positions already cached.
    #[serde(default, deserialize_with = "whole")]
    pub past: Option<u64>,
    /// Whether later keys are masked.
    #[serde(default, deserialize_with = "flag")]
    pub causal: Option<bool>,
    /// Elements of a tensor.
    #[serde(default, deserialize_with = "whole")]
    pub elements: Option<u64>,
    /// What was measured, in microseconds.
    pub time_us: f64,
}

/// A table with what was predicted for it.
#[derive(Debug, Clone, Serialize)]
pub struct KernelReport {
    /// Measured and predicted microseconds.
    pub rows: Vec<Comparison>,
    /// What the errors amount to.
    pub summary: Summary,
    /// What was assumed of rows.
    pub notes: Vec<Note>,
    /// Rows that could not be predicted, and why.
    pub skipped: Vec<Skipped>,
}

/// A row that could not be predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The row's identity.
    pub id: String,
    /// What is missing or unknown.
    pub why: String,
}

/// Reads a table; the error names the line and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<KernelRow>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (index, row) in reader.deserialize::<KernelRow>().enumerate() {
        let mut row = row.map_err(|error| error.to_string())?;
        if !(row.time_us > 0.0 && row.time_us.is_finite()) {
            return Err(format!("line {}: `time_us` is {}, not a length of time", index + 2, row.time_us));
        }
        if row.id.is_empty() {
            row.id = format!("line {}", index + 2);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Predicts every row of a table on its device.
pub fn predict(rows: &[KernelRow], devices: &[DeviceSpec], model: &ComputeSpec) -> KernelReport {
    let mut compared = Vec::new();
    let (mut notes, mut skipped) = (Vec::new(), Vec::new());
    for row in rows {
        match row.predict(devices, model) {
            Ok(predicted) => {
                notes.extend(taken_for(&row.id, &row.device, devices));
                compared.push(Comparison::new(&row.id, &row.device, &row.source, row.time_us, predicted));
            }
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
    }
    let summary = Summary::of(&compared);
    KernelReport { rows: compared, summary, notes, skipped }
}

/// The rows of `device` as samples for a [fit](crate::compute::calibrate::fit), every one whose shape
/// hashes into the given share held out, and the rows that could not be used.
pub fn samples(rows: &[KernelRow], device: &DeviceSpec, held_out_share: f64) -> (Vec<Sample>, Vec<Skipped>) {
    let mut samples = Vec::new();
    let mut skipped = Vec::new();
    for row in rows.iter().filter(|row| device.is_called(&row.device)) {
        match row.sequence() {
            Ok(work) => samples.push(Sample {
                work,
                measured: SimDuration::from_seconds(row.time_us * 1e-6),
                held_out: row.is_held_out(held_out_share),
            }),
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
    }
    (samples, skipped)
}

impl KernelRow {
    /// Microseconds that `model` predicts on the row's device.
    fn predict(&self, devices: &[DeviceSpec], model: &ComputeSpec) -> Result<f64, String> {
        let device = meant_by(devices, &self.device);
        let device = device.ok_or_else(|| format!("no device is called `{}`", self.device))?;
        model.admits(device, self.precision()?).map_err(|unsuited| unsuited.to_string())?;
        Ok(self.sequence()?.time(&**model, device).seconds() * 1e6)
    }

    /// Whether the row's shape (not its device or time) hashes into `share` of all: the same shapes are
    /// then held out on every device and in every run.
    pub fn is_held_out(&self, share: f64) -> bool {
        let shape = [
            self.batch,
            self.m,
            self.n,
            self.k,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.sequence,
            self.past,
            self.elements,
        ];
        let bytes = shape.iter().flat_map(|number| number.unwrap_or(u64::MAX).to_le_bytes());
        // FNV-1a of the shape and the operation; its high half, whose bits are well mixed.
        let hash = self.op.bytes().chain(bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        ((hash >> 32) as f64) < share * 2.0_f64.powi(32)
    }

    /// The kernels that the row's measurement ran.
    ///
    /// Bare kernels are one kernel. Operations of vLLM (its name in `source`) are what its operators
    /// launch:
    /// - an `fp8` linear first quantises its input dynamically: the largest magnitude of the tensor, then
    ///   the scaled copy, besides small kernels that clear and pass on the scale;
    /// - attention first scatters the new keys and values into the paged cache, row by row, and a small
    ///   kernel plans or combines the blocks;
    /// - its norm, activation and rotary kernels load one element at a time.
    pub fn sequence(&self) -> Result<Sequence, String> {
        let precision = self.precision()?;
        match self.operation().as_str() {
            "gemm" => self.gemm(precision),
            "attention_prefill" | "attention_decode" => self.serving_attention(precision),
            "attention" => Ok(Sequence::one(self.attention(precision, Pass::Forward)?)),
            "attention_backward" => Ok(Sequence::one(self.attention(precision, Pass::InputGradient)?)),
            _ => self.streaming(precision).map(Sequence::one),
        }
    }

    /// The operation by its name among [`OPERATIONS`], or as it is written.
    fn operation(&self) -> String {
        let written = plain(&self.op);
        if let Some(name) = OPERATIONS.iter().find(|name| plain(name) == written) {
            return (*name).to_owned();
        }
        let name = match written.as_str() {
            "linear" | "matmul" | "mm" | "bmm" | "batchedgemm" | "batchgemm" | "addmm" | "fc" | "dense" => {
                "gemm"
            }
            "prefill" | "contextattention" | "attnprefill" | "flashattentionprefill" => "attention_prefill",
            "decode" | "generationattention" | "attndecode" | "pagedattention" => "attention_decode",
            "flashattention" | "flashattn" | "flashattention2" | "fmha" | "sdpa" | "attentionforward"
            | "attentionfwd" | "flashattnfwd" => "attention",
            "attentionbwd" | "flashattentionbackward" | "flashattnbwd" | "fmhabackward" => {
                "attention_backward"
            }
            "ln" | "fusedlayernorm" | "layernormalization" => "layer_norm",
            "rms" | "fusedrmsnorm" => "rms_norm",
            "logsoftmax" => "softmax",
            "residual" | "residualadd" | "biasadd" | "sub" => "add",
            "multiply" | "div" | "elementwise" | "vectormul" => "mul",
            "swiglu" | "siluandmul" | "actandmul" => "silu_mul",
            "rotary" | "rotaryembedding" | "applyrope" => "rope",
            "fusedgelu" | "biasgelu" => "gelu",
            "sigmoid" | "swish" | "exp" | "act" | "activation" => "silu",
            "embed" | "gather" | "embeddinglookup" => "embedding",
            "convert" | "typecast" => "cast",
            "memcpy" | "memcpyd2d" | "clone" | "transpose" => "copy",
            "quantize" | "quant" | "fp8quant" => "quantise",
            "adam" | "fusedadam" | "optimizer" | "optimiser" => "adamw",
            _ => return self.op.clone(),
        };
        name.to_owned()
    }

    fn gemm(&self, precision: Precision) -> Result<Sequence, String> {
        let (m, n, k) = (need("m", self.m)?, need("n", self.n)?, need("k", self.k)?);
        let batch = self.batch.unwrap_or(1);
        let product = Kernel::Gemm { batch, m, n, k, precision, pass: Pass::Forward };
        if !(precision == Precision::F8 && self.is_of_an_engine()) {
            return Ok(Sequence::one(product));
        }
        let quantise = Kernel::Scalar {
            elements: batch * m * k,
            inputs: 2,
            outputs: 1,
            accesses: DYNAMIC_QUANTISATION,
            precision: Precision::Bf16,
        };
        Ok(Sequence { kernels: vec![quantise, product], extra_launches: 3 })
    }

    fn serving_attention(&self, precision: Precision) -> Result<Sequence, String> {
        let attention = self.attention(precision, Pass::Forward)?;
        let shape = attention.attention_shape().expect("attention has a shape");
        let sequence = need("sequence", self.sequence)?;
        let cache = Kernel::Embedding {
            tokens: shape.batch * sequence,
            width: 2 * shape.kv_heads * shape.head_dim,
            precision,
            pass: Pass::Forward,
        };
        Ok(Sequence { kernels: vec![cache, attention], extra_launches: 1 })
    }

    fn attention(&self, precision: Precision, pass: Pass) -> Result<Kernel, String> {
        let heads = need("heads", self.heads)?;
        let sequence = need("sequence", self.sequence)?;
        Ok(Kernel::Attention {
            batch: self.batch.unwrap_or(1),
            heads,
            kv_heads: self.kv_heads.unwrap_or(heads),
            head_dim: need("head_dim", self.head_dim)?,
            queries: sequence,
            keys: sequence + self.past.unwrap_or(0),
            causal: self.causal.unwrap_or(true),
            pass,
            precision,
        })
    }

    fn streaming(&self, precision: Precision) -> Result<Kernel, String> {
        let rectangle = self.m.zip(self.n).map(|(m, n)| self.batch.unwrap_or(1) * m * n);
        let elements = need("elements", self.elements.or(rectangle))?;
        let width = self.n.unwrap_or(4096).clamp(1, elements.max(1));
        let rows = elements / width.max(1);
        let elementwise = |inputs, outputs, flops_per_element| Kernel::Elementwise {
            elements,
            inputs,
            outputs,
            flops_per_element,
            precision,
        };
        let scalar =
            |inputs, outputs, accesses| Kernel::Scalar { elements, inputs, outputs, accesses, precision };
        let pass = Pass::Forward;
        Ok(match self.operation().as_str() {
            // Square and sum, then scale by the statistic and the weight: x twice, the weight, y.
            "rms_norm" if self.is_of_an_engine() => scalar(1, 1, 4),
            // Both halves of the input, the result, and the exponential's way through the special units.
            "silu_mul" if self.is_of_an_engine() => scalar(2, 1, 4),
            // A pair of elements loads itself and its sine and cosine and is stored: 6 for 2.
            "rope" if self.is_of_an_engine() => scalar(1, 1, 3),
            "rms_norm" | "layer_norm" => Kernel::Norm { rows, width, precision, pass },
            "softmax" => Kernel::Softmax { rows, width, precision, pass },
            "add" | "mul" => elementwise(2, 1, 1),
            "silu_mul" => elementwise(2, 1, 6),
            "rope" => elementwise(1, 1, 3),
            "gelu" | "silu" | "tanh" => elementwise(1, 1, 8),
            "relu" => elementwise(1, 1, 1),
            // Its mask is a byte an element.
            "dropout" => elementwise(1, 1 + u32::from(precision.bits() <= 8), 4),
            "embedding" => {
                Kernel::Embedding { tokens: self.m.unwrap_or(rows).max(1), width, precision, pass }
            }
            "cast" => Kernel::Quantise { elements, from: Precision::F32, to: precision },
            "copy" => Kernel::Copy { bytes: Bytes(precision.bytes_of(elements).get()) },
            "quantise" => Kernel::Quantise { elements, from: Precision::Bf16, to: precision },
            "adamw" => Kernel::adam_w(elements),
            other => return Err(format!("`{other}` is not one of {}", OPERATIONS.join(", "))),
        })
    }

    /// Whether a serving engine's own operator was timed, helper kernels included.
    fn is_of_an_engine(&self) -> bool {
        ["vllm", "vidur"].iter().any(|engine| self.source.to_lowercase().contains(engine))
    }

    fn precision(&self) -> Result<Precision, String> {
        cells::precision(&self.dtype).ok_or_else(|| {
            let names: Vec<&str> = Precision::ALL.iter().map(|precision| precision.name()).collect();
            format!("`dtype` is `{}`, not one of {}", self.dtype, names.join(", "))
        })
    }
}

/// What the dynamic per-tensor quantisation of vLLM costs in accesses per element: it needs three (one
/// for the largest magnitude, two for the scaled copy) and takes as long as eleven do on the devices
/// whose norm and activation kernels were measured too.
const DYNAMIC_QUANTISATION: u32 = 11;

fn need(column: &str, value: Option<u64>) -> Result<u64, String> {
    value.filter(|value| *value > 0).ok_or_else(|| format!("`{column}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,source,status,device,op,dtype,batch,m,n,k,heads,kv_heads,head_dim,sequence,past,\
                          causal,elements,time_us\n";

    fn row(line: &str) -> KernelRow {
        read(&format!("{HEADER}{line}\n")).unwrap().remove(0)
    }

    #[test]
    fn empty_cells_are_unknown() {
        let gemm = row("a,me,verified,h100,gemm,bf16,1,16,32,64,,,,,,,,4.438");
        assert_eq!((gemm.m, gemm.heads, gemm.causal, gemm.time_us), (Some(16), None, None, 4.438));
        let kernel =
            Kernel::Gemm { batch: 1, m: 16, n: 32, k: 64, precision: Precision::Bf16, pass: Pass::Forward };
        assert_eq!(gemm.sequence(), Ok(Sequence::one(kernel)));
    }

    #[test]
    fn columns_that_nobody_needs_may_be_absent() {
        let rows = read("device,op,dtype,elements,time_us\nh100,copy,bf16,1024,3.5\n").unwrap();
        assert_eq!(rows[0].id, "line 2");
        assert_eq!(rows[0].sequence(), Ok(Sequence::one(Kernel::Copy { bytes: Bytes(2048) })));
    }

    /// The cache is written before, a small kernel plans: two kernels and one launch.
    #[test]
    fn attention_of_a_serving_engine_writes_its_cache_first() {
        let work = row("a,vllm,,a100,attention_prefill,bf16,2,,,,8,4,128,16,48,true,,12").sequence().unwrap();
        assert_eq!((work.kernels.len(), work.extra_launches), (2, 1));
        // 2·16 new rows of 4 key and 4 value heads; the queries are the last 16 of 64 positions.
        assert!(matches!(work.kernels[0], Kernel::Embedding { tokens: 32, width: 1024, .. }));
        assert!(matches!(work.kernels[1], Kernel::Attention { queries: 16, keys: 64, kv_heads: 4, .. }));
    }

    #[test]
    fn operations_have_common_names() {
        let of =
            |op: &str| row(&format!("a,,,h100,{op},FP16,,16,32,64,,,,,,,,4")).sequence().unwrap().kernels[0];
        assert!(matches!(of("Linear"), Kernel::Gemm { m: 16, n: 32, k: 64, precision: Precision::F16, .. }));
        assert!(matches!(of("LayerNorm"), Kernel::Norm { rows: 16, width: 32, .. }));
        assert!(matches!(of("vector_mul"), Kernel::Elementwise { elements: 512, inputs: 2, .. }));
        assert!(matches!(of("embedding"), Kernel::Embedding { tokens: 16, width: 32, .. }));
    }

    #[test]
    fn only_an_engine_quantises_on_the_way() {
        let of =
            |source: &str| row(&format!("a,{source},,h100,gemm,fp8,1,16,32,64,,,,,,,,4")).sequence().unwrap();
        assert_eq!(of("aiconfigurator gemm/vllm/0.14.0").kernels.len(), 2);
        assert_eq!(of("aiconfigurator gemm/trtllm/1.0.0").kernels.len(), 1);
    }

    #[test]
    fn what_cannot_be_predicted_is_skipped_with_a_reason() {
        let rows = [
            row("no_device,,,b1000,gemm,bf16,1,16,32,64,,,,,,,,4"),
            row("no_k,,,round,gemm,bf16,1,16,32,,,,,,,,,4"),
            row("no_op,,,round,gem,bf16,1,16,32,64,,,,,,,1,4"),
            row("no_type,,,round,gemm,bf17,1,16,32,64,,,,,,,,4"),
        ];
        let devices = [crate::compute::support::round_device()];
        let report = predict(&rows, &devices, &ComputeSpec::from_name("roofline").unwrap());
        assert!(report.rows.is_empty());
        let reasons: Vec<&str> = report.skipped.iter().map(|skipped| skipped.why.as_str()).collect();
        for (reason, names) in
            reasons.iter().zip(["`b1000`", "`k` is missing", "`gem` is not one of", "`bf17`"])
        {
            assert!(reason.contains(names), "{reason}");
        }
    }

    /// 2·1000·1000·10000 flops at 100,000 a cycle, 2,000 cycles of launch, 1 GHz: 202 µs.
    #[test]
    fn predictions_are_in_the_unit_of_the_table() {
        let rows = [row("a,,,round,gemm,bf16,1,1000,1000,10000,,,,,,,,101")];
        let devices = [crate::compute::support::round_device()];
        let report = predict(&rows, &devices, &ComputeSpec::from_name("roofline").unwrap());
        assert!((report.rows[0].predicted - 202.0).abs() < 1e-9, "{:?}", report.rows[0]);
        assert!((report.summary.all.bias_percent - 100.0).abs() < 1e-9);
    }

    /// The same third of the shapes is held out on each device.
    #[test]
    fn shapes_are_held_out_by_their_hash() {
        let rows: Vec<KernelRow> =
            (1..1000).map(|m| row(&format!("a,,,h100,gemm,bf16,1,{m},32,64,,,,,,,,4"))).collect();
        let held = rows.iter().filter(|row| row.is_held_out(0.3)).count();
        assert!((250..350).contains(&held), "{held}");
        let elsewhere = KernelRow { device: "a100".to_owned(), time_us: 9.0, ..rows[7].clone() };
        assert_eq!(elsewhere.is_held_out(0.3), rows[7].is_held_out(0.3));
        assert!(rows.iter().all(|row| row.is_held_out(1.0) && !row.is_held_out(0.0)));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_its_line() {
        let error = read(&format!("{HEADER}a,,,h100,gemm,bf16,1,16,32,64,,,,,,,,-4\n")).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        let error = read("device,op,dtype,m,time_us\nh100,gemm,bf16,many,4\n").unwrap_err();
        assert!(error.contains("line: 2"), "{error}");
    }
}
