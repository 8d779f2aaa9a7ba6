//! Which paths are in use, how much weight is on each, and which paths cross a link.
//!
//! Flows of one path share its rate, so a path is all that the sharing of links needs to know. The
//! table also remembers what has changed since rates were last found.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::ids::{Id, IdVec, LinkId};
use crate::network::rates::{Rate, Weight};

/// A route with flows on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(u32);

impl Id for PathId {
    fn from_index(index: usize) -> Self {
        PathId(u32::try_from(index).expect("fewer than 2^32 paths"))
    }
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A route, the flows on it taken together.
#[derive(Debug)]
pub struct Path {
    /// The links crossed; at least one.
    pub route: Arc<[LinkId]>,
    /// The weight of all its flows.
    pub weight: Weight,
    /// The rate of weight 1, when it was last found; [`Rate::MAX`] before.
    pub level: Rate,
    /// The link at which the path stays, where that is remembered.
    pub bottleneck: Option<LinkId>,
    /// Whether its weight has changed since.
    pub changed: bool,
    /// Where the path stands in the list of each of its links.
    places: Vec<u32>,
}

/// The paths in use and the links they cross.
#[derive(Debug)]
pub struct Paths {
    ids: FxHashMap<Arc<[LinkId]>, PathId>,
    paths: IdVec<PathId, Path>,
    free: Vec<PathId>,
    links: IdVec<LinkId, Crossed>,
    changed_paths: Vec<PathId>,
    changed_links: Vec<LinkId>,
}

#[derive(Debug)]
struct Crossed {
    capacity: Rate,
    changed: bool,
    /// Paths, each with which of its links this one is.
    paths: Vec<(PathId, u32)>,
}

impl Paths {
    /// No path yet, over links of these capacities.
    pub fn new(capacities: impl Iterator<Item = Rate>) -> Self {
        let links = capacities.map(|capacity| Crossed { capacity, changed: false, paths: Vec::new() });
        Paths {
            ids: FxHashMap::default(),
            paths: IdVec::new(),
            free: Vec::new(),
            links: links.collect(),
            changed_paths: Vec::new(),
            changed_links: Vec::new(),
        }
    }

    /// Adds a flow's weight to its route's path.
    pub fn join(&mut self, route: &Arc<[LinkId]>, weight: Weight) -> PathId {
        let id = match self.ids.get(route) {
            Some(&id) => id,
            None => self.open(route),
        };
        self.paths[id].weight.0 += weight.0;
        self.mark_path(id);
        id
    }

    /// Takes a flow's weight off its path.
    pub fn leave(&mut self, id: PathId, weight: Weight) {
        self.paths[id].weight.0 -= weight.0;
        self.mark_path(id);
    }

    /// Changes what a link can carry.
    pub fn set_capacity(&mut self, link: LinkId, capacity: Rate) {
        let crossed = &mut self.links[link];
        if crossed.capacity != capacity && !std::mem::replace(&mut crossed.changed, true) {
            self.changed_links.push(link);
        }
        crossed.capacity = capacity;
    }

    /// What a link can carry.
    pub fn capacity(&self, link: LinkId) -> Rate {
        self.links[link].capacity
    }

    /// The paths across a link, in no order that means anything.
    pub fn crossing(&self, link: LinkId) -> impl Iterator<Item = PathId> + '_ {
        self.links[link].paths.iter().map(|&(path, _)| path)
    }

    /// How many paths cross a link.
    pub fn crossing_count(&self, link: LinkId) -> usize {
        self.links[link].paths.len()
    }

    /// One of the paths across a link.
    pub fn nth_crossing(&self, link: LinkId, nth: usize) -> PathId {
        self.links[link].paths[nth].0
    }

    /// Whether rates are to be found anew.
    pub fn have_changed(&self) -> bool {
        !self.changed_paths.is_empty() || !self.changed_links.is_empty()
    }

    /// The paths whose weight has changed, those that lost all of it included.
    pub fn changed_paths(&self) -> &[PathId] {
        &self.changed_paths
    }

    /// The links whose capacity has changed.
    pub fn changed_links(&self) -> &[LinkId] {
        &self.changed_links
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// The end of the identities given out so far.
    pub fn end(&self) -> usize {
        self.paths.len()
    }

    /// Rates have been found: forgets what has changed, and the paths that are out of use.
    pub fn settle(&mut self) {
        for link in self.changed_links.drain(..) {
            self.links[link].changed = false;
        }
        for id in std::mem::take(&mut self.changed_paths) {
            self.paths[id].changed = false;
            if self.paths[id].weight == Weight::default() {
                self.close(id);
            }
        }
    }

    fn mark_path(&mut self, id: PathId) {
        if !std::mem::replace(&mut self.paths[id].changed, true) {
            self.changed_paths.push(id);
        }
    }

    fn open(&mut self, route: &Arc<[LinkId]>) -> PathId {
        let path = Path {
            route: route.clone(),
            weight: Weight::default(),
            level: Rate::MAX,
            bottleneck: None,
            changed: false,
            places: Vec::new(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                let places = std::mem::take(&mut self.paths[id].places);
                self.paths[id] = Path { places, ..path };
                id
            }
            None => self.paths.push(path),
        };
        for (nth, &link) in route.iter().enumerate() {
            let crossing = &mut self.links[link].paths;
            self.paths[id].places.push(crossing.len() as u32);
            crossing.push((id, nth as u32));
        }
        self.ids.insert(route.clone(), id);
        id
    }

    fn close(&mut self, id: PathId) {
        let route = std::mem::replace(&mut self.paths[id].route, Arc::new([]));
        self.ids.remove(&route);
        for (nth, &link) in route.iter().enumerate() {
            let place = self.paths[id].places[nth];
            let crossing = &mut self.links[link].paths;
            crossing.swap_remove(place as usize);
            if let Some(&(moved, moved_nth)) = crossing.get(place as usize) {
                self.paths[moved].places[moved_nth as usize] = place;
            }
        }
        self.paths[id].places.clear();
        self.free.push(id);
    }
}

impl std::ops::Index<PathId> for Paths {
    type Output = Path;
    fn index(&self, id: PathId) -> &Path {
        &self.paths[id]
    }
}

impl std::ops::IndexMut<PathId> for Paths {
    fn index_mut(&mut self, id: PathId) -> &mut Path {
        &mut self.paths[id]
    }
}
