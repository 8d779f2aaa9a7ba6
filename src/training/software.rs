//! The software that trains: which kernels it runs and how fast its host hands them to the device.
//!
//! What a layer means is one thing, how a framework computes it another. `fused` is the best there is:
//! FlashAttention, a fused loss, kernels that are queued long before the device gets to them. `eager` is
//! PyTorch with Megatron-LM's modules as published runs of 2021 and 2022 had them: attention's scores go
//! through memory, gradients are accumulated by kernels of their own, and the host takes tens of
//! microseconds to launch each kernel, so that small layers wait for it.

use serde::{Deserialize, Serialize};

use crate::registry;
use crate::runtime::Dispatch;
use crate::units::SimDuration;

registry! {
    /// `software:` of a workload.
    pub enum SoftwareSpec: Software {
        /// fused kernels, queued ahead: the device never waits for its host
        "fused" => Fused(Fused),
        /// PyTorch with Megatron-LM's modules: unfused attention and loss, launched one by one
        "eager" => Eager(Eager),
    }
}

/// What a framework adds to the meaning of a layer.
pub trait Software {
    /// Whether attention, the loss and the accumulation of gradients go through memory kernel by kernel.
    fn is_eager(&self) -> bool;

    /// What the host takes to hand work to the device.
    fn dispatch(&self) -> Dispatch;
}

/// Fused kernels, queued ahead.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fused {}

impl Software for Fused {
    fn is_eager(&self) -> bool {
        false
    }

    fn dispatch(&self) -> Dispatch {
        Dispatch::default()
    }
}

/// PyTorch, eager, with Megatron-LM's modules.
///
/// The defaults are fitted to the runs of vTrain's authors on A100 (`tests/validation/train.csv`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eager {
    /// What the host takes for each kernel.
    pub kernel: SimDuration,
    /// What it takes for each collective, send or receive.
    pub exchange: SimDuration,
    /// What it takes for a step besides: loading a batch, looking at the loss.
    pub step: SimDuration,
}

impl Default for Eager {
    fn default() -> Self {
        Eager {
            kernel: SimDuration::from_nanos(52_000),
            exchange: SimDuration::from_nanos(20_000),
            step: SimDuration::from_nanos(4_000_000),
        }
    }
}

impl Software for Eager {
    fn is_eager(&self) -> bool {
        true
    }

    fn dispatch(&self) -> Dispatch {
        Dispatch { kernel: self.kernel, exchange: self.exchange, step: self.step }
    }
}
