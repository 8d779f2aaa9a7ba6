//! Says whether a plan does what its kind promises, by following who contributed to what.

use std::collections::BTreeSet;

use crate::collective::{Action, CollectiveKind, CommPlan, Member};

/// Who contributed to a piece: members and the pieces that they gave.
pub type Contributions = BTreeSet<(Member, u32)>;

/// Follows a plan symbolically and compares what every member ends with to what was promised.
///
/// # Errors
/// A sentence about the first piece that is wrong: one that is reduced twice, or that ends with
/// contributions other than promised.
pub fn check(plan: &CommPlan, kind: CollectiveKind, members: u32) -> Result<(), String> {
    let pieces = plan.pieces();
    let places = if kind == CollectiveKind::AllToAll { 2 * pieces } else { pieces };
    let start = |member| -> Vec<Contributions> {
        (0..places).map(|piece| given(kind, members, pieces, Member(member), piece)).collect()
    };
    let mut held: Vec<Vec<Contributions>> = (0..members).map(start).collect();
    for (id, transfer) in plan.transfers().enumerate() {
        for offset in 0..transfer.count {
            let moved = held[transfer.from.index()][(transfer.source + offset) as usize].clone();
            let kept = &mut held[transfer.to.index()][(transfer.target + offset) as usize];
            match transfer.action {
                Action::Copy => *kept = moved,
                Action::Reduce => {
                    if let Some((member, piece)) = kept.intersection(&moved).next() {
                        return Err(format!("{id} adds piece {piece} of {member} a second time"));
                    }
                    kept.extend(moved);
                }
            }
        }
    }
    for member in (0..members).map(Member) {
        for piece in 0..places {
            let Some(promised) = promised(kind, members, pieces, member, piece) else { continue };
            let kept = &held[member.index()][piece as usize];
            if *kept != promised {
                return Err(format!("{member} ends with {kept:?} in piece {piece}, not {promised:?}"));
            }
        }
    }
    Ok(())
}

/// Which member a piece belongs to, when each has an equal run of them.
fn owner(members: u32, pieces: u32, piece: u32) -> Member {
    Member(piece / (pieces / members))
}

/// What a member has before: its own contribution to every piece that it gives.
fn given(kind: CollectiveKind, members: u32, pieces: u32, member: Member, piece: u32) -> Contributions {
    let has = match kind {
        CollectiveKind::AllReduce | CollectiveKind::ReduceScatter | CollectiveKind::Reduce { .. } => true,
        CollectiveKind::AllGather => owner(members, pieces, piece) == member,
        CollectiveKind::Broadcast { root } => member == root,
        CollectiveKind::AllToAll => piece < pieces,
        CollectiveKind::SendReceive => member == Member(0),
    };
    if has { Contributions::from([(member, piece)]) } else { Contributions::new() }
}

/// What a member must have after; nothing where it may have anything.
fn promised(
    kind: CollectiveKind,
    members: u32,
    pieces: u32,
    member: Member,
    piece: u32,
) -> Option<Contributions> {
    let everyone = || (0..members).map(|giver| (Member(giver), piece)).collect();
    let from = |giver| Contributions::from([(giver, piece)]);
    match kind {
        CollectiveKind::AllReduce => Some(everyone()),
        CollectiveKind::ReduceScatter => (owner(members, pieces, piece) == member).then(everyone),
        CollectiveKind::AllGather => Some(from(owner(members, pieces, piece))),
        CollectiveKind::Broadcast { root } => Some(from(root)),
        CollectiveKind::Reduce { root } => (member == root).then(everyone),
        CollectiveKind::AllToAll => {
            // Output piece k of member i's run from giver g is g's input piece in i's run.
            let run = pieces / members;
            let out = piece.checked_sub(pieces)?;
            let giver = Member(out / run);
            Some(Contributions::from([(giver, member.0 * run + out % run)]))
        }
        CollectiveKind::SendReceive => (member == Member(1)).then(|| from(Member(0))),
    }
}
