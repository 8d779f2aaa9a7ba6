//! The search against known optima and against trying everything.

use crate::ids::TaskId;
use crate::rng::Seed;
use crate::tasks::Costs;
use crate::tasks::costs::Speeds;
use crate::tasks::generate::TaskGenerator;
use crate::tasks::generate::layered::Layered;
use crate::tasks::scheduling::{Draft, Fit, Progress, TaskSchedulerSpec};
use crate::tasks::support::{Problem, arabnejad, moment, topcuoglu};
use crate::units::SimTime;

fn exact(problem: &Problem) -> (SimTime, Option<SimTime>) {
    let plan = problem.plan(&*TaskSchedulerSpec::from_name("exact").unwrap());
    (plan.makespan(), plan.proven)
}

/// Optima of the shared vectors: 6 and 9 where LPT needs 7 and 11, 8 for six tasks on three devices.
#[test]
fn the_search_finds_the_optima_of_the_textbook_and_proves_them() {
    let cases = [
        (Problem::equal(&[3, 3, 2, 2, 2], &[], 2), 6),
        (Problem::equal(&[5, 5, 4, 4, 3, 3, 3], &[], 3), 9),
        (
            Problem::new(
                &[[4, 6, 9], [3, 5, 8], [7, 4, 6], [9, 9, 5], [2, 7, 3], [6, 3, 8]].map(Vec::from),
                &[],
            ),
            8,
        ),
        // Graham's nine tasks: no schedule on three machines beats 12.
        (Problem::equal(&[3, 2, 2, 2, 4, 4, 4, 4, 9], &[(0, 8), (3, 4), (3, 5), (3, 6), (3, 7)], 3), 12),
    ];
    for (problem, optimum) in cases {
        assert_eq!(exact(&problem), (moment(optimum), Some(moment(optimum))));
    }
}

/// Both papers' graphs can be scheduled better than by any of their heuristics.
#[test]
fn the_papers_graphs_are_solved_to_the_end() {
    for (problem, heuristics) in [(topcuoglu(), 76), (arabnejad(), 122)] {
        let (makespan, proven) = exact(&problem);
        assert_eq!(proven, Some(makespan));
        assert!(makespan <= moment(heuristics), "{makespan}");
    }
}

/// Every order of ready tasks on every device, without any pruning.
fn slow(draft: &mut Draft, best: &mut SimTime) {
    let ready: Vec<TaskId> = draft.ready().to_vec();
    if ready.is_empty() {
        *best = (*best).min(draft.makespan());
    }
    for task in ready {
        for slot in draft.fits(task, Fit::Append).collect::<Vec<_>>() {
            draft.place(task, slot);
            slow(draft, best);
            draft.take_back(task);
        }
    }
}

#[test]
fn the_search_agrees_with_trying_everything() {
    for seed in 0..12 {
        let graph = Layered { tasks: 6, degree: 2, ..Layered::default() }.generate(2, Seed(seed));
        let costs = Costs::of_rows(&graph, &["a", "b"], &Speeds::default()).unwrap();
        let problem = Problem { graph, costs, ..topcuoglu() };
        let progress = Progress::none(6, 2);
        let mut best = SimTime::MAX;
        slow(&mut Draft::new(problem.view(&progress)), &mut best);
        assert_eq!(exact(&problem), (best, Some(best)), "seed {seed}");
    }
}
