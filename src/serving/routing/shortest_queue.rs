//! Shortest queue, in tokens.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;
use crate::serving::Request;
use crate::serving::routing::{ReplicaView, RoutingPolicy, least};

/// To the replica with the fewest tokens still to be computed: prompts that wait and what is left of
/// those begun. Equals: fewer requests that are not done, then the smaller number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShortestQueue {}

impl RoutingPolicy for ShortestQueue {
    fn route(&mut self, _request: &Request, replicas: &[ReplicaView]) -> ReplicaId {
        least(replicas, |replica| (replica.queued_tokens, replica.outstanding))
    }
}
