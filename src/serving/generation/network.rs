//! A GPT cut into pipeline stages and tensor ranks, and its forward pass over the tokens of a step.
//!
//! Split as training splits it (Shoeybi et al., "Megatron-LM", 2019, section 3): heads and the MLP's width by
//! columns, what follows them by rows, the vocabulary by rows of the table and columns of the head. Rows of a step
//! are independent but for attention, which finds the keys and values of a row's past through its block table.

use std::ops::Range;

use crate::ids::{BlockId, Id, LayerId};
use crate::model::{Gpt, Model};
use crate::numeric::layers::serial::{accumulate, attend};
use crate::numeric::layers::{gelu, layer_norm};
use crate::numeric::weights::Weights;
use crate::serving::generation::cache::{Cache, Kept};

/// A token to be computed.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Which.
    pub token: u32,
    /// Its place in its request.
    pub position: usize,
    /// The blocks of its request.
    pub table: &'a [BlockId],
}

/// A GPT, cut.
#[derive(Debug)]
pub struct Network {
    gpt: Gpt,
    tensor: usize,
    /// By rank: its rows of the table.
    tables: Vec<Vec<f32>>,
    positions: Vec<f32>,
    /// By stage.
    stages: Vec<Vec<Block>>,
    norm: Norm,
    /// By rank: its columns of the head.
    heads: Vec<Vec<f32>>,
}

#[derive(Debug)]
struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Block {
    before_attention: Norm,
    ranks: Vec<BlockShard>,
    output_bias: Vec<f32>,
    before_mlp: Norm,
    down_bias: Vec<f32>,
}

#[derive(Debug)]
struct BlockShard {
    qkv: Vec<f32>,
    qkv_bias: Vec<f32>,
    output: Vec<f32>,
    up: Vec<f32>,
    up_bias: Vec<f32>,
    down: Vec<f32>,
}

impl Norm {
    fn of(weights: &Weights, name: &str) -> Norm {
        let part = |part: &str| weights.of(&format!("{name}.{part}")).to_vec();
        Norm { gain: part("gain"), bias: part("bias") }
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        let mut statistics = vec![0.0; 2 * x.len() / self.gain.len()];
        layer_norm::forward(x, &self.gain, &self.bias, &mut y, &mut statistics);
        y
    }
}

impl Block {
    fn of(weights: &Weights, layer: LayerId, tensor: u64) -> Block {
        let name = |part: &str| format!("{layer} {part}");
        let shard = |rank: u64| {
            let cut = |part: &str| weights.shard(&name(part), rank, tensor);
            BlockShard {
                qkv: cut("attention.qkv.weight"),
                qkv_bias: cut("attention.qkv.bias"),
                output: cut("attention.output.weight"),
                up: cut("mlp.up.weight"),
                up_bias: cut("mlp.up.bias"),
                down: cut("mlp.down.weight"),
            }
        };
        Block {
            before_attention: Norm::of(weights, &name("attention.norm")),
            ranks: (0..tensor).map(shard).collect(),
            output_bias: weights.of(&name("attention.output.bias")).to_vec(),
            before_mlp: Norm::of(weights, &name("mlp.norm")),
            down_bias: weights.of(&name("mlp.down.bias")).to_vec(),
        }
    }
}

impl Network {
    /// Cuts a trained GPT into so many tensor ranks and stages.
    ///
    /// # Panics
    /// When the weights are no GPT's, or its sizes do not divide.
    pub fn new(weights: &Weights, tensor: u64, stages: u64) -> Self {
        let Model::Gpt(gpt) = weights.model() else { panic!("only a GPT answers") };
        for size in [gpt.heads, gpt.vocabulary, gpt.ffn()] {
            assert!(size.is_multiple_of(tensor), "{size} among {tensor} ranks");
        }
        assert!(gpt.layers.is_multiple_of(stages), "{} layers in {stages} stages", gpt.layers);
        let each = gpt.layers / stages;
        let block = |layer: u64| Block::of(weights, LayerId::from_index(layer as usize), tensor);
        let cut = |name: &str| (0..tensor).map(|rank| weights.shard(name, rank, tensor)).collect();
        Network {
            tensor: tensor as usize,
            tables: cut("embedding.table"),
            positions: weights.of("embedding.positions").to_vec(),
            stages: (0..stages).map(|at| (at * each..(at + 1) * each).map(block).collect()).collect(),
            norm: Norm::of(weights, "head.norm"),
            heads: cut("head.weight"),
            gpt: gpt.clone(),
        }
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.gpt.vocabulary as usize
    }

    /// Width of a head × heads of a rank.
    fn width(&self) -> usize {
        self.gpt.hidden as usize / self.tensor
    }

    /// Empty caches of a replica, by stage and rank.
    pub(super) fn caches(&self, block: u32) -> Vec<Vec<Cache>> {
        let of_stage = |blocks: &Vec<Block>| vec![Cache::new(block, blocks.len(), self.width()); self.tensor];
        self.stages.iter().map(of_stage).collect()
    }

