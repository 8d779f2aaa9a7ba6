//! Before what no schedule can end.
//!
//! All bounds hold for the true costs, for data that travel alone, and so for every run: sharing links
//! and failing devices only make it later.

use std::collections::BTreeMap;

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome, Variable};

use crate::ids::{DeviceId, IdVec, TaskId};
use crate::tasks::{Communication, Costs, TaskGraph};
use crate::units::SimDuration;

/// Lower bounds of the makespan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longest way through the graph, every task where it is done fastest and nothing travelling:
    /// the critical path of minimal costs, by which Topcuoglu et al. normalise (CP_MIN).
    pub critical_path: SimDuration,
    /// The longest way through the graph, each task placed at its best along the way and data on their
    /// way where two that follow each other are apart.
    pub path: SimDuration,
    /// All work, dealt out to the devices as if tasks could be cut.
    pub area: SimDuration,
    /// All tasks one after the other on the one device that is fastest at it; nothing when no device can
    /// do them all. It is no bound, but what speedup is measured against.
    pub sequential: Option<SimDuration>,
}

impl Bounds {
    /// The bounds of a graph.
    pub fn of(graph: &TaskGraph, costs: &Costs, communication: &Communication) -> Self {
        let alone = |device| graph.ids().map(|task| costs.time(task, device)).sum::<Option<SimDuration>>();
        Bounds {
            critical_path: critical_path(graph, costs),
            path: path(graph, costs, communication),
            area: area(graph, costs),
            sequential: costs.devices().filter_map(alone).min(),
        }
    }

    /// The greatest of them.
    pub fn best(&self) -> SimDuration {
        self.critical_path.max(self.path).max(self.area)
    }
}

fn critical_path(graph: &TaskGraph, costs: &Costs) -> SimDuration {
    let mut left = IdVec::filled(SimDuration::ZERO, graph.len());
    for &task in graph.order().iter().rev() {
        let onward = graph.outputs(task).map(|(_, data)| left[data.to]).max().unwrap_or(SimDuration::ZERO);
        left[task] = costs.least(task) + onward;
    }
    left.iter().copied().max().expect("a graph has tasks")
}

/// More combinations of an edge and two devices are not looked at.
const MOST_COMBINATIONS: usize = 50_000_000;

/// left(t, p) = w(t, p) + max over successors s of min over devices q of (left(s, q) + c(t→s, p→q)).
fn path(graph: &TaskGraph, costs: &Costs, communication: &Communication) -> SimDuration {
    let devices = costs.devices().len();
    if graph.data_len() * devices * devices > MOST_COMBINATIONS {
        return critical_path(graph, costs);
    }
    let mut left: IdVec<TaskId, Vec<(DeviceId, SimDuration)>> = IdVec::filled(Vec::new(), graph.len());
    for &task in graph.order().iter().rev() {
        let after = |device: DeviceId| {
            let best = |data: &crate::tasks::graph::Data| {
                let on = |&(to, rest): &(DeviceId, SimDuration)| {
                    communication.time(data.payload, device, to) + rest
                };
                left[data.to].iter().map(on).min().expect("some device can do every task")
            };
            graph.outputs(task).map(|(_, data)| best(data)).max().unwrap_or(SimDuration::ZERO)
        };
        let row = costs.able(task).map(|(device, time)| (device, time + after(device))).collect();
        left[task] = row;
    }
    let from = |row: &Vec<(DeviceId, SimDuration)>| row.iter().map(|(_, left)| *left).min();
    left.iter().filter_map(from).max().expect("a graph has tasks")
}

/// More variables than this are not solved for.
const MOST_VARIABLES: usize = 4_000;

/// The least M with Σ_p x(t, p) = 1 and Σ_t w(t, p)·x(t, p) ≤ M: the linear relaxation of Lenstra, Shmoys
/// and Tardos, "Approximation Algorithms for Scheduling Unrelated Parallel Machines", Mathematical
/// Programming 46, 1990. Tasks with the same costs are one row of it.
fn area(graph: &TaskGraph, costs: &Costs) -> SimDuration {
    let mut alike: BTreeMap<Vec<Option<SimDuration>>, u32> = BTreeMap::new();
    for task in graph.ids() {
        let row = costs.devices().map(|device| costs.time(task, device)).collect();
        *alike.entry(row).or_default() += 1;
    }
    let devices = costs.devices().len();
    let even = graph.ids().map(|task| u128::from(costs.least(task).picos())).sum::<u128>();
    let even = SimDuration::from_picos((even / devices as u128) as u64);
    if alike.len() * devices > MOST_VARIABLES {
        return even;
    }
    relaxed(&alike, devices).map_or(even, |solved| solved.max(even))
}

/// The linear program, in units of its own answer's size; rounded down by what its arithmetic may err.
fn relaxed(alike: &BTreeMap<Vec<Option<SimDuration>>, u32>, devices: usize) -> Option<SimDuration> {
    let unit = alike.keys().flatten().flatten().max()?.seconds();
    if unit == 0.0 {
        return None;
    }
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let end = problem.add_var(1.0, (0.0, f64::INFINITY));
    let mut loads: Vec<Vec<(Variable, f64)>> = vec![vec![(end, -1.0)]; devices];
    for (row, &count) in alike {
        let mut all = Vec::new();
        for (time, load) in row.iter().zip(&mut loads) {
            let Some(time) = time else { continue };
            let part = problem.add_var(0.0, (0.0, f64::from(count)));
            all.push((part, 1.0));
            load.push((part, time.seconds() / unit));
        }
        problem.add_constraint(all, ComparisonOp::Eq, f64::from(count));
    }
    for load in loads {
        problem.add_constraint(load, ComparisonOp::Le, 0.0);
    }
    match problem.solve() {
        Ok(SolveOutcome::Solution(answer)) => {
            let picos = (answer.objective() * unit * 1e12 * (1.0 - 1e-9)).floor().max(0.0);
            Some(SimDuration::from_picos(picos as u64))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::support::{Problem as Case, arabnejad, topcuoglu, units};

    fn bounds(case: &Case) -> Bounds {
        Bounds::of(&case.graph, &case.costs, &case.communication)
    }

    /// The critical path n1 → n2 → n9 → n10 of Topcuoglu et al. takes 9 + 13 + 12 + 7 = 41 at best, and
    /// all tasks 127 on the first device.
    #[test]
    fn the_critical_path_of_minimal_costs_is_that_of_the_literature() {
        let found = bounds(&topcuoglu());
        assert_eq!((found.critical_path, found.sequential), (units(41), Some(units(127))));
        assert!(found.path >= found.critical_path && found.best() <= units(80));
        assert!(bounds(&arabnejad()).best() <= units(122));
    }

    /// Three tasks of 2 on two equal devices: 3 if they could be cut. With communication of 5 along a chain
    /// of two that no device can do both of, the way is 1 + 5 + 1.
    #[test]
    fn work_is_dealt_out_and_data_travel_where_they_must() {
        let found = bounds(&Case::equal(&[2, 2, 2], &[], 2));
        assert!(found.area <= units(3) && found.area.seconds() > 2.999_999);
        let mut chain = Case::new(&[vec![1, 1], vec![1, 1]], &[(0, 1, 5)]);
        chain.costs = Costs::from_fn(2, 2, |task, device| (task.0 == device.0).then(|| units(1)));
        assert_eq!(bounds(&chain).path, units(7));
    }
}
