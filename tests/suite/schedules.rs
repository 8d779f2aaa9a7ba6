//! Every schedule of the registry, for every small shape: complete, in order, free of deadlock; and
//! the bubbles and memory of their papers.

use std::collections::BTreeMap;

use trainyard::ids::{Id, MicroBatch, PipelineRank, Stage};
use trainyard::training::schedule::optimal::Gap;
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

/// The shortest of all orders by trying every one: at each moment each rank that is free begins one of the passes
/// that could, or waits for the next end. Passes are numbered as a rank meets them, which loses nothing since
/// micro-batches are alike.
fn by_brute_force(p: usize, m: usize, lengths: Lengths, split: bool, held: usize) -> u64 {
    struct All {
        p: usize,
        m: usize,
        lengths: [u64; 3],
        held: usize,
        best: u64,
    }
    /// Passes begun (F, B, W) by rank, when each rank is free, and when each F and B ended.
    type State = (Vec<[usize; 3]>, Vec<u64>, Vec<[Vec<u64>; 2]>);
    fn go(all: &mut All, (begun, free, ends): State) {
        let last = free.iter().copied().max().unwrap();
        if last >= all.best {
            return;
        }
        if begun.iter().all(|begun| *begun == [all.m; 3]) {
            all.best = last;
            return;
        }
        // Any rank's next pass, whichever it is: every order of every rank is come to in some way.
        let rank = (0..all.p).filter(|&r| begun[r] != [all.m; 3]).min_by_key(|&r| (free[r], r)).unwrap();
        for r in std::iter::once(rank).chain((0..all.p).filter(|&r| r != rank)) {
            for pass in 0..3 {
                let k = begun[r][pass];
                let ready = match pass {
                    _ if k == all.m => None,
                    0 if begun[r][0] - begun[r][2] == all.held => None,
                    0 if r == 0 => Some(0),
                    0 => ends[r - 1][0].get(k).copied(),
                    1 if r + 1 == all.p => ends[r][0].get(k).copied(),
                    1 => ends[r + 1][1].get(k).copied(),
                    _ => (k < begun[r][1]).then_some(0),
                };
                let Some(ready) = ready else { continue };
                let (mut begun, mut free, mut ends) = (begun.clone(), free.clone(), ends.clone());
                begun[r][pass] += 1;
                free[r] = free[r].max(ready) + all.lengths[pass];
                if pass < 2 {
                    ends[r][pass].push(free[r]);
                }
                go(all, (begun, free, ends));
            }
        }
    }
    let Lengths { forward, input, weight } = lengths;
    let lengths = if split { [forward, input, weight] } else { [forward, input + weight, 0] };
    let mut all = All { p, m, lengths, held, best: u64::MAX };
    go(&mut all, (vec![[0; 3]; p], vec![0; p], vec![[Vec::new(), Vec::new()]; p]));
    all.best
}

#[test]
fn the_search_agrees_with_trying_everything() {
    for (p, m) in [(1, 2), (2, 1), (2, 2), (3, 1)] {
        for (f, b, w) in [(1, 1, 1), (1, 2, 1), (3, 2, 4)] {
            for split in [true, false] {
                for held in [None, Some(1), Some(2)] {
                    let lengths = Lengths { forward: f, input: b, weight: w };
                    let limit = held.map_or(String::new(), |held| format!(", held: {held}"));
                    let spec = format!(
                        "{{optimal: {{costs: {{forward: {f}, backward_input: {b}, backward_weight: {w}}}, \
                         split: {split}{limit}}}}}"
                    );
                    let optimal = schedule(&spec);
                    let shape = PipelineShape { ranks: p, micro_batches: m };
                    assert_eq!(optimal.admits(shape), Ok(()), "{spec}");
                    let run = timed(&optimal, shape, lengths);
                    let held = held.unwrap_or(m) as usize;
                    let least = by_brute_force(p as usize, m as usize, lengths, split, held);
                    assert_eq!(run.end, least, "{spec} {shape:?}");
                    assert!(run.held.iter().all(|&most| most <= held), "{spec} {shape:?}: {:?}", run.held);
                }
            }
        }
    }
}

/// No schedule that is emptied is shorter than the shortest order of its own passes, and what is reported of it
/// is what it takes here.
#[test]
fn no_schedule_beats_the_optimum() {
    let mut proven = 0;
    every_case(|schedule, shape| {
        let Some(gap) = Gap::of(schedule, shape) else { return };
        let name = schedule.name();
        assert_eq!(gap.length, timed(schedule, shape, EQUAL).end, "{name} {shape:?}");
        assert!(gap.length >= gap.optimum, "{name} {shape:?}: {gap:?}");
    });
    for shape in small_shapes().filter(|shape| shape.ranks > 1) {
        let one = ScheduleSpec::from_name("one_f_one_b").unwrap();
        proven += u32::from(Gap::of(&one, shape).is_some_and(|gap| gap.proven));
    }
    assert_eq!(proven, 112, "the search ends for every small shape");
}

/// Closed forms of the optimum: with room for all and enough micro-batches the last rank begins after p − 1
/// passes and never waits; with whole backward passes nothing is better than 1F1B; one micro-batch goes there and
/// back.
#[test]
fn the_optimum_has_its_closed_forms() {
    let end = |spec: &str, shape| timed(&schedule(spec), shape, EQUAL).end;
    for p in 1..=6_u32 {
        let shape = |micro_batches| PipelineShape { ranks: p, micro_batches };
        let (many, p) = (u64::from(2 * p), u64::from(p));
        assert_eq!(end("optimal", shape(2 * p as u32)), 3 * many + p - 1);
        assert_eq!(end("{optimal: {split: false}}", shape(2 * p as u32)), 3 * (many + p - 1));
        assert_eq!(end("optimal", shape(1)), 2 * p + 1);
    }
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let large = PipelineShape { ranks: 64, micro_batches: 64 };
    for (spec, shape, why) in [
        ("optimal", large, "is searched for up to"),
        ("{optimal: {held: 0}}", PipelineShape { ranks: 2, micro_batches: 2 }, "may hold nothing"),
        (
            "{optimal: {held: 4, stages_of: zb_v}}",
            PipelineShape { ranks: 2, micro_batches: 4 },
            "one stage a rank",
        ),
        (
            "{optimal: {stages_of: pipedream}}",
            PipelineShape { ranks: 2, micro_batches: 4 },
            "that is emptied",
        ),
    ] {
        let said = schedule(spec).admits(shape).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
