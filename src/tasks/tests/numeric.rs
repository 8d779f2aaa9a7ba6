//! The numbers that tasks compute, whoever schedules them and whatever fails.

use crate::ids::DeviceId;
use crate::rng::Seed;
use crate::tasks::factor::Factor;
use crate::tasks::generate::TaskGenerator;
use crate::tasks::generate::cholesky::Cholesky;
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::tasks::support::{on_small_machine, small_machine};
use crate::tasks::values::NoValues;
use crate::tasks::{Costs, TaskPlan, run};
use crate::units::SimTime;

const TILES: u32 = 5;

fn plan(scheduler: &str) -> TaskPlan {
    let mut plan = on_small_machine("cholesky", scheduler, 1);
    let graph = Cholesky { tiles: TILES, tile: 64, ..Cholesky::default() }.generate(4, Seed(1));
    let compute = crate::compute::ComputeSpec::from_name("roofline").unwrap();
    let costs = Costs::on(&graph, &small_machine(), &*compute, &Default::default()).unwrap();
    (plan.graph, plan.estimates, plan.truth) = (graph, costs.clone(), costs);
    if scheduler == "exact" {
        plan.scheduler = serde_json::from_str(r#"{"exact": {"tasks": 40, "nodes": 500}}"#).unwrap();
    }
    plan
}

/// Each tile is updated along one chain of tasks, so the sums have one order: every scheduler gives the
/// same bits, two failures in the midst included.
#[test]
fn the_cholesky_factor_is_the_same_under_every_scheduler_and_under_failures() {
    let mut first: Option<Factor> = None;
    for name in TaskSchedulerSpec::NAMES {
        let mut plan = plan(name);
        let whole = run(&plan, &mut NoValues).unwrap().makespan;
        for failing in 0..5 {
            let at = |share: u64| SimTime::from_picos(whole.picos() * share / 6);
            plan.failures = match failing {
                0 => vec![],
                _ => vec![(DeviceId(1), at(failing)), (DeviceId(3), at(failing + 1))],
            };
            let mut factor = Factor::new(&plan.graph, TILES, 6, Seed(9));
            run(&plan, &mut factor).unwrap();
            let rightness = factor.rightness();
            assert!(rightness.is_right() && rightness.largest_difference < 1e-12, "{name}: {rightness:?}");
            let known = first.get_or_insert_with(|| factor.clone());
            assert!(known.tiles() == factor.tiles(), "{name} with failure {failing}");
        }
    }
}

/// A factor with a tile that was never updated is found out.
#[test]
fn a_wrong_factor_is_called_wrong() {
    let plan = plan("heft");
    let mut factor = Factor::new(&plan.graph, TILES, 6, Seed(9));
    run(&plan, &mut factor).unwrap();
    let right = factor.rightness();
    let other = Factor::new(&plan.graph, TILES, 6, Seed(10));
    let mixed = factor.with_matrix_of(&other);
    assert!(right.is_right() && !mixed.rightness().is_right());
}
