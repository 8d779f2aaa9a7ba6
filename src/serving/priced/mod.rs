//! Steps priced kernel by kernel: the products of a step's tokens with the weights, attention over the
//! cache, and what ranks and stages tell each other.
//!
//! A step's tokens meet each weight together, whatever request they are of; attention is by request.
//! Like the kernels of vLLM (`flash_attn_varlen_func` over paged blocks), one launch serves all requests
//! of a step: chunks of prompts each with their own queries and keys, decodes as a batch with their
//! mean number of keys, rounded up to whole blocks of 16, which the kernel reads whole.
//!
//! Everything is remembered: products by the number of tokens, attention by its shape.

mod exchange;
mod kernels;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::collective::AlgorithmSpec;
use crate::compute::{ComputeSpec, Kernel, Memo};
use crate::hardware::{DeviceSpec, Topology};
use crate::ids::{DeviceId, IdVec, ReplicaId};
use crate::network::NetworkSpec;
use crate::serving::cost::{StageTime, StepCost, StepShape};
use crate::serving::memory::Layout;
use crate::units::{Bytes, Cycles, SimDuration};

use exchange::Exchanges;

/// A model on the devices of its replicas.
pub struct Priced {
    layout: Layout,
    device: Arc<DeviceSpec>,
    memo: Memo,
    /// What a step costs besides kernels, on its first stage.
    overhead: SimDuration,
    exchanges: Exchanges,
    /// Picoseconds of a block's kernels but attention, by tokens: with a plain MLP, and with experts.
    blocks: FxHashMap<u64, [u64; 2]>,
    /// Cycles of attention without the launch, by (requests, queries, keys).
    attention: FxHashMap<(u64, u64, u64), u64>,
    /// Picoseconds of what surrounds the blocks, by tokens and by tokens sampled.
    ends: FxHashMap<(bool, u64), u64>,
}

/// What prices steps.
pub struct Pricing<'a> {
    /// The model and how it is spread.
    pub layout: Layout,
    /// Where.
    pub topology: Arc<Topology>,
    /// The devices of each replica, stage by stage; all of one kind.
    pub devices: &'a IdVec<ReplicaId, Vec<DeviceId>>,
    /// How kernels are costed.
    pub compute: ComputeSpec,
    /// How flows share links.
    pub network: NetworkSpec,
    /// How collectives are carried out.
    pub collective: AlgorithmSpec,
    /// What a step costs besides kernels.
    pub overhead: SimDuration,
}

/// Keys that attention kernels read at once.
const KEYS: u64 = 16;

impl Priced {
    /// A model on the devices of its replicas.
    pub fn new(pricing: Pricing) -> Self {
        let first = pricing.devices.iter().flatten().next().expect("a replica has devices");
        let device = Arc::clone(&pricing.topology.devices()[*first].spec);
        Priced {
            device,
            memo: Memo::new(pricing.compute.clone()),
            overhead: pricing.overhead,
            exchanges: Exchanges::new(&pricing),
            layout: pricing.layout,
            blocks: FxHashMap::default(),
            attention: FxHashMap::default(),
            ends: FxHashMap::default(),
        }
    }

    fn sum(&mut self, kernels: &[Kernel]) -> u64 {
        let Priced { memo, device, .. } = self;
        kernels.iter().map(|kernel| memo.cost(kernel, device).time(device).picos()).sum()
    }

    /// A block's kernels but attention.
    fn block(&mut self, tokens: u64) -> [u64; 2] {
        if let Some(&known) = self.blocks.get(&tokens) {
            return known;
        }
        let common = self.sum(&kernels::around_attention(&self.layout, tokens));
        let plain = kernels::mlp(&self.layout, tokens);
        let sparse = kernels::experts(&self.layout, tokens);
        let times = [common + self.sum(&plain), common + self.sum(&sparse)];
        self.blocks.insert(tokens, times);
        times
    }

    /// Attention of one layer over everything in a step.
    fn attention(&mut self, step: &StepShape) -> u64 {
        let mut cycles = 0;
        if step.decodes > 0 {
            let mean = step.decode_keys.div_ceil(step.decodes);
            cycles += self.attention_cycles(step.decodes, 1, mean.next_multiple_of(KEYS));
        }
        for chunk in &step.chunks {
            cycles += self.attention_cycles(1, chunk.queries, chunk.keys);
        }
        self.device.clock.duration(Cycles(cycles)).picos() + self.device.launch.picos()
    }

    fn attention_cycles(&mut self, batch: u64, queries: u64, keys: u64) -> u64 {
        let Priced { layout, memo, device, attention, .. } = self;
        *attention.entry((batch, queries, keys)).or_insert_with(|| {
            let kernel = kernels::attention(layout, batch, queries, keys);
            // Shapes seldom come twice, and if they do they are known here: the model itself is asked.
            let cost = memo.model().cost(&kernel, device);
            cost.cycles.0.saturating_sub(cost.parts.launch as u64)
        })
    }

    /// Embedding the tokens of a step, or the head for those that are sampled.
    fn end(&mut self, last: bool, tokens: u64) -> u64 {
        if let Some(&known) = self.ends.get(&(last, tokens)) {
            return known;
        }
        let kernels =
            if last { kernels::head(&self.layout, tokens) } else { kernels::embedding(&self.layout, tokens) };
        let time = self.sum(&kernels);
        self.ends.insert((last, tokens), time);
        time
    }

    /// Blocks with a plain MLP and with experts on a stage.
    fn blocks_of(&self, stage: usize) -> [u64; 2] {
        let decoder = &self.layout.decoder;
        let each = decoder.layers() / self.layout.stages;
        let start = stage as u64 * each;
        let plain = decoder.dense_layers.clamp(start, start + each) - start;
        [plain, each - plain]
    }
}

impl StepCost for Priced {
    fn stages(&self) -> usize {
        self.layout.stages as usize
    }

    fn time(&mut self, replica: ReplicaId, stage: usize, step: &StepShape) -> StageTime {
        let tokens = step.tokens;
        let last = stage + 1 == self.stages();
        let [plain, sparse] = self.blocks_of(stage);
        let [plain_time, sparse_time] = self.block(tokens);
        let mut picos = plain * plain_time + sparse * sparse_time + (plain + sparse) * self.attention(step);
        let width = self.layout.precision;
        let state = width.bytes_of(tokens * self.layout.decoder.hidden);
        if self.layout.tensor > 1 {
            // Shoeybi et al., section 3: one after attention, one after the MLP.
            picos += 2 * (plain + sparse) * self.exchanges.all_reduce(replica, stage, state);
        }
        if stage == 0 {
            picos += self.end(false, tokens) + self.overhead.picos();
        }
        let mut sending = 0;
        if last && step.sampled > 0 {
            picos += self.end(true, step.sampled);
            if self.layout.tensor > 1 {
                let logits = width.bytes_of(step.sampled * self.layout.decoder.vocabulary);
                picos += self.exchanges.all_gather(replica, stage, logits);
            }
        }
        if !last {
            sending = self.exchanges.send(replica, stage, state);
        }
        StageTime { busy: SimDuration::from_picos(picos), sending: SimDuration::from_picos(sending) }
    }
}

/// Bytes of a token's state between stages, at least one.
fn state_of_a_token(layout: &Layout) -> Bytes {
    layout.precision.bytes_of(layout.decoder.hidden).max(Bytes(1))
}
