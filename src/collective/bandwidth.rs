//! Algorithm and bus bandwidth, as nccl-tests defines them.
//!
//! NVIDIA nccl-tests, `doc/PERFORMANCE.md`: algorithm bandwidth is size over time; bus bandwidth
//! corrects it by what the collective must move, so that it can be compared to a link's bandwidth
//! whatever the number of members.

use crate::collective::CollectiveKind;
use crate::units::{Bytes, SimDuration};

/// Size over time, in bytes per second.
pub fn algorithm_bandwidth(bytes: Bytes, time: SimDuration) -> f64 {
    bytes.as_f64() / time.seconds()
}

/// What bus bandwidth is to algorithm bandwidth: 2(n−1)/n for all-reduce, (n−1)/n for
/// reduce-scatter, all-gather and all-to-all, 1 for the rest.
pub fn bus_factor(kind: CollectiveKind, members: u32) -> f64 {
    let n = f64::from(members);
    match kind {
        CollectiveKind::AllReduce => 2.0 * (n - 1.0) / n,
        CollectiveKind::ReduceScatter | CollectiveKind::AllGather | CollectiveKind::AllToAll => (n - 1.0) / n,
        CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } | CollectiveKind::SendReceive => 1.0,
    }
}

/// Algorithm bandwidth times the [`bus_factor`].
pub fn bus_bandwidth(kind: CollectiveKind, members: u32, bytes: Bytes, time: SimDuration) -> f64 {
    algorithm_bandwidth(bytes, time) * bus_factor(kind, members)
}
