//! Every schedule of the registry, for every small shape: complete, in order, free of deadlock.

use trainyard::ids::{Id, IdVec, MicroBatch, Stage};
use trainyard::training::schedule::{Pass, PipelineOp, PipelineShape, ScheduleSpec};

fn small_shapes() -> impl Iterator<Item = PipelineShape> {
    (1..=8).flat_map(|stages| (1..=16).map(move |micro_batches| PipelineShape { stages, micro_batches }))
}

/// Every schedule with every shape that it admits.
fn every_case(check: impl Fn(&str, PipelineShape, &IdVec<Stage, Vec<PipelineOp>>)) {
    for name in ScheduleSpec::NAMES {
        let schedule = ScheduleSpec::from_name(name).unwrap();
        for shape in small_shapes().filter(|&shape| schedule.admits(shape).is_ok()) {
            check(name, shape, &schedule.order(shape));
        }
    }
}

#[test]
fn every_schedule_runs_every_micro_batch_once_and_forward_first() {
    every_case(|name, shape, orders| {
        for stage in shape.stages() {
            for micro_batch in shape.micro_batches() {
                let at = |pass| {
                    let op = PipelineOp { pass, micro_batch };
                    let places: Vec<usize> =
                        orders[stage].iter().enumerate().filter(|(_, o)| **o == op).map(|(i, _)| i).collect();
                    assert!(places.len() <= 1, "{name} {shape:?} does {op:?} twice");
                    places.first().copied()
                };
                let forward = at(Pass::Forward).expect("a forward pass");
                match (at(Pass::Backward), at(Pass::BackwardInput), at(Pass::BackwardWeight)) {
                    (Some(backward), None, None) => assert!(forward < backward, "{name} {shape:?}"),
                    (None, Some(b), Some(w)) => assert!(forward < b && b < w, "{name} {shape:?}"),
                    other => panic!("{name} {shape:?} {stage} {micro_batch}: backward passes {other:?}"),
                }
            }
        }
    });
}

/// Moments at which each pass ends when a forward takes `f`, a backward `b`, and messages no time.
fn unit_times(
    shape: PipelineShape,
    orders: &IdVec<Stage, Vec<PipelineOp>>,
    f: u64,
    b: u64,
) -> (u64, Vec<usize>) {
    let (p, m) = (shape.stages as usize, shape.micro_batches as usize);
    let mut forward_end = vec![vec![None; m]; p];
    let mut backward_end = vec![vec![None; m]; p];
    let mut next = vec![0; p];
    let mut free = vec![0; p];
    let mut held = vec![0_usize; p];
    let mut most_held = vec![0; p];
    let mut left: usize = orders.iter().map(Vec::len).sum();
    while left > 0 {
        let before = left;
        for s in 0..p {
            let Some(op) = orders[Stage::from_index(s)].get(next[s]) else { continue };
            let mb = op.micro_batch.index();
            let ready: Option<u64> = match op.pass {
                Pass::Forward if s == 0 => Some(0),
                Pass::Forward => forward_end[s - 1][mb],
                _ if s + 1 == p => forward_end[s][mb],
                _ => backward_end[s + 1][mb],
            };
            let Some(ready) = ready else { continue };
            let length = if op.pass == Pass::Forward { f } else { b };
            free[s] = free[s].max(ready) + length;
            if op.pass == Pass::Forward {
                forward_end[s][mb] = Some(free[s]);
                held[s] += 1;
                most_held[s] = most_held[s].max(held[s]);
            } else {
                backward_end[s][mb] = Some(free[s]);
                held[s] -= 1;
            }
            next[s] += 1;
            left -= 1;
        }
        assert!(left < before, "deadlock in {shape:?}");
    }
    (free.into_iter().max().unwrap(), most_held)
}

/// (p − 1)(f + b) of idle time beside m(f + b) of work, for GPipe and 1F1B alike (Narayanan et al.
/// 2021, section 2.2); 1F1B holds at most p − s micro-batches at stage s.
#[test]
fn gpipe_and_1f1b_have_the_textbook_bubble() {
    let (f, b) = (1, 2);
    for name in ["gpipe", "one_f_one_b"] {
        let schedule = ScheduleSpec::from_name(name).unwrap();
        for shape in small_shapes() {
            let (time, held) = unit_times(shape, &schedule.order(shape), f, b);
            let (p, m) = (u64::from(shape.stages), u64::from(shape.micro_batches));
            assert_eq!(time, (m + p - 1) * (f + b), "{name} {shape:?}");
            for (stage, held) in held.into_iter().enumerate() {
                let most = if name == "gpipe" { m } else { m.min(p - stage as u64) };
                assert_eq!(held as u64, most, "{name} {shape:?} stage {stage}");
            }
        }
    }
}

#[test]
fn micro_batches_are_named_from_zero() {
    let shape = PipelineShape { stages: 1, micro_batches: 2 };
    assert_eq!(shape.micro_batches().collect::<Vec<_>>(), [MicroBatch(0), MicroBatch(1)]);
}