    /// Computes rows, keeping their keys and values; the logits that follow those of `last`, one after the other.
    pub(super) fn forward(&self, rows: &[Row], last: &[usize], caches: &mut [Vec<Cache>]) -> Vec<f32> {
        let mut x = self.embedded(rows);
        for (blocks, caches) in self.stages.iter().zip(caches) {
            for cache in caches.iter_mut() {
                rows.iter().for_each(|row| cache.cover(row.table));
            }
            for (layer, block) in blocks.iter().enumerate() {
                self.attention(block, layer, rows, caches, &mut x);
                self.mlp(block, &mut x);
            }
        }
        self.logits(last, &x)
    }

    /// A rank that does not hold a token has nought for it, so the ranks' sum is the row of the one that does.
    fn embedded(&self, rows: &[Row]) -> Vec<f32> {
        let hidden = self.gpt.hidden as usize;
        let held = self.vocabulary() / self.tensor;
        let mut x = Vec::with_capacity(rows.len() * hidden);
        for row in rows {
            let token = row.token as usize;
            let vector = &self.tables[token / held][token % held * hidden..][..hidden];
            let position = &self.positions[row.position * hidden..][..hidden];
            x.extend(vector.iter().zip(position).map(|(a, b)| a + b));
        }
        x
    }

    fn attention(&self, block: &Block, layer: usize, rows: &[Row], caches: &mut [Cache], x: &mut [f32]) {
        let normed = block.before_attention.forward(x);
        let width = self.width();
        let mut sum = vec![0.0; x.len()];
        let mut scores = Vec::new();
        for (shard, cache) in block.ranks.iter().zip(caches) {
            let mut qkv = shard.qkv_bias.repeat(rows.len());
            accumulate(&normed, &shard.qkv, 3 * width, &mut qkv);
            for (row, qkv) in rows.iter().zip(qkv.chunks_exact(3 * width)) {
                cache.keep(row.table, layer, row.position, [&qkv[width..2 * width], &qkv[2 * width..]]);
            }
            let mut o = vec![0.0; rows.len() * width];
            for ((row, qkv), o) in rows.iter().zip(qkv.chunks_exact(3 * width)).zip(o.chunks_exact_mut(width))
            {
                for head in self.heads_of_a_rank() {
                    let found = |kept, at| &cache.row(row.table, layer, kept, at)[head.clone()];
                    attend(
                        &qkv[head.clone()],
                        row.position + 1,
                        |at| found(Kept::Keys, at),
                        |at| found(Kept::Values, at),
                        &mut scores,
                        &mut o[head.clone()],
                    );
                }
            }
            accumulate(&o, &shard.output, self.gpt.hidden as usize, &mut sum);
        }
        add(x, &sum, &block.output_bias);
    }

    /// The dimensions of each head of a rank.
    fn heads_of_a_rank(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let width = self.gpt.head_dim() as usize;
        (0..self.gpt.heads as usize / self.tensor).map(move |head| head * width..(head + 1) * width)
    }

    fn mlp(&self, block: &Block, x: &mut [f32]) {
        let normed = block.before_mlp.forward(x);
        let hidden = self.gpt.hidden as usize;
        let mut sum = vec![0.0; x.len()];
        for shard in &block.ranks {
            let mut up = shard.up_bias.repeat(x.len() / hidden);
            accumulate(&normed, &shard.up, shard.up_bias.len(), &mut up);
            let mut active = vec![0.0; up.len()];
            gelu::forward(&up, &mut active);
            accumulate(&active, &shard.down, hidden, &mut sum);
        }
        add(x, &sum, &block.down_bias);
    }

    fn logits(&self, last: &[usize], x: &[f32]) -> Vec<f32> {
        let hidden = self.gpt.hidden as usize;
        let rows: Vec<f32> = last.iter().flat_map(|&row| &x[row * hidden..][..hidden]).copied().collect();
        let normed = self.norm.forward(&rows);
        let width = self.vocabulary() / self.tensor;
        let of_rank = |head: &Vec<f32>| {
            let mut logits = vec![0.0; last.len() * width];
            accumulate(&normed, head, width, &mut logits);
            logits
        };
        let ranks: Vec<Vec<f32>> = self.heads.iter().map(of_rank).collect();
        let row = |at: usize| ranks.iter().flat_map(move |logits| &logits[at * width..][..width]);
        (0..last.len()).flat_map(row).copied().collect()
    }
}

/// x += sum + bias, row by row.
fn add(x: &mut [f32], sum: &[f32], bias: &[f32]) {
    for (x, sum) in x.chunks_exact_mut(bias.len()).zip(sum.chunks_exact(bias.len())) {
        for ((x, sum), bias) in x.iter_mut().zip(sum).zip(bias) {
            *x += sum + bias;
        }
    }
}
