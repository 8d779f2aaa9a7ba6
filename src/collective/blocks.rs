//! Which blocks of an all-to-all each transfer carries, for blocks of different sizes.

use crate::collective::{CommPlan, Member, Transfer};

/// What one member gives another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Who gives it.
    pub from: Member,
    /// For whom it is.
    pub to: Member,
}

/// The blocks that each transfer of an all-to-all carries: the plan is done with names in place of bytes, so that
/// it holds whatever way round an algorithm takes them.
///
/// # Panics
/// When the plan's buffers are not cut into one piece for each member.
pub fn blocks(plan: &CommPlan, members: u32) -> Vec<Vec<Block>> {
    assert_eq!(plan.pieces(), members, "an all-to-all has a piece for each member");
    let given = |from| (0..members).map(move |to| Some(Block { from: Member(from), to: Member(to) }));
    let mut held: Vec<Vec<Option<Block>>> =
        (0..members).map(|from| given(from).chain((0..members).map(|_| None)).collect()).collect();
    let carried = |transfer: &Transfer| {
        let source = transfer.source as usize..(transfer.source + transfer.count) as usize;
        let pieces = held[transfer.from.index()][source].to_vec();
        let target = transfer.target as usize..(transfer.target + transfer.count) as usize;
        held[transfer.to.index()][target].copy_from_slice(&pieces);
        pieces.into_iter().flatten().collect()
    };
    plan.transfers().iter().map(carried).collect()
}
