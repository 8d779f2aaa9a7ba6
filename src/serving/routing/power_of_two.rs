//! The power of two choices.
//!
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;
use crate::rng::{RngExt, Seed, Stream};
use crate::serving::Request;
use crate::serving::routing::{ReplicaView, RoutingPolicy, least};

/// Of two different replicas drawn at random, the one with fewer requests that are not done; equals: the
/// smaller number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PowerOfTwo {
    #[serde(skip)]
    stream: Option<Box<Stream>>,
}

impl RoutingPolicy for PowerOfTwo {
    fn route(&mut self, _request: &Request, replicas: &[ReplicaView]) -> ReplicaId {
        if replicas.len() == 1 {
            return replicas[0].id;
        }
        let stream = self.stream.as_mut().expect("the seed is told before the run");
        let first = stream.random_range(0..replicas.len());
        // The second among those that are left.
        let second = stream.random_range(0..replicas.len() - 1);
        let second = second + usize::from(second >= first);
        least(&[replicas[first], replicas[second]], |replica| replica.outstanding)
    }

    fn seed(&mut self, seed: Seed) {
        self.stream = Some(Box::new(seed.stream("routing")));
    }

    fn draws(&self) -> bool {
        true
    }
}
