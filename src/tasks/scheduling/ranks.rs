//! Priorities of tasks: ranks upward and downward, in exact arithmetic.
//!
//! Ranks are sums of mean costs. A mean of three times is rarely whole, and sums of rounded means
//! break ties that the papers leave as ties; so a [`Rank`] is a whole number: the rank in
//! picoseconds times a common multiple of the numbers of devices that means are taken over.

use crate::ids::{IdVec, TaskId};
use crate::tasks::Payload;
use crate::tasks::scheduling::TaskView;
use crate::units::SimDuration;

/// A rank in 1 / [`RankScale`] picoseconds.
pub type Rank = i128;

/// What ranks are multiplied by so that they are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankScale(i128);

impl RankScale {
    /// The least common multiple of the numbers of devices that can do each task. Where it would
    /// pass 2⁴⁰ (dozens of devices, each task able to run on another number of them) the rest is
    /// rounded down, by less than 2⁻⁴⁰ ps each.
    pub fn of(view: &TaskView) -> Self {
        let scale = view.open().map(|task| view.able(task).count() as i128).fold(1, |scale, count| {
            let multiple = scale / gcd(scale, count) * count;
            if multiple < 1 << 40 { multiple } else { scale }
        });
        RankScale(scale)
    }

    /// A time as a rank.
    pub fn rank(self, time: SimDuration) -> Rank {
        i128::from(time.picos()) * self.0
    }

    /// A rank in seconds, to print.
    pub fn seconds(self, rank: Rank) -> f64 {
        rank as f64 / self.0 as f64 * 1e-12
    }

    /// The mean time of `task` over the devices that can do it.
    pub fn mean_cost(self, view: &TaskView, task: TaskId) -> Rank {
        let (sum, count) =
            view.able(task).fold((0, 0), |(sum, count), (_, time)| (sum + self.rank(time), count + 1));
        // A task whose only devices have failed is never asked for; its rank must only exist.
        if count == 0 { 0 } else { sum / count }
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// The length of the longest way from each task to an exit, the task included, with mean costs and
/// mean communication: rank_u(i) = w̄ᵢ + max over successors j of (c̄ᵢⱼ + rank_u(j)).
///
/// Topcuoglu, Hariri and Wu, "Performance-Effective and Low-Complexity Task Scheduling for
/// Heterogeneous Computing", IEEE TPDS 13(3), 2002, equation 9.
pub fn upward(view: &TaskView, scale: RankScale) -> IdVec<TaskId, Rank> {
    longest_to_exit(
        view,
        |task| scale.mean_cost(view, task),
        |payload| scale.rank(view.communication.mean(payload)),
    )
}

/// The length of the longest way from each task to an exit with these costs.
pub fn longest_to_exit(
    view: &TaskView,
    cost: impl Fn(TaskId) -> Rank,
    communication: impl Fn(Payload) -> Rank,
) -> IdVec<TaskId, Rank> {
    let mut ranks = IdVec::filled(0, view.graph.len());
    for &task in view.graph.order().iter().rev() {
        let onward = view.graph.outputs(task).map(|(_, data)| communication(data.payload) + ranks[data.to]);
        ranks[task] = cost(task) + onward.max().unwrap_or(0);
    }
    ranks
}

/// The length of the longest way from an entry to each task, the task left out:
/// rank_d(i) = max over predecessors j of (rank_d(j) + w̄ⱼ + c̄ⱼᵢ); Topcuoglu et al. 2002, equation 11.
pub fn downward(view: &TaskView, scale: RankScale) -> IdVec<TaskId, Rank> {
    let mut ranks = IdVec::filled(0, view.graph.len());
    for &task in view.graph.order() {
        let from = view.graph.inputs(task).map(|(_, data)| {
            let travel = scale.rank(view.communication.mean(data.payload));
            ranks[data.from] + scale.mean_cost(view, data.from) + travel
        });
        let longest = from.max().unwrap_or(0);
        ranks[task] = longest;
    }
    ranks
}
