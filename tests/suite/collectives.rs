//! Every collective algorithm, for every kind and groups of 1 to 17, by a symbolic oracle and by
//! real sums.

use std::sync::Arc;

use trainyard::collective::{
    AlgorithmSpec, Collective, CollectiveKind, CommPlan, Member, Reduction, execute, oracle,
};
use trainyard::hardware::{DeviceSpec, LinkClass, LinkSpec, Topology};
use trainyard::ids::{DeviceId, Id, TransferId};
use trainyard::units::Bytes;

/// `n` devices on one switch.
fn star(n: u32) -> Topology {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/devices/h100_sxm.yaml"))
            .unwrap();
    let spec: Arc<DeviceSpec> = Arc::new(serde_yaml::from_str(&text).unwrap());
    let mut builder = Topology::builder("star");
    let node = builder.add_node();
    let switch = builder.add_switch("switch");
    for index in 0..n {
        let device = builder.add_device(format!("gpu{index}"), &spec, node);
        builder.connect(device, switch, LinkSpec::new(LinkClass::Nvlink, 450e9, 500));
    }
    builder.build().unwrap()
}

fn roots(kind: CollectiveKind, n: u32) -> Vec<CollectiveKind> {
    match kind {
        CollectiveKind::Broadcast { .. } => {
            (0..n).map(|root| CollectiveKind::Broadcast { root: Member(root) }).collect()
        }
        CollectiveKind::Reduce { .. } => {
            (0..n).map(|root| CollectiveKind::Reduce { root: Member(root) }).collect()
        }
        CollectiveKind::SendReceive if n != 2 => Vec::new(),
        other => vec![other],
    }
}

/// Every algorithm with every kind, root and group that it admits.
fn every_case(check: impl Fn(&str, CollectiveKind, u32, &CommPlan)) {
    for n in 1..=17 {
        let topology = star(n);
        for kind in CollectiveKind::ALL.into_iter().flat_map(|kind| roots(kind, n)) {
            let group: Arc<[DeviceId]> = (0..n).map(DeviceId).collect();
            let call = Collective { kind, bytes: Bytes(1 << 20), group };
            for name in AlgorithmSpec::NAMES {
                let algorithm = AlgorithmSpec::from_name(name).unwrap();
                if algorithm.admits(&call, &topology).is_ok() {
                    check(name, kind, n, &algorithm.plan(&call, &topology));
                }
            }
        }
    }
}

#[test]
fn every_plan_does_what_its_kind_promises() {
    every_case(|name, kind, n, plan| {
        oracle::check(plan, kind, n).unwrap_or_else(|why| panic!("{name} {kind:?} of {n}: {why}"));
    });
}

/// Two transfers that touch one place of one member, one of them replacing it or one of them reading
/// what the other adds to, must be ordered by dependencies: the network may deliver in any order.
#[test]
fn no_plan_leaves_a_race_to_the_network() {
    every_case(|name, kind, n, plan| {
        if n > 9 {
            return;
        }
        let count = plan.transfers().len();
        // reach[a] holds b when b waits for a, directly or through others.
        let mut reach = vec![vec![false; count]; count];
        for a in (0..count).rev() {
            for next in plan.successors(TransferId::from_index(a)).collect::<Vec<_>>() {
                let further = reach[next.index()].clone();
                reach[a].iter_mut().zip(further).for_each(|(mine, theirs)| *mine |= theirs);
                reach[a][next.index()] = true;
            }
        }
        let transfers = plan.transfers();
        let overlap = |a: (u32, u32), b: (u32, u32)| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
        for (a, first) in transfers.enumerate() {
            for (b, second) in transfers.enumerate().skip(a.index() + 1) {
                let (ra, rb) = ((first.source, first.count), (second.source, second.count));
                let (wa, wb) = ((first.target, first.count), (second.target, second.count));
                let write_write = first.to == second.to && overlap(wa, wb);
                let both_add =
                    first.action == second.action && first.action == trainyard::collective::Action::Reduce;
                let conflict = (write_write && !both_add)
                    || (first.to == second.from && overlap(wa, rb))
                    || (first.from == second.to && overlap(ra, wb));
                assert!(!conflict || reach[a.index()][b.index()], "{name} {kind:?} of {n}: {a} and {b} race");
            }
        }
    });
}

/// Real payloads: sums within the rounding of n additions, copies exactly.
#[test]
fn every_all_reduce_sums_real_numbers() {
    every_case(|name, kind, n, plan| {
        if kind != CollectiveKind::AllReduce {
            return;
        }
        let length = 37;
        let value = |member: u32, index: usize| ((member as usize * 31 + index * 7) % 23) as f32 - 11.5;
        let mut buffers: Vec<Vec<f32>> =
            (0..n).map(|member| (0..length).map(|index| value(member, index)).collect()).collect();
        execute(plan, &mut buffers, Reduction::Sum);
        for index in 0..length {
            // Halves of small whole numbers: every order of summation is exact.
            let sum: f32 = (0..n).map(|member| value(member, index)).sum();
            for buffer in &buffers {
                assert_eq!(buffer[index], sum, "{name} of {n}");
            }
        }
    });
}

/// Patarasuk and Yuan: each member of a ring sends 2(n − 1)/n·S in an all-reduce, half in its halves.
#[test]
fn a_ring_moves_the_least_possible() {
    every_case(|name, kind, n, plan| {
        if name != "ring" {
            return;
        }
        let bytes = Bytes(u64::from(n) * 1024);
        let sent: u64 = plan.transfers().ids().map(|id| plan.bytes_of(id, bytes).get()).sum();
        let rounds = match kind {
            CollectiveKind::AllReduce => 2 * u64::from(n - 1),
            CollectiveKind::ReduceScatter | CollectiveKind::AllGather => u64::from(n - 1),
            _ => return,
        };
        assert_eq!(sent, rounds * u64::from(n) * 1024, "{kind:?} of {n}");
    });
}
