//! Every collective algorithm, for every kind and groups of 1 to 17, by a symbolic oracle and by
//! real sums.

use std::sync::Arc;

use trainyard::collective::algorithms::Auto;
use trainyard::collective::lone::LoneRings;
use trainyard::collective::{
    AlgorithmSpec, Collective, CollectiveKind, CommPlan, Member, Reduction, execute, oracle, timing,
};
use trainyard::hardware::{DeviceSpec, LinkClass, LinkSpec, Topology};
use trainyard::ids::{DeviceId, Id, TransferId};
use trainyard::network::{NetworkSpec, links_of};
use trainyard::units::{Bytes, SimTime};

fn h100() -> Arc<DeviceSpec> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/devices/h100_sxm.yaml");
    Arc::new(serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// `n` devices on one switch.
fn star(n: u32) -> Arc<Topology> {
    let spec = h100();
    let mut builder = Topology::builder("star");
    let node = builder.add_node();
    let switch = builder.add_switch("switch");
    for index in 0..n {
        let device = builder.add_device(format!("gpu{index}"), &spec, node);
        builder.connect(device, switch, LinkSpec::new(LinkClass::Nvlink, 450e9, 500));
    }
    Arc::new(builder.build().unwrap())
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

/// `nodes` of `per_node` devices: rails over a leaf switch for each place of a node.
fn rails(nodes: u32, per_node: u32) -> Arc<Topology> {
    let spec = h100();
    let mut builder = Topology::builder("rails");
    let spine = builder.add_switch("spine");
    let leaves: Vec<_> = (0..per_node).map(|rail| builder.add_switch(format!("leaf{rail}"))).collect();
    for &leaf in &leaves {
        builder.connect(leaf, spine, LinkSpec::new(LinkClass::Infiniband, 50e9, 500));
    }
    for index in 0..nodes {
        let node = builder.add_node();
        let switch = builder.add_switch(format!("switch{index}"));
        for (rail, &leaf) in leaves.iter().enumerate() {
            let device = builder.add_device(format!("node{index}/gpu{rail}"), &spec, node);
            builder.connect(device, switch, LinkSpec::new(LinkClass::Nvlink, 450e9, 500));
            builder.connect(device, leaf, LinkSpec::new(LinkClass::Infiniband, 50e9, 1000));
        }
    }
    Arc::new(builder.build().unwrap())
}

/// Groups of 1 to 17 on one switch, and of several nodes.
fn machines() -> Vec<(u32, Arc<Topology>)> {
    let flat = (1..=17).map(|n| (n, star(n)));
    let nodes = [(2, 2), (2, 4), (3, 2), (3, 3), (4, 4), (2, 8)];
    flat.chain(nodes.map(|(nodes, per_node)| (nodes * per_node, rails(nodes, per_node)))).collect()
}

/// Every algorithm with every kind, root and group that it admits; and those with other parameters.
fn every_case(check: impl Fn(&str, CollectiveKind, u32, &CommPlan)) {
    let parameters = [
        r#"{"ring": {"channels": 4}}"#,
        r#"{"synthesized": {"chunks": 3, "tries": 2, "seed": 7}}"#,
        r#"{"ring": {"channels": 2, "chunks": 3}}"#,
        r#"{"hierarchical": {"by": ["direct", "halving_doubling"]}}"#,
        r#"{"hierarchical": {"by": ["bruck"], "dimensions": [2, 2, 3]}}"#,
        r#"{"hierarchical": {"dimensions": [2, 2, 2, 2], "by": ["ring", "bruck"]}}"#,
    ];
    let written = parameters.map(|text| serde_json::from_str::<AlgorithmSpec>(text).unwrap());
    let named = AlgorithmSpec::NAMES.iter().map(|name| AlgorithmSpec::from_name(name).unwrap());
    let algorithms: Vec<AlgorithmSpec> = named.chain(written).collect();
    for (n, topology) in machines() {
        for kind in CollectiveKind::ALL.into_iter().flat_map(|kind| roots(kind, n)) {
            let group: Arc<[DeviceId]> = (0..n).map(DeviceId).collect();
            let call = Collective { kind, bytes: Bytes(1 << 20), group };
            for algorithm in &algorithms {
                if algorithm.admits(&call, &topology).is_ok() {
                    check(algorithm.name(), kind, n, &algorithm.plan(&call, &topology));
                }
            }
        }
    }
}

/// What each algorithm can do, as its paper has it.
#[test]
fn every_algorithm_admits_the_kinds_of_its_paper() {
    let (n, topology) = (8, rails(2, 4));
    let admitted = |name: &str| -> Vec<&str> {
        let algorithm = AlgorithmSpec::from_name(name).unwrap();
        let admits = |kind: &CollectiveKind| {
            let members = if *kind == CollectiveKind::SendReceive { 2 } else { n };
            let group: Arc<[DeviceId]> = (0..members).map(DeviceId).collect();
            algorithm.admits(&Collective { kind: *kind, bytes: Bytes(1 << 20), group }, &topology).is_ok()
        };
        let kinds = CollectiveKind::ALL.into_iter().filter(admits);
        kinds.map(CollectiveKind::name).filter(|kind| *kind != "send-receive").collect()
    };
    let all = ["all-reduce", "reduce-scatter", "all-gather", "broadcast", "reduce", "all-to-all"];
    let whole = ["all-reduce", "broadcast", "reduce"];
    let pieces = ["all-reduce", "reduce-scatter", "all-gather", "all-to-all"];
    for name in AlgorithmSpec::NAMES {
        let expected: &[&str] = match *name {
            "double_binary_tree" | "binomial" | "chain" => &whole,
            "bruck" | "pairwise" => &pieces,
            "halving_doubling" | "synthesized" => &all[..5],
            "pxn" => &["all-to-all"],
            _ => &all,
        };
        assert_eq!(admitted(name), expected, "{name}");
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

/// How long an algorithm takes on `n` devices of one switch, 450 GB/s and 1 µs from device to device,
/// without the launch of the kernel.
fn seconds(algorithm: &str, kind: CollectiveKind, n: u32, bytes: u64) -> f64 {
    on(&star(n), algorithm, kind, n, bytes)
}

fn on(topology: &Arc<Topology>, algorithm: &str, kind: CollectiveKind, n: u32, bytes: u64) -> f64 {
    let algorithm: AlgorithmSpec = serde_yaml::from_str(algorithm).unwrap();
    let group: Arc<[DeviceId]> = (0..n).map(DeviceId).collect();
    let call = Collective { kind, bytes: Bytes(bytes), group };
    algorithm.admits(&call, topology).unwrap();
    let plan = algorithm.plan(&call, topology);
    let mut network = NetworkSpec::from_name("fluid").unwrap().model(&links_of(topology));
    let launch = topology.devices()[DeviceId(0)].spec.launch.seconds();
    timing::time(&call, &plan, topology, &mut *network).time_s - launch
}

/// Equal up to the picoseconds that every transfer rounds up.
fn assert_takes(algorithm: &str, kind: CollectiveKind, n: u32, bytes: u64, expected: f64) {
    let taken = seconds(algorithm, kind, n, bytes);
    assert!(
        (taken / expected - 1.0).abs() < 1e-6,
        "{algorithm} {} of {n}: {taken} s, not {expected} s",
        kind.name()
    );
}

const ALPHA: f64 = 1e-6;
const BANDWIDTH: f64 = 450e9;
/// Divides by every group and number of chunks used below.
const SIZE: u64 = 16 * 3 * 1024 * 1024;

/// 2(n−1)(α + S/(nB)), halves half of it.
#[test]
fn rings_take_the_textbook_time() {
    for n in [2_u32, 3, 8, 16] {
        let round = ALPHA + SIZE as f64 / f64::from(n) / BANDWIDTH;
        let rounds = f64::from(n - 1);
        assert_takes("ring", CollectiveKind::AllReduce, n, SIZE, 2.0 * rounds * round);
        assert_takes("ring", CollectiveKind::ReduceScatter, n, SIZE, rounds * round);
        assert_takes("ring", CollectiveKind::AllGather, n, SIZE, rounds * round);
    }
}

/// (n − 2 + c)(α + S/(cB)): the last of c chunks leaves after c − 1 others and crosses n − 1 links.
#[test]
fn chains_are_pipelined() {
    let root = Member(0);
    for (algorithm, chunks) in [("ring", 8), ("chain", 32), ("chain: {chunks: 1}", 1)] {
        for n in [2_u32, 3, 8, 16] {
            let chunk = ALPHA + SIZE as f64 / f64::from(chunks) / BANDWIDTH;
            let expected = f64::from(n - 2 + chunks) * chunk;
            assert_takes(algorithm, CollectiveKind::Broadcast { root }, n, SIZE, expected);
            assert_takes(algorithm, CollectiveKind::Reduce { root }, n, SIZE, expected);
        }
    }
}

/// log₂n·α + (n−1)/n·S/B each way where n is a power of two, for Bruck ⌈log₂n⌉ rounds for every n.
#[test]
fn logarithmic_algorithms_take_logarithmic_rounds() {
    for n in [2_u32, 4, 8, 16] {
        let way = f64::from(n.ilog2()) * ALPHA + f64::from(n - 1) / f64::from(n) * SIZE as f64 / BANDWIDTH;
        for algorithm in ["halving_doubling", "bruck"] {
            assert_takes(algorithm, CollectiveKind::AllReduce, n, SIZE, 2.0 * way);
            assert_takes(algorithm, CollectiveKind::ReduceScatter, n, SIZE, way);
            assert_takes(algorithm, CollectiveKind::AllGather, n, SIZE, way);
        }
    }
    for n in [3_u32, 6, 12] {
        let rounds = f64::from(n.next_power_of_two().ilog2());
        let way = rounds * ALPHA + f64::from(n - 1) / f64::from(n) * SIZE as f64 / BANDWIDTH;
        assert_takes("bruck", CollectiveKind::AllGather, n, SIZE, way);
    }
    // Every round of the all-to-all carries half of the buffer.
    let expected = 3.0 * (ALPHA + SIZE as f64 / 2.0 / BANDWIDTH);
    assert_takes("bruck", CollectiveKind::AllToAll, 8, SIZE, expected);
}

/// Among 6 members two pairs take part as one each: 4 parts with 2, 2, 1 and 1 sixths. The pairs join
/// (1/6), parts exchange what they have (2/6 between the pairs), then twice that (4/6), and the pairs
/// part again (5/6): 4α + 2·S/B each way.
#[test]
fn halving_doubling_folds_what_is_no_power_of_two() {
    let way = 4.0 * ALPHA + 2.0 * SIZE as f64 / BANDWIDTH;
    assert_takes("halving_doubling", CollectiveKind::AllReduce, 6, SIZE, 2.0 * way);
    assert_takes("halving_doubling", CollectiveKind::AllGather, 6, SIZE, way);
}

/// (n−1)(α + S/(nB)).
#[test]
fn pairwise_rounds_follow_each_other() {
    for n in [2_u32, 3, 8, 16] {
        let rounds = f64::from(n - 1) * (ALPHA + SIZE as f64 / f64::from(n) / BANDWIDTH);
        assert_takes("pairwise", CollectiveKind::AllToAll, n, SIZE, rounds);
        assert_takes("pairwise", CollectiveKind::AllReduce, n, SIZE, 2.0 * rounds);
    }
}

/// ⌈log₂n⌉ rounds; in round k its 2ᵏ senders each have a port of their own.
#[test]
fn binomial_trees_double_with_every_round() {
    for n in [2_u32, 3, 8, 16] {
        let rounds = f64::from(n.next_power_of_two().ilog2());
        // A member's later rounds begin with its first: they share its port until the nearest has ended.
        let fewest = rounds * ALPHA + SIZE as f64 / BANDWIDTH;
        let most = rounds * (rounds * ALPHA + rounds * SIZE as f64 / BANDWIDTH);
        let taken = seconds("binomial", CollectiveKind::Broadcast { root: Member(0) }, n, SIZE);
        assert!(taken >= fewest * 0.999_999 && taken <= most * 1.000_001, "{n}: {taken}");
    }
}

/// Pipelined, a port carries each half of the buffer at most twice each way: 2S/B, and the latencies and
/// chunks of filling and draining trees of log₂n levels.
#[test]
fn double_trees_use_the_full_bandwidth() {
    let whole = SIZE as f64 / BANDWIDTH;
    for n in [4_u32, 8, 13, 16] {
        let levels = f64::from(n.ilog2() + 1);
        let taken = seconds("double_binary_tree: {chunks: 64}", CollectiveKind::AllReduce, n, SIZE);
        assert!(taken > 2.0 * whole * 0.7, "{n}: {taken}");
        let most = 2.0 * whole + (2.0 * levels + 64.0) * (ALPHA + whole / 32.0);
        assert!(taken < most, "{n}: {taken} s is more than {most} s");
    }
}

/// Grid by grid: 2(d₁−1)(α₁ + S/(d₁B₁)) + 2(d₂−1)(α₂ + S/(d₁d₂B₂)).
#[test]
fn hierarchies_take_the_sum_of_their_dimensions() {
    let machine = rails(4, 4);
    let size = SIZE as f64;
    let inside = ALPHA + size / 4.0 / 450e9;
    let outside = 2e-6 + size / 16.0 / 50e9;
    let taken = on(&machine, "hierarchical", CollectiveKind::AllReduce, 16, SIZE);
    let expected = 2.0 * 3.0 * (inside + outside);
    assert!((taken / expected - 1.0).abs() < 1e-6, "{taken} s, not {expected} s");
    // Flat, every fourth hop crosses a card at 1/16 of the buffer a round.
    assert!(on(&machine, "ring", CollectiveKind::AllReduce, 16, SIZE) > 1.5 * expected);
}

/// One sum goes down and one copy goes up: S each way, in 8 chunks of which the first way up and the
/// last way down meet no other.
#[test]
fn switches_that_add_halve_the_bytes() {
    let n = 8;
    let whole = SIZE as f64 / BANDWIDTH;
    let taken = seconds("nvls: {chunks: 8}", CollectiveKind::AllReduce, n, SIZE);
    assert!(taken > whole, "{taken} s is less than S/B = {whole} s");
    assert!(taken < whole * 9.0 / 8.0 + 18.0 * ALPHA, "{taken} s");
    assert!(taken < 0.75 * seconds("ring", CollectiveKind::AllReduce, n, SIZE));
}

/// Over rails nothing climbs to the spine: an all-to-all of 2 nodes moves S/2 over each card.
#[test]
fn pxn_keeps_off_the_spine() {
    let machine = rails(2, 8);
    let card = SIZE as f64 / 2.0 / 50e9;
    let taken = on(&machine, "pxn", CollectiveKind::AllToAll, 16, SIZE);
    assert!(taken > card && taken < 1.3 * card + 20.0 * ALPHA, "{taken} s, card {card} s");
    // Straight, 7/8 of it share the spine's 8 links with everyone else's.
    assert!(on(&machine, "direct", CollectiveKind::AllToAll, 16, SIZE) > taken);
}

/// What the tuner promises is about what the network then takes, in every protocol's range, on a node and
/// on several: the choice is as good as the promise.
#[test]
fn auto_takes_about_what_it_promises() {
    let auto = Auto::default();
    for (machine, n) in [(star(8), 8), (rails(4, 4), 16)] {
        for kind in [CollectiveKind::AllReduce, CollectiveKind::AllGather, CollectiveKind::AllToAll] {
            for bytes in [1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 28] {
                let group: Arc<[DeviceId]> = (0..n).map(DeviceId).collect();
                let call = Collective { kind, bytes: Bytes(bytes), group };
                let choices = auto.choices(&call, &machine);
                let promised = choices.iter().map(|choice| choice.seconds).fold(f64::INFINITY, f64::min);
                let taken = on(&machine, "auto", kind, n, bytes);
                let ratio = taken / promised;
                // Latencies that overlap are counted one after the other, and over several nodes the
                // dimensions too: there the promise only says which way is the quicker one.
                let near = if n == 8 { 0.6..1.4 } else { 0.5..2.0 };
                assert!(near.contains(&ratio), "{} of {n}, {bytes} B: {ratio}", kind.name());
            }
        }
    }
}

/// LL for small buffers, Simple for large ones, as in NCCL.
#[test]
fn auto_changes_protocol_with_size() {
    let machine = star(8);
    let chosen = |bytes: u64| {
        let group: Arc<[DeviceId]> = (0..8).map(DeviceId).collect();
        let call = Collective { kind: CollectiveKind::AllGather, bytes: Bytes(bytes), group };
        let choices = Auto::default().choices(&call, &machine);
        choices.into_iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).unwrap()
    };
    assert_eq!(chosen(1 << 10).protocol, "ll");
    assert_eq!(chosen(1 << 28).protocol, "simple");
    assert_eq!(chosen(1 << 28).algorithm.name(), "ring");
}

/// A ring of cables, every seventh of which is slower and longer than the others.
fn circle(n: u32) -> Topology {
    let spec = h100();
    let mut builder = Topology::builder("circle");
    let node = builder.add_node();
    let devices: Vec<_> =
        (0..n).map(|index| builder.add_device(format!("gpu{index}"), &spec, node)).collect();
    for (index, &device) in devices.iter().enumerate() {
        let link = match index % 7 {
            6 => LinkSpec::new(LinkClass::Nvlink, 60e9, 900),
            _ => LinkSpec::new(LinkClass::Nvlink, 100e9, 500),
        };
        builder.connect(device, devices[(index + 1) % devices.len()], link);
    }
    builder.devices_forward();
    builder.build().unwrap()
}

/// Rings that meet no other are timed message by message; as flows of a network, all that share links
/// together, they take as long to the picosecond.
#[test]
fn lone_rings_take_as_long_as_their_flows() {
    let algorithms = ["ring", "ring: {chunks: 4}", "ring: {channels: 2, chunks: 3}"];
    let kinds = [CollectiveKind::AllReduce, CollectiveKind::ReduceScatter, CollectiveKind::AllGather];
    let mut alone = 0;
    for (n, topology) in (1..=16).flat_map(|n| [(n, star(n)), (n, Arc::new(circle(n.max(3))))]) {
        for (algorithm, kind) in algorithms.iter().flat_map(|algorithm| kinds.map(|kind| (algorithm, kind))) {
            let algorithm: AlgorithmSpec = serde_yaml::from_str(algorithm).unwrap();
            for bytes in [Bytes(1), Bytes(4096 * u64::from(n)), Bytes((1 << 20) + 5)] {
                for network in ["fluid", "analytic"] {
                    let network = NetworkSpec::from_name(network).unwrap();
                    let call = Collective { kind, bytes, group: (0..n).map(DeviceId).collect() };
                    let plan = algorithm.plan(&call, &topology);
                    let mut model = network.model(&links_of(&topology));
                    let lone = LoneRings::of(&plan, &call.group, &topology, &*model);
                    let Some(ends) = lone.and_then(|rings| rings.ends(&plan, bytes)) else { continue };
                    let last = timing::through(&call, &plan, &topology, &mut *model, SimTime::ZERO);
                    assert_eq!(ends.into_iter().max(), Some(last.since(SimTime::ZERO)), "{n} {algorithm:?}");
                    alone += 1;
                }
            }
        }
    }
    assert!(alone > 400, "only {alone} cases were timed alone");
}

/// In c chunks a round takes α and a chunk, or a piece where that is longer, and what is left of the last
/// piece comes behind: 1 MiB on 8 devices is a piece of 0.29 µs, so α = 1 µs is not hidden whole.
#[test]
fn chunks_hide_latency() {
    let piece = f64::from(1 << 20) / 8.0 / BANDWIDTH;
    assert_takes("ring", CollectiveKind::AllReduce, 8, 1 << 20, 14.0 * (ALPHA + piece));
    for chunks in [2.0, 8.0] {
        let round = (ALPHA + piece / chunks).max(piece);
        let expected = 13.0 * round + ALPHA + piece;
        assert_takes(&format!("ring: {{chunks: {chunks}}}"), CollectiveKind::AllReduce, 8, 1 << 20, expected);
    }
    // 64 MiB: a piece of 18.6 µs hides it.
    let piece = f64::from(1 << 26) / 8.0 / BANDWIDTH;
    assert_takes("ring: {chunks: 8}", CollectiveKind::AllReduce, 8, 1 << 26, 14.0 * piece + ALPHA);
}
