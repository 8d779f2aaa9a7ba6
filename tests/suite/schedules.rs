//! Every schedule of the registry, for every small shape: complete, in order, free of deadlock; and
//! the bubbles and memory of their papers.

use std::collections::BTreeMap;

use trainyard::ids::{Id, MicroBatch, PipelineRank, Stage};
use trainyard::training::schedule::{Orders, Pass, PipelineOp, PipelineShape, ScheduleSpec};

fn small_shapes() -> impl Iterator<Item = PipelineShape> {
    (1..=8).flat_map(|ranks| (1..=16).map(move |micro_batches| PipelineShape { ranks, micro_batches }))
}

fn schedule(yaml: &str) -> ScheduleSpec {
    serde_yaml::from_str::<serde_json::Value>(yaml)
        .map(|value| serde_json::from_value(value).expect("a schedule"))
        .expect("YAML")
}

/// Every schedule with every shape that it admits.
fn every_case(check: impl Fn(&ScheduleSpec, PipelineShape)) {
    for name in ScheduleSpec::NAMES {
        let schedule = ScheduleSpec::from_name(name).unwrap();
        let mut admitted = 0;
        for shape in small_shapes().filter(|&shape| schedule.admits(shape).is_ok()) {
            check(&schedule, shape);
            admitted += 1;
        }
        assert!(admitted > 0, "{name} admits no small shape");
    }
}

/// The copy of the model that a micro-batch goes through.
fn copy_of(schedule: &ScheduleSpec, shape: PipelineShape, micro_batch: MicroBatch) -> u32 {
    micro_batch.0 / (shape.micro_batches / schedule.copies())
}

#[test]
fn every_schedule_runs_every_micro_batch_once_and_forward_first() {
    every_case(|schedule, shape| {
        let name = schedule.name();
        let orders = schedule.order(shape);
        let stages = shape.ranks * schedule.stages_per_rank();
        let mut passes = 0;
        for stage in (0..stages).map(Stage) {
            for micro_batch in shape.micro_batches() {
                let home = schedule.home(shape, copy_of(schedule, shape, micro_batch), stage);
                let at = |pass| {
                    let op = PipelineOp { pass, stage, micro_batch };
                    let of_home = orders[home].iter().enumerate();
                    let places: Vec<usize> = of_home.filter(|(_, o)| **o == op).map(|(i, _)| i).collect();
                    assert!(places.len() <= 1, "{name} {shape:?} does {op:?} twice");
                    places.first().copied()
                };
                let forward = at(Pass::Forward).expect("a forward pass");
                match (at(Pass::Backward), at(Pass::BackwardInput), at(Pass::BackwardWeight)) {
                    (Some(backward), None, None) => {
                        assert!(forward < backward, "{name} {shape:?}");
                        passes += 2;
                    }
                    (None, Some(b), Some(w)) => {
                        assert!(forward < b && b < w, "{name} {shape:?}");
                        passes += 3;
                    }
                    other => panic!("{name} {shape:?} {stage} {micro_batch}: backward passes {other:?}"),
                }
            }
        }
        let all: usize = orders.iter().map(Vec::len).sum();
        assert_eq!(all, passes, "{name} {shape:?} does passes of no stage");
    });
}

/// How long a pass takes.
#[derive(Clone, Copy)]
struct Lengths {
    forward: u64,
    input: u64,
    weight: u64,
}

/// What came of a schedule when messages take no time.
struct Timed {
    /// When the last rank is done.
    end: u64,
    /// Idle time of each rank between its first and its last pass.
    idle: Vec<u64>,
    /// The most (stage, micro-batch)es that each rank has gone forward with and not done W (or the
    /// whole backward) of.
    held: Vec<usize>,
}

