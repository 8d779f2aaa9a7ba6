//! What replicas hold together instead of each for itself.
//!
//! Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020,
//! section 5; Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB
//! 2023 (stage 3, with prefetching; section 3.2.2, hybrid sharding).

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `zero:` of a training workload: a stage from 0 to 3, or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Zero {
    /// 0: nothing is shared; 1: optimiser state; 2: gradients too; 3: weights too (FSDP).
    pub stage: u8,
    /// Replicas that share, neighbours; every such group is a replica of the others (HSDP). All
    /// replicas share unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Pieces of the model (blocks) whose weights are fetched ahead of the one at work, in stage 3.
    pub prefetch: u32,
}

impl Default for Zero {
    /// Nothing is shared; FSDP fetches one block ahead.
    fn default() -> Self {
        Zero { stage: 0, group: None, prefetch: 1 }
    }
}

impl Zero {
    /// Whether anything is shared.
    pub fn shares(self) -> bool {
        self.stage > 0
    }

    /// Whether each replica keeps its share of the gradients alone, which are then reduced after every
    /// micro-batch.
    pub fn shares_gradients(self) -> bool {
        self.stage >= 2
    }

    /// Whether each replica keeps its share of the weights alone, which are then gathered for each use.
    pub fn shares_weights(self) -> bool {
        self.stage >= 3
    }
}

/// By hand, because a stage may stand for the whole.
impl<'de> Deserialize<'de> for Zero {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            stage: u8,
            #[serde(default)]
            group: Option<u32>,
            #[serde(default = "one")]
            prefetch: u32,
        }
        fn one() -> u32 {
            1
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Zero;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stage from 0 to 3, or {stage: …, group: …, prefetch: …}")
            }
            fn visit_u64<E: serde::de::Error>(self, stage: u64) -> Result<Zero, E> {
                let stage = u8::try_from(stage).ok().filter(|stage| *stage <= 3);
                let stage = stage.ok_or_else(|| E::custom("ZeRO has the stages 0, 1, 2 and 3"))?;
                Ok(Zero { stage, ..Zero::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Zero, A::Error> {
                let Written { stage, group, prefetch } =
                    Written::deserialize(MapAccessDeserializer::new(map))?;
                let Zero { stage, .. } = self.visit_u64(u64::from(stage))?;
                Ok(Zero { stage, group, prefetch })
            }
        }
        from.deserialize_any(Either)
    }
}
