//! Pipelined chain: the buffer passes from member to member in chunks that follow each other.
//!
//! Chan et al., "Collective communication: theory, practice, and experience", CCPE 2007; NCCL's
//! broadcast and reduce. (n − 2 + c)(α + S/(c·B)) with c chunks, least with
//! c = √((n−2)·S/(α·B)), where it nears S/B however many members there are. An all-reduce goes along
//! the chain and back.

use serde::{Deserialize, Serialize};

use super::{root_of, send, spread};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, Transfer};
use crate::hardware::Topology;

/// Chunk after chunk from one to the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chain {
    /// Pieces that follow each other.
    pub chunks: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Chain { chunks: 32 }
    }
}

impl CollectiveAlgorithm for Chain {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        if call.kind == CollectiveKind::SendReceive {
            return send();
        }
        let n = call.members();
        let root = root_of(call.kind).0;
        let member = |index: u32| Member((root + index) % n);
        spread(call.kind, n, self.chunks.max(1), |chunk| {
            (1..n).map(|to| Transfer::copy(member(to - 1), member(to), chunk, 1)).collect()
        })
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        super::only_whole_buffers(call, "chain")
    }
}
