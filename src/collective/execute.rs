//! Does a plan to real numbers.

use crate::collective::{Action, CommPlan};

/// How two values meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their sum.
    #[default]
    Sum,
    /// The greater.
    Max,
}

/// Does every transfer of a plan in plan order. `buffers[m]` is member m's buffer; in an all-to-all
/// it is what the member gives followed by room for what it gets.
///
/// Sums happen in plan order, so the same plan gives the same bits.
pub fn execute(plan: &CommPlan, buffers: &mut [Vec<f32>], reduction: Reduction) {
    let doubled = plan.transfers().iter().any(|transfer| transfer.target >= plan.pieces());
    for transfer in plan.transfers() {
        let length = buffers[transfer.from.index()].len() as u64;
        let size = if doubled { length / 2 } else { length };
        let range = |first| {
            let range = plan.range(first, transfer.count, size);
            range.start as usize..range.end as usize
        };
        let (source, target) = (range(transfer.source), range(transfer.target));
        let (from, to) = (transfer.from.index(), transfer.to.index());
        if from == to {
            assert_eq!(transfer.action, Action::Copy, "a member adds nothing to itself");
            buffers[from].copy_within(source, target.start);
            continue;
        }
        let [given, kept] = buffers.get_disjoint_mut([from, to]).expect("two members of the group");
        let (given, kept) = (&given[source], &mut kept[target]);
        match (transfer.action, reduction) {
            (Action::Copy, _) => kept.copy_from_slice(given),
            (Action::Reduce, Reduction::Sum) => kept.iter_mut().zip(given).for_each(|(k, g)| *k += g),
            (Action::Reduce, Reduction::Max) => {
                kept.iter_mut().zip(given).for_each(|(k, g)| *k = k.max(*g));
            }
        }
    }
}
