//! A pass of inference: which kernels it runs with weights in their forms, and what it holds in memory.
//!
//! Kernels follow one another on one device, each launched by itself; attention is one kernel over keys and
//! values that are kept (FlashAttention), and only the last token of each sequence meets the head.

use crate::compute::{ComputeModel, Kernel, Pass};
use crate::hardware::{DeviceSpec, Precision};
use crate::model::{Gpt, Mlp, Model};
use crate::training::lower::GELU_FLOPS;
use crate::training::model_compression::{Kept, ModelCompression, forms};
use crate::units::{Bytes, SimDuration};

/// What a pass works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub sequences: u64,
    /// New tokens of each.
    pub queries: u64,
    /// Tokens that the last of them sees, itself included.
    pub keys: u64,
}

impl Shape {
    /// Sequences that are read from their beginning: many tokens meet each weight.
    pub fn prefill(sequences: u64, tokens: u64) -> Self {
        Shape { sequences, queries: tokens, keys: tokens }
    }

    /// One more token of each sequence: few tokens meet each weight.
    pub fn decode(sequences: u64, tokens: u64) -> Self {
        Shape { sequences, queries: 1, keys: tokens }
    }

    fn rows(self) -> u64 {
        self.sequences * self.queries
    }
}

/// A model with its weights in the forms that a method gives them, on a device.
#[derive(Clone, Copy)]
pub struct Inference<'p> {
    /// The network.
    pub model: &'p Model,
    /// How its matrices are kept; whole if by no method.
    pub method: Option<&'p dyn ModelCompression>,
    /// The format of everything else.
    pub precision: Precision,
    /// Where it runs.
    pub device: &'p DeviceSpec,
}

impl Inference<'_> {
    /// How long the pass takes.
    pub fn time(&self, shape: Shape, compute: &dyn ComputeModel) -> SimDuration {
        let times = self.kernels(shape).into_iter().map(|(kernel, count)| {
            let picos = compute.cost(&kernel, self.device).time(self.device).picos();
            SimDuration::from_picos(picos * count)
        });
        times.sum()
    }

    /// What the device holds at the fullest moment of the pass: the weights as they are multiplied with, keys and
    /// values, and the activations of the widest place of a block (integers made of them included; what a product
    /// in two steps holds between them is narrower and not).
    pub fn memory(&self, shape: Shape) -> Bytes {
        let weights = forms(self.model, self.method)
            .map(|(parameter, kept)| {
                kept.resident(parameter.rows, parameter.columns, self.precision, self.device)
            })
            .sum::<Bytes>();
        let integers = forms(self.model, self.method).any(|(_, kept)| kept == Kept::Integers8);
        let (cached, active, widest) = match self.model {
            Model::Gpt(gpt) => {
                let cached = 2 * gpt.layers * gpt.hidden * shape.sequences * shape.keys;
                let beside = (4 * gpt.hidden).max(2 * gpt.ffn());
                let logits = shape.sequences * gpt.vocabulary;
                let active = shape.rows() * (2 * gpt.hidden + beside) + logits;
                (cached, active, gpt.hidden.max(gpt.ffn()))
            }
            Model::Mlp(mlp) => {
                let widest = mlp.layers().iter().map(|(inputs, outputs)| inputs + outputs).max();
                let inputs = mlp.layers().iter().map(|(inputs, _)| *inputs).max();
                (0, shape.rows() * widest.unwrap_or(0), inputs.unwrap_or(0))
            }
            Model::Linear(_) => (0, shape.rows(), 0),
        };
        let rounded = Bytes(if integers { shape.rows() * widest } else { 0 });
        weights + self.precision.bytes_of(cached + active) + rounded
    }

    /// Every kernel, and how often it runs.
    fn kernels(&self, shape: Shape) -> Vec<(Kernel, u64)> {
        match self.model {
            Model::Gpt(gpt) => self.gpt(gpt, shape),
            Model::Mlp(mlp) => self.mlp(mlp, shape),
            Model::Linear(_) => Vec::new(),
        }
    }

    /// A product with a matrix that methods compress.
    fn linear(&self, rows: u64, inputs: u64, outputs: u64) -> Vec<Kernel> {
        let kept = self.method.map_or(Kept::Whole, |method| method.kept(inputs, outputs));
        kept.kernels((rows, inputs, outputs), self.precision, self.device)
    }

    fn elementwise(&self, elements: u64, inputs: u32, flops: u32) -> Kernel {
        let precision = self.precision;
        Kernel::Elementwise { elements, inputs, outputs: 1, flops_per_element: flops, precision }
    }

    fn gpt(&self, gpt: &Gpt, shape: Shape) -> Vec<(Kernel, u64)> {
        let (rows, hidden, precision, pass) = (shape.rows(), gpt.hidden, self.precision, Pass::Forward);
        let norm = |rows| Kernel::Norm { rows, width: hidden, precision, pass };
        let add = self.elementwise(rows * hidden, 2, 1);
        let attention = Kernel::Attention {
            batch: shape.sequences,
            heads: gpt.heads,
            kv_heads: gpt.heads,
            head_dim: gpt.head_dim(),
            queries: shape.queries,
            keys: shape.keys,
            causal: true,
            pass,
            precision,
        };
        let block = [
            vec![norm(rows)],
            self.linear(rows, hidden, 3 * hidden),
            vec![attention],
            self.linear(rows, hidden, hidden),
            vec![add, norm(rows)],
            self.linear(rows, hidden, gpt.ffn()),
            vec![self.elementwise(rows * gpt.ffn(), 1, GELU_FLOPS)],
            self.linear(rows, gpt.ffn(), hidden),
            vec![add],
        ];
        let (m, n) = (shape.sequences, gpt.vocabulary);
        let ends = [
            Kernel::Embedding { tokens: rows, width: hidden, precision, pass },
            add,
            norm(shape.sequences),
            Kernel::Gemm { batch: 1, m, n, k: hidden, precision, pass },
        ];
        let blocks = block.concat().into_iter().map(|kernel| (kernel, gpt.layers));
        blocks.chain(ends.map(|kernel| (kernel, 1))).collect()
    }

    fn mlp(&self, mlp: &Mlp, shape: Shape) -> Vec<(Kernel, u64)> {
        let rows = shape.rows();
        let layers = mlp.layers();
        let of_layer = |(at, &(inputs, outputs)): (usize, &(u64, u64))| {
            let mut kernels = self.linear(rows, inputs, outputs);
            if at + 1 < layers.len() {
                kernels.push(self.elementwise(rows * outputs, 1, 1));
            }
            kernels
        };
        layers.iter().enumerate().flat_map(of_layer).map(|kernel| (kernel, 1)).collect()
    }
}