fn timed(schedule: &ScheduleSpec, shape: PipelineShape, lengths: Lengths) -> Timed {
    let orders: Orders = schedule.order(shape);
    let p = shape.ranks as usize;
    let last = shape.ranks * schedule.stages_per_rank() - 1;
    let mut ends: BTreeMap<(bool, u32, MicroBatch), u64> = BTreeMap::new();
    let (mut next, mut free, mut begun) = (vec![0; p], vec![0; p], vec![None; p]);
    let (mut busy, mut held, mut most_held) = (vec![0; p], vec![0_usize; p], vec![0; p]);
    let mut left: usize = orders.iter().map(Vec::len).sum();
    while left > 0 {
        let before = left;
        for r in 0..p {
            let Some(op) = orders[PipelineRank::from_index(r)].get(next[r]) else { continue };
            let (stage, m) = (op.stage.0, op.micro_batch);
            let ready = match op.pass {
                Pass::Forward if stage == 0 => Some(0),
                Pass::Forward => ends.get(&(false, stage - 1, m)).copied(),
                Pass::BackwardWeight => Some(0),
                _ if stage == last => ends.get(&(false, stage, m)).copied(),
                _ => ends.get(&(true, stage + 1, m)).copied(),
            };
            let Some(ready) = ready else { continue };
            let length = match op.pass {
                Pass::Forward => lengths.forward,
                Pass::Backward => lengths.input + lengths.weight,
                Pass::BackwardInput => lengths.input,
                Pass::BackwardWeight => lengths.weight,
            };
            let start = free[r].max(ready);
            begun[r].get_or_insert(start);
            free[r] = start + length;
            busy[r] += length;
            match op.pass {
                Pass::Forward => {
                    ends.insert((false, stage, m), free[r]);
                    held[r] += 1;
                    most_held[r] = most_held[r].max(held[r]);
                }
                Pass::Backward | Pass::BackwardInput => {
                    ends.insert((true, stage, m), free[r]);
                    held[r] -= usize::from(op.pass == Pass::Backward);
                }
                Pass::BackwardWeight => held[r] -= 1,
            }
            next[r] += 1;
            left -= 1;
        }
        assert!(left < before, "{} deadlocks in {shape:?}", schedule.name());
    }
    let idle = (0..p).map(|r| free[r] - begun[r].unwrap() - busy[r]).collect();
    Timed { end: free.into_iter().max().unwrap(), idle, held: most_held }
}

const EQUAL: Lengths = Lengths { forward: 1, input: 1, weight: 1 };

#[test]
fn no_schedule_deadlocks() {
    every_case(|schedule, shape| {
        timed(schedule, shape, EQUAL);
    });
}

/// (p − 1)(f + b) of idle time beside m(f + b) of work, for GPipe and 1F1B alike (Narayanan et al.
/// 2021, section 2.2); 1F1B holds at most p − s micro-batches at stage s.
#[test]
fn gpipe_and_1f1b_have_the_textbook_bubble() {
    for name in ["gpipe", "one_f_one_b"] {
        let schedule = ScheduleSpec::from_name(name).unwrap();
        for shape in small_shapes() {
            let run = timed(&schedule, shape, EQUAL);
            let (p, m) = (u64::from(shape.ranks), u64::from(shape.micro_batches));
            assert_eq!(run.end, (m + p - 1) * 3, "{name} {shape:?}");
            for (stage, held) in run.held.into_iter().enumerate() {
                let most = if name == "gpipe" { m } else { m.min(p - stage as u64) };
                assert_eq!(held as u64, most, "{name} {shape:?} stage {stage}");
            }
        }
    }
}

/// A rank's work is m·v passes of f + b each; the bubble is (p − 1)(f + b) of such shorter passes
/// (Narayanan et al. 2021, section 2.2: (p − 1)/(v·m) of the ideal time).
#[test]
fn interleaving_divides_the_bubble_by_the_virtual_stages() {
    for v in 1..=4_u64 {
        let schedule = schedule(&format!("{{interleaved: {{virtual_stages: {v}}}}}"));
        for shape in small_shapes().filter(|&shape| schedule.admits(shape).is_ok()) {
            let (p, m) = (u64::from(shape.ranks), u64::from(shape.micro_batches));
            assert_eq!(timed(&schedule, shape, EQUAL).end, (m * v + p - 1) * 3, "{shape:?} v = {v}");
        }
    }
}

