//! Max-min fair sharing: no flow can be given more without taking from one that has no more.
//!
//! Progressive filling (Bertsekas and Gallager, "Data Networks", 1992, section 6.5.2): the rates of
//! all flows rise together, in proportion to their weights; when a link is full, the flows across it
//! stay at the level reached, and the others rise on.
//!
//! A change is felt only from some level upwards: filling meets a path that has gone, or a link that
//! has come to be shared by more, only when it comes to their level. So rates below that level stand,
//! and above it only what hangs together with the change is filled anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::{IdVec, LinkId};
use crate::network::clockwork::Sharing;
use crate::network::paths::{PathId, Paths};
use crate::network::rates::{Rate, Weight};

/// Max-min fairness, weighted.
#[derive(Debug, Default)]
pub struct MaxMin {
    /// What each link has left for paths not yet filled; only those of this `round` are meant.
    links: IdVec<LinkId, Filling>,
    /// In which round a path was gathered, and whether it has been filled since.
    paths: IdVec<PathId, (u32, bool)>,
    round: u32,
    gathered: Vec<LinkId>,
    filling: BinaryHeap<Reverse<(Rate, LinkId)>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Filling {
    round: u32,
    rest: Rate,
    weight: Weight,
}

impl Sharing for MaxMin {
    fn share(&mut self, paths: &mut Paths, changed: &mut Vec<PathId>) {
        self.begin_round(paths);
        let floor = lowest_change(paths);
        self.gather(paths, floor);
        self.fill(paths, changed);
    }
}

impl MaxMin {
    fn begin_round(&mut self, paths: &Paths) {
        while self.links.len() < paths.links() {
            self.links.push(Filling::default());
        }
        while self.paths.len() < paths.end() {
            self.paths.push((0, false));
        }
        self.round = self.round.checked_add(1).unwrap_or_else(|| {
            // Marks of four thousand million rounds ago must not look new.
            self.links.iter_mut().for_each(|link| link.round = 0);
            self.paths.iter_mut().for_each(|path| path.0 = 0);
            1
        });
        self.gathered.clear();
    }

    /// Gathers the links that hang together with the changes through paths of at least level `floor`.
    fn gather(&mut self, paths: &Paths, floor: Rate) {
        for &path in paths.changed_paths() {
            for &link in paths[path].route.iter() {
                self.gather_link(link);
            }
        }
        for &link in paths.changed_links() {
            self.gather_link(link);
        }
        let mut next = 0;
        while let Some(&link) = self.gathered.get(next) {
            next += 1;
            let (mut rest, mut weight) = (paths.capacity(link), Weight::default());
            for id in paths.crossing(link) {
                let path = &paths[id];
                if !path.changed && path.level < floor {
                    rest.0 -= path.level.times(path.weight).0;
                    continue;
                }
                weight.0 += path.weight.0;
                if self.paths[id].0 != self.round {
                    self.paths[id] = (self.round, false);
                    for &link in path.route.iter() {
                        self.gather_link(link);
                    }
                }
            }
            self.links[link] = Filling { round: self.round, rest, weight };
        }
    }

    fn gather_link(&mut self, link: LinkId) {
        if self.links[link].round != self.round {
            self.links[link].round = self.round;
            self.gathered.push(link);
        }
    }

    /// Raises the gathered paths until each has a full link.
    fn fill(&mut self, paths: &mut Paths, changed: &mut Vec<PathId>) {
        self.filling.extend(self.gathered.iter().filter_map(|&link| {
            let Filling { rest, weight, .. } = self.links[link];
            (weight > Weight::default()).then(|| Reverse((rest.share(weight), link)))
        }));
        while let Some(Reverse((level, link))) = self.filling.pop() {
            let Filling { rest, weight, .. } = self.links[link];
            if weight == Weight::default() {
                continue;
            }
            // Paths that filled up elsewhere leave more to the others: the link is full later.
            let full_at = rest.share(weight);
            if full_at > level {
                self.filling.push(Reverse((full_at, link)));
                continue;
            }
            self.fill_link(link, level, paths, changed);
        }
    }

    /// A link is full: the paths across it that were still rising stay at this level.
    fn fill_link(&mut self, link: LinkId, level: Rate, paths: &mut Paths, changed: &mut Vec<PathId>) {
        let across = paths.crossing(link).len();
        for nth in 0..across {
            let id = paths.nth_crossing(link, nth);
            if self.paths[id] != (self.round, false) {
                continue;
            }
            self.paths[id].1 = true;
            let path = &mut paths[id];
            let rate = level.times(path.weight);
            for &link in path.route.iter() {
                self.links[link].rest.0 -= rate.0;
                self.links[link].weight.0 -= path.weight.0;
            }
            if path.level != level || path.changed {
                path.level = level;
                changed.push(id);
            }
        }
    }
}

/// A level below which the changes are not felt.
fn lowest_change(paths: &Paths) -> Rate {
    // Filling misses a path that lost weight when it comes to the level where that path stayed.
    let of_paths = paths.changed_paths().iter().map(|&path| paths[path].level);
    // It notices more weight, or less room, where the link is full now; and more room, where the link
    // was full: at the highest level across it.
    let full_now = paths
        .changed_paths()
        .iter()
        .flat_map(|&path| paths[path].route.iter())
        .chain(paths.changed_links())
        .map(|&link| full_at_least(paths, link));
    let full_before = paths.changed_links().iter().filter_map(|&link| {
        paths.crossing(link).map(|path| paths[path].level).filter(|&level| level != Rate::MAX).max()
    });
    of_paths.chain(full_now).chain(full_before).min().unwrap_or(Rate::ZERO)
}

/// A level that filling reaches before a link is full, if no other path stops below its old level.
///
/// It starts from equal shares and then leaves what paths below that level do not take to the rest,
/// so every turn is nearer to the level at which the link is full, from below.
fn full_at_least(paths: &Paths, link: LinkId) -> Rate {
    const TURNS: usize = 3;
    let mut level = Rate::ZERO;
    for _ in 0..TURNS {
        let (mut rest, mut weight) = (paths.capacity(link), Weight::default());
        for id in paths.crossing(link) {
            let path = &paths[id];
            if !path.changed && path.level < level {
                rest.0 -= path.level.times(path.weight).0;
            } else {
                weight.0 += path.weight.0;
            }
        }
        if weight == Weight::default() {
            return Rate::MAX;
        }
        level = rest.share(weight);
    }
    level
}
