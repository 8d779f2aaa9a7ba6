//! Least outstanding requests.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;
use crate::serving::Request;
use crate::serving::routing::{ReplicaView, RoutingPolicy, least};

/// To the replica with the fewest requests that are not done; equals: the smaller number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeastOutstanding {}

impl RoutingPolicy for LeastOutstanding {
    fn route(&mut self, _request: &Request, replicas: &[ReplicaView]) -> ReplicaId {
        least(replicas, |replica| replica.outstanding)
    }
}