/// Qi et al. 2024, table 1: the bubble of ZB-H1 is (p − 1)(F + B − W), that of 1F1B
/// (p − 1)(F + B + W): a third when all are equal; no rank holds more than p.
#[test]
fn zb_h1_has_a_third_of_the_bubble_and_the_memory_of_1f1b() {
    let schedule = ScheduleSpec::from_name("zb_h1").unwrap();
    for shape in small_shapes().filter(|shape| shape.micro_batches >= 2 * shape.ranks) {
        let (p, m) = (u64::from(shape.ranks), u64::from(shape.micro_batches));
        let run = timed(&schedule, shape, EQUAL);
        assert_eq!(run.end, 3 * m + (p - 1), "{shape:?}");
        assert!(run.held.iter().all(|&held| held as u64 <= p), "{shape:?} {:?}", run.held);
    }
}

/// Qi et al. 2024, section 2.1.2: with equal passes no rank of ZB-H2 idles once it has begun, and no
/// rank holds more than 2p − 1.
#[test]
fn zb_h2_never_idles() {
    let schedule = ScheduleSpec::from_name("zb_h2").unwrap();
    for shape in small_shapes().filter(|shape| shape.micro_batches >= 2 * shape.ranks) {
        let run = timed(&schedule, shape, EQUAL);
        assert!(run.idle.iter().all(|&idle| idle == 0), "{shape:?} {:?}", run.idle);
        let most = 2 * shape.ranks as usize - 1;
        assert!(run.held.iter().all(|&held| held <= most), "{shape:?} {:?}", run.held);
    }
}

/// Qi et al. 2024 (controllable memory), section 3.1: V-ZB has no bubble but the p − 1 passes until the
/// last rank can begin, and holds no more than 1F1B's first rank: p micro-batches of a whole rank, 2p
/// of its two stages.
#[test]
fn zb_v_has_no_bubble_and_the_memory_of_1f1b() {
    let schedule = ScheduleSpec::from_name("zb_v").unwrap();
    for shape in small_shapes().filter(|shape| shape.micro_batches >= 2 * shape.ranks) {
        let (p, m) = (u64::from(shape.ranks), u64::from(shape.micro_batches));
        let run = timed(&schedule, shape, EQUAL);
        assert_eq!(run.end, 6 * m + p - 1, "{shape:?}");
        assert!(run.held.iter().all(|&held| held as u64 <= 2 * p), "{shape:?} {:?}", run.held);
    }
}

/// DeepSeek-V3's table 2: the bubble of DualPipe is (p/2 − 1)(F&B + B − 3W), F&B a pass forward and one
/// backward in one, B a whole backward pass; with F = 1, B = 2, W = 1 that is 2(p/2 − 1). Where the two
/// of a pair follow each other, the forward's result leaves earlier, and half of that is left. A rank
/// holds at most p + 1 micro-batches.
#[test]
fn dual_pipe_has_no_more_bubble_than_its_report_says() {
    let schedule = ScheduleSpec::from_name("dual_pipe").unwrap();
    for shape in small_shapes().filter(|&shape| schedule.admits(shape).is_ok()) {
        let (p, m) = (u64::from(shape.ranks), u64::from(shape.micro_batches));
        let run = timed(&schedule, shape, EQUAL);
        assert_eq!(run.end, 3 * m + (p / 2 - 1), "{shape:?}");
        assert!(run.held.iter().all(|&held| held as u64 <= p + 1), "{shape:?} {:?}", run.held);
    }
}

#[test]
fn a_custom_order_is_checked() {
    let shape = PipelineShape { ranks: 2, micro_batches: 2 };
    let good = schedule("{custom: {order: ['F0 F1 B0 W0 B1 W1', 'F0 D0 F1 D1']}}");
    assert_eq!(good.admits(shape), Ok(()));
    // Rank 1 ends D0 at 4 and D1 at 7; rank 0 then has B1 and W1 left.
    assert_eq!(timed(&good, shape, EQUAL).end, 9);
    for (order, why) in [
        ("['F0 F1 D0 D1']", "has 1 lines; 2 pipeline ranks need one each"),
        ("['F0 F1 D0', 'F0 D0 F1 D1']", "forward once (F), then backward once"),
        ("['F0 F1 D0 D2', 'F0 D0 F1 D1']", "`D2` is no pass of this pipeline"),
        ("['F0 D0 F1 D1', 'F1 D1 F0 D0']", "wait for each other in a circle"),
    ] {
        let said = schedule(&format!("{{custom: {{order: {order}}}}}")).admits(shape).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
