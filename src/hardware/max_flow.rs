//! How much can flow from one vertex to another: Dinic's algorithm.
//!
//! E. A. Dinits, "Algorithm for solution of a problem of maximum flow in networks with power
//! estimation", Soviet Math. Doklady 11, 1970. By duality it is also the least cut between the two.

/// A network of capacities.
#[derive(Debug)]
pub(super) struct MaxFlow {
    /// Edges leaving each vertex.
    leaving: Vec<Vec<usize>>,
    /// Edge 2i and its reverse 2i + 1: where it leads and what it can still carry.
    edges: Vec<(usize, f64)>,
    level: Vec<u32>,
    /// The next edge to try at each vertex in this phase.
    next: Vec<usize>,
}

impl MaxFlow {
    pub(super) fn new(vertices: usize) -> Self {
        MaxFlow {
            leaving: vec![Vec::new(); vertices],
            edges: Vec::new(),
            level: vec![0; vertices],
            next: vec![0; vertices],
        }
    }

    /// Adds an edge that carries `capacity` one way.
    pub(super) fn add(&mut self, from: usize, to: usize, capacity: f64) {
        self.leaving[from].push(self.edges.len());
        self.edges.push((to, capacity));
        self.leaving[to].push(self.edges.len());
        self.edges.push((from, 0.0));
    }

    /// The greatest flow from `source` to `target`.
    pub(super) fn run(&mut self, source: usize, target: usize) -> f64 {
        let mut total = 0.0;
        while self.find_levels(source, target) {
            self.next.fill(0);
            loop {
                let pushed = self.push_one_path(source, target);
                if pushed == 0.0 {
                    break;
                }
                total += pushed;
            }
        }
        total
    }

    /// Breadth first over edges that can carry more; false when the target is cut off.
    fn find_levels(&mut self, source: usize, target: usize) -> bool {
        self.level.fill(u32::MAX);
        self.level[source] = 0;
        let mut queue = vec![source];
        let mut at = 0;
        while at < queue.len() {
            let vertex = queue[at];
            at += 1;
            for &edge in &self.leaving[vertex] {
                let (to, capacity) = self.edges[edge];
                if capacity > 0.0 && self.level[to] == u32::MAX {
                    self.level[to] = self.level[vertex] + 1;
                    queue.push(to);
                }
            }
        }
        self.level[target] != u32::MAX
    }

    /// One path of the level graph, filled; 0 when there is none left. A loop and not a recursion,
    /// because a ring of devices is as deep as it has devices.
    fn push_one_path(&mut self, source: usize, target: usize) -> f64 {
        let mut path: Vec<usize> = Vec::new();
        let mut vertex = source;
        while vertex != target {
            match self.leaving[vertex].get(self.next[vertex]) {
                Some(&edge) => {
                    let (to, capacity) = self.edges[edge];
                    if capacity > 0.0 && self.level[to] == self.level[vertex] + 1 {
                        path.push(edge);
                        vertex = to;
                    } else {
                        self.next[vertex] += 1;
                    }
                }
                // A dead end: step back and never come here again in this phase.
                None => {
                    let Some(edge) = path.pop() else { return 0.0 };
                    vertex = self.edges[edge ^ 1].0;
                    self.next[vertex] += 1;
                }
            }
        }
        let least = path.iter().map(|&edge| self.edges[edge].1).fold(f64::INFINITY, f64::min);
        for edge in path {
            self.edges[edge].1 -= least;
            self.edges[edge ^ 1].1 += least;
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two paths of 3 and 2 share a last edge of 4; a third of 5 goes straight: 4 + 5.
    #[test]
    fn the_flow_is_the_least_cut() {
        let mut flow = MaxFlow::new(5);
        for (from, to, capacity) in
            [(0, 1, 3.0), (0, 2, 2.0), (1, 3, 9.0), (2, 3, 9.0), (3, 4, 4.0), (0, 4, 5.0)]
        {
            flow.add(from, to, capacity);
        }
        assert_eq!(flow.run(0, 4), 9.0);
    }
}
