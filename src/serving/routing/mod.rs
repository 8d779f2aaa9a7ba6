//! To which replica a request goes.
//!
//! A router is asked when a request arrives, and where prefill and decode are apart once more (one of
//! its own) when the prompt has been computed. It sees what a load balancer sees: not how long
//! answers will be.
//!
//! To add one, write its file and list it here; the conformance tests will find it.

mod least_outstanding;
mod power_of_two;
mod round_robin;
mod shortest_queue;

use crate::ids::ReplicaId;
use crate::registry;
use crate::rng::Seed;
use crate::serving::Request;

registry! {
    /// `routing:` of a serving workload.
    pub enum RoutingSpec: RoutingPolicy {
        /// one after the other
        "round_robin" => RoundRobin(round_robin::RoundRobin),
        /// to whoever has the fewest requests that are not done
        "least_outstanding" => LeastOutstanding(least_outstanding::LeastOutstanding),
        /// to whoever has the fewest prompt tokens still to compute
        "shortest_queue" => ShortestQueue(shortest_queue::ShortestQueue),
        /// the less loaded of two drawn at random (Mitzenmacher)
        "power_of_two" => PowerOfTwo(power_of_two::PowerOfTwo),
    }
}

/// What a router sees of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaView {
    /// Which it is.
    pub id: ReplicaId,
    /// Requests that it was given and has not done.
    pub outstanding: u32,
    /// Tokens of those that are known and still have to be computed, or to arrive from another replica.
    pub queued_tokens: u64,
}

/// Decides where a request goes.
///
/// Contract: the answer is one of the replicas it was shown (there is at least one).
pub trait RoutingPolicy {
    /// The replica that gets a request.
    fn route(&mut self, request: &Request, replicas: &[ReplicaView]) -> ReplicaId;

    /// Tells the seed before the run; only who draws lots listens.
    fn seed(&mut self, _seed: Seed) {}

    /// Whether another seed could give another answer.
    fn draws(&self) -> bool {
        false
    }
}

/// The replica of which there is least; the one with the smaller number among equals.
fn least<K: Ord>(replicas: &[ReplicaView], of: impl Fn(&ReplicaView) -> K) -> ReplicaId {
    replicas.iter().min_by_key(|replica| (of(replica), replica.id)).expect("there is a replica").id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SimTime;

    fn route(name: &str, times: usize, loads: &[(u32, u64)]) -> Vec<u32> {
        let mut router = RoutingSpec::from_name(name).unwrap();
        router.seed(Seed(1));
        let view = |(at, &(outstanding, queued_tokens)): (usize, &(u32, u64))| ReplicaView {
            id: ReplicaId(at as u32),
            outstanding,
            queued_tokens,
        };
        let replicas: Vec<ReplicaView> = loads.iter().enumerate().map(view).collect();
        let request = Request { arrival: SimTime::ZERO, prompt: 1, output: 1 };
        (0..times).map(|_| router.route(&request, &replicas).0).collect()
    }

    #[test]
    fn routers_do_as_they_are_called() {
        let loads = [(3, 10), (1, 30), (1, 20)];
        assert_eq!(route("round_robin", 4, &loads), [0, 1, 2, 0]);
        assert_eq!(route("least_outstanding", 2, &loads), [1, 1]);
        assert_eq!(route("shortest_queue", 1, &loads), [0]);
    }

    /// The most loaded of three is never the better of two; each of the others meets it in a third of
    /// the draws and the other in a third, where the smaller number decides between equals.
    #[test]
    fn the_better_of_two_is_taken() {
        let drawn = route("power_of_two", 300, &[(1, 0), (1, 0), (2, 0)]);
        let of = |replica| drawn.iter().filter(|&&id| id == replica).count();
        assert_eq!(of(2), 0);
        assert!((160..=240).contains(&of(0)), "{}", of(0));
    }
}
