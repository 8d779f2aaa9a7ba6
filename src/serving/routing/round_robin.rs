//! Round robin.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;
use crate::serving::Request;
use crate::serving::routing::{ReplicaView, RoutingPolicy};

/// The first request goes to the first replica, each further one to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundRobin {
    #[serde(skip)]
    next: usize,
}

impl RoutingPolicy for RoundRobin {
    fn route(&mut self, _request: &Request, replicas: &[ReplicaView]) -> ReplicaId {
        let chosen = replicas[self.next % replicas.len()].id;
        self.next = (self.next + 1) % replicas.len();
        chosen
    }
}
