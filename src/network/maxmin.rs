//! Max-min fair sharing: no flow can be given more without taking from one that has no more.
//!
//! Progressive filling (Bertsekas and Gallager, "Data Networks", 1992, section 6.5.2): the levels of
//! all paths rise together, a path's rate being its level times its weight; when a link is full, the
//! paths across it stay at the level reached, and the others rise on. Each path stays at one link, its
//! bottleneck.
//!
//! After a change, filling is gone through again only where it goes differently. From low levels to
//! high, a link is looked at when one of its paths has changed:
//! - if it is full sooner than before, the paths above that level come down to it;
//! - if it is full later, the paths that stay at it are set free when filling comes to their level,
//!   and rise until some link is full;
//! - if it is full at the level at which its paths stay, nothing has changed beyond it.
//!
//! What happens at a level depends on lower levels alone, so no link is filled twice. (Ros-Giralt et
//! al., "On the Bottleneck Structure of Congestion-Controlled Networks", SIGMETRICS 2019, show how a
//! change spreads from bottleneck to bottleneck, always upwards.)

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::{IdVec, LinkId};
use crate::network::clockwork::Sharing;
use crate::network::paths::{Path, PathId, Paths};
use crate::network::rates::{Rate, Weight};

/// Max-min fairness, weighted.
#[derive(Debug, Default)]
pub struct MaxMin {
    round: u32,
    /// What is known of a link in this round, if it is of this round.
    links: IdVec<LinkId, Looked>,
    /// The round in which a path was last touched, and its level before that.
    before: IdVec<PathId, (u32, Rate)>,
    touched: Vec<PathId>,
    /// Links by the level at which to look at them.
    queue: BinaryHeap<Reverse<(Rate, LinkId)>>,
}

/// A link that a change has reached.
#[derive(Debug, Clone, Copy, Default)]
struct Looked {
    round: u32,
    /// The level at which it stands in the queue, if it does.
    queued: Option<Rate>,
    /// What is to be done at that level; unknown if its paths have changed since it was found.
    act: Option<Act>,
    filled: bool,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// The link is full: no path across it rises beyond this level.
    Fill(Rate),
    /// The link is not full at this level, at which paths have stayed: they rise.
    Free(Rate),
}

impl Act {
    const fn level(self) -> Rate {
        match self {
            Act::Fill(level) | Act::Free(level) => level,
        }
    }
}

impl Sharing for MaxMin {
    fn share(&mut self, paths: &mut Paths, changed: &mut Vec<PathId>) {
        self.begin_round(paths);
        for nth in 0..paths.changed_paths().len() {
            self.free(paths.changed_paths()[nth], Rate::ZERO, paths);
        }
        for &link in paths.changed_links() {
            self.look_at(link, Rate::ZERO);
        }
        while let Some(Reverse((level, link))) = self.queue.pop() {
            if self.links[link].queued == Some(level) {
                self.links[link].queued = None;
                self.come_to(level, link, paths);
            }
        }
        for id in self.touched.drain(..) {
            if paths[id].changed || paths[id].level != self.before[id].1 {
                changed.push(id);
            }
        }
    }
}

impl MaxMin {
    fn begin_round(&mut self, paths: &Paths) {
        while self.links.len() < paths.links() {
            self.links.push(Looked::default());
        }
        while self.before.len() < paths.end() {
            self.before.push((0, Rate::ZERO));
        }
        self.round = self.round.checked_add(1).unwrap_or_else(|| {
            // Marks of four thousand million rounds ago must not look new.
            self.links.iter_mut().for_each(|link| link.round = 0);
            self.before.iter_mut().for_each(|path| path.0 = 0);
            1
        });
    }

    /// Filling has come to the level at which a link was to be looked at.
    fn come_to(&mut self, level: Rate, link: LinkId, paths: &mut Paths) {
        let act = match self.links[link].act {
            Some(act) => act,
            None => {
                let Some(act) = next_act(paths, link, self.links[link].filled) else { return };
                self.links[link].act = Some(act);
                if act.level() > level {
                    self.enqueue(link, act.level());
                    return;
                }
                act
            }
        };
        self.links[link].act = None;
        match act {
            Act::Fill(full) => self.fill(link, full, paths),
            Act::Free(stayed) => {
                for nth in 0..paths.crossing_count(link) {
                    let id = paths.nth_crossing(link, nth);
                    if paths[id].bottleneck == Some(link) {
                        self.free(id, stayed, paths);
                    }
                }
            }
        }
    }

