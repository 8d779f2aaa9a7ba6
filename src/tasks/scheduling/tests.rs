//! Every scheduler against what its paper prints, and against the laws of the room.

use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::tasks::scheduling::ranks::{RankScale, upward};
use crate::tasks::scheduling::{Progress, list};
use crate::tasks::support::{Problem, arabnejad, moment, topcuoglu};

fn makespan(problem: &Problem, scheduler: &str) -> f64 {
    let scheduler = TaskSchedulerSpec::from_name(scheduler).expect("a listed scheduler");
    problem.plan(&*scheduler).makespan().seconds()
}

/// Table 2 of the paper prints them to three digits.
#[test]
fn upward_ranks_are_those_of_the_paper() {
    let problem = topcuoglu();
    let progress = Progress::none(10, 3);
    let view = problem.view(&progress);
    let scale = RankScale::of(&view);
    let ranks = upward(&view, scale);
    let printed = [108.0, 77.0, 80.0, 80.0, 69.0, 63.333, 42.667, 35.667, 44.333, 14.667];
    for (rank, printed) in ranks.iter().zip(printed) {
        assert!((scale.seconds(*rank) - printed).abs() < 5e-4, "{} is not {printed}", scale.seconds(*rank));
    }
    // n3 and n4 are tied exactly: 43/3 + 23 + 128/3 = 38/3 + 23 + 133/3 = 80.
    assert_eq!(ranks[crate::ids::TaskId(2)], ranks[crate::ids::TaskId(3)]);
}

/// Section 4 of the paper, figure 3.
#[test]
fn heft_and_cpop_schedule_the_papers_graph_as_the_paper_does() {
    assert_eq!(makespan(&topcuoglu(), "heft"), 80.0);
    assert_eq!(makespan(&topcuoglu(), "cpop"), 86.0);
    // The same section names 91 for DLS.
    assert_eq!(makespan(&topcuoglu(), "dls"), 91.0);
}

/// Figure 2 of Arabnejad and Barbosa 2014, which sets the three side by side.
#[test]
fn peft_lookahead_and_heft_schedule_the_graph_of_pefts_paper_as_printed() {
    assert_eq!(makespan(&arabnejad(), "peft"), 122.0);
    assert_eq!(makespan(&arabnejad(), "heft"), 133.0);
    assert_eq!(makespan(&arabnejad(), "heft_lookahead"), 127.0);
}

/// Graham 1969, figures 2 to 6: nine tasks, T1 before T9 and T4 before T5 to T8.
#[test]
fn list_scheduling_shows_grahams_anomalies() {
    let times = [3, 2, 2, 2, 4, 4, 4, 4, 9];
    let constraints = [(0, 8), (3, 4), (3, 5), (3, 6), (3, 7)];
    let list = |times: &[u64], constraints: &[(u32, u32)], machines, order: &[&str]| {
        let scheduler = list::List { order: order.iter().map(|&name| name.to_owned()).collect() };
        Problem::equal(times, constraints, machines).plan(&scheduler).makespan()
    };
    assert_eq!(list(&times, &constraints, 3, &[]), moment(12));
    assert_eq!(list(&times, &constraints, 4, &[]), moment(15), "a fourth machine makes it slower");
    let shorter = times.map(|time| time - 1);
    assert_eq!(list(&shorter, &constraints, 3, &[]), moment(13), "shorter tasks make it slower");
    let fewer = [(0, 8), (3, 6), (3, 7)];
    assert_eq!(list(&times, &fewer, 3, &[]), moment(16), "fewer constraints make it slower");
    let order = ["T1", "T2", "T4", "T5", "T6", "T3", "T9", "T7", "T8"];
    assert_eq!(list(&times, &constraints, 3, &order), moment(14), "another list makes it slower");
}

/// Graham 1969: 4/3 − 1/(3m) is reached, 7/6 with two machines and 11/9 with three.
#[test]
fn lpt_reaches_its_bound_on_the_tight_examples() {
    assert_eq!(makespan(&Problem::equal(&[3, 3, 2, 2, 2], &[], 2), "lpt"), 7.0);
    assert_eq!(makespan(&Problem::equal(&[5, 5, 4, 4, 3, 3, 3], &[], 3), "lpt"), 11.0);
}

#[test]
fn batch_heuristics_map_independent_tasks_as_worked_by_hand() {
    let etc = [[4, 6, 9], [3, 5, 8], [7, 4, 6], [9, 9, 5], [2, 7, 3], [6, 3, 8]];
    let problem = Problem::new(&etc.map(Vec::from), &[]);
    let found = ["min_min", "max_min", "sufferage", "mct", "met"].map(|name| makespan(&problem, name));
    assert_eq!(found, [9.0, 12.0, 9.0, 11.0, 9.0]);
}