    /// A path rises from `level` on: its links may be full sooner.
    fn free(&mut self, id: PathId, level: Rate, paths: &mut Paths) {
        let path = self.touch(id, paths);
        path.level = Rate::MAX;
        path.bottleneck = None;
        for nth in 0..path.route.len() {
            self.look_at(paths[id].route[nth], level);
        }
    }

    /// A link is full: the paths across it that rise, or have stayed above, stay at this level.
    fn fill(&mut self, link: LinkId, level: Rate, paths: &mut Paths) {
        self.links[link].filled = true;
        for nth in 0..paths.crossing_count(link) {
            let id = paths.nth_crossing(link, nth);
            if paths[id].level <= level {
                continue;
            }
            let path = self.touch(id, paths);
            path.level = level;
            path.bottleneck = Some(link);
            // The other links are full later: those in the queue are looked at soon enough.
            for nth in 0..path.route.len() {
                let other = paths[id].route[nth];
                if other != link {
                    self.room_at(other, level);
                }
            }
        }
    }

    /// Remembers the level that a path had before this round.
    fn touch<'a>(&mut self, id: PathId, paths: &'a mut Paths) -> &'a mut Path {
        let path = &mut paths[id];
        if self.before[id].0 != self.round {
            self.before[id] = (self.round, path.level);
            self.touched.push(id);
        }
        path
    }

    /// A link may have something to do from `level` on.
    fn look_at(&mut self, link: LinkId, level: Rate) {
        let looked = self.this_round(link);
        looked.act = None;
        if looked.queued.is_none_or(|queued| queued > level) {
            self.enqueue(link, level);
        }
    }

    /// A link has more room: it may have something to do from `level` on, but nothing sooner than what
    /// it was to do anyway.
    fn room_at(&mut self, link: LinkId, level: Rate) {
        let looked = self.this_round(link);
        looked.act = None;
        if looked.queued.is_none() {
            self.enqueue(link, level);
        }
    }

    fn enqueue(&mut self, link: LinkId, level: Rate) {
        self.links[link].queued = Some(level);
        self.queue.push(Reverse((level, link)));
    }

    fn this_round(&mut self, link: LinkId) -> &mut Looked {
        let looked = &mut self.links[link];
        if looked.round != self.round {
            *looked = Looked { round: self.round, ..Looked::default() };
        }
        looked
    }
}

/// What a link does next, if the levels of paths that stay elsewhere stand.
fn next_act(paths: &Paths, link: LinkId, filled: bool) -> Option<Act> {
    let full = full_at(paths, link);
    // What stays at a link that was filled in this round has its level; it could only rise by what
    // was rounded down.
    let stayed = paths
        .crossing(link)
        .map(|id| &paths[id])
        .filter(|path| !filled && path.bottleneck == Some(link))
        .map(|path| path.level)
        .min();
    match (stayed, full) {
        (Some(stayed), full) if full.is_none_or(|full| full > stayed) => Some(Act::Free(stayed)),
        (_, full) => full.map(Act::Fill),
    }
}

/// The level at which a link is full, if it ever is, when the paths that stay elsewhere rise to their
/// levels and all others without end.
fn full_at(paths: &Paths, link: LinkId) -> Option<Rate> {
    // From equal shares upwards: what paths below that level do not take is left to the others, until
    // there is no such path any more.
    let mut level = Rate::ZERO;
    loop {
        let (mut rest, mut weight) = (paths.capacity(link), Weight::default());
        for id in paths.crossing(link) {
            let path = &paths[id];
            if path.level < level && path.bottleneck != Some(link) {
                rest.0 -= path.level.times(path.weight).0;
            } else {
                weight.0 += path.weight.0;
            }
        }
        if weight == Weight::default() {
            return None;
        }
        let share = rest.share(weight);
        if share == level {
            return Some(level);
        }
        level = share;
    }
}
