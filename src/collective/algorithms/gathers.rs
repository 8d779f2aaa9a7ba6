//! Ways in which every member of a group comes to have every block, and trees along which one member's
//! buffer comes to all; what the algorithms are composed of.
//!
//! Member i begins with block i. A way is a list of steps in an order in which they could be done one
//! after the other. Each block reaches each member once, so the same steps backwards, adding instead
//! of copying, are a reduce-scatter.

/// Blocks on their way from one member to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: u32,
    pub(super) to: u32,
    /// The first block.
    pub(super) block: u32,
    /// How many in a row.
    pub(super) blocks: u32,
}

/// Every block around the ring: n − 1 rounds of one block.
pub(super) fn ring(n: u32) -> Vec<Step> {
    let round = |round| (0..n).map(move |from| step(from, (from + 1) % n, (from + n - round) % n, 1));
    (0..n.saturating_sub(1)).flat_map(round).collect()
}

/// Every block to everyone at once.
pub(super) fn direct(n: u32) -> Vec<Step> {
    let from = |from| (1..n).map(move |shift| step(from, (from + shift) % n, from, 1));
    (0..n).flat_map(from).collect()
}

/// Recursive doubling: in round k members 2ᵏ apart exchange all that they have.
///
/// Where n is no power of two, the first members form pairs that take part as one: the odd one hands
/// its block over before, and is handed everything after (Rabenseifner, "Optimization of collective
/// reduction operations", ICCS 2004, section 2). Round by round.
pub(super) fn recursive_doubling(n: u32) -> Vec<Vec<Step>> {
    let parts = 1 << n.max(1).ilog2();
    let pairs = n - parts;
    // Part p is played by this member, and its blocks begin with that member's.
    let first = |part: u32| if part < pairs { 2 * part } else { part + pairs };
    let folded = (0..pairs).map(|pair| step(2 * pair + 1, 2 * pair, 2 * pair + 1, 1));
    let mut rounds: Vec<Vec<Step>> = vec![folded.collect()];
    let mut width = 1;
    while width < parts {
        let exchange = |part: u32| {
            let begin = part / width * width;
            let (block, end) = (first(begin), first(begin + width));
            step(first(part), first(part ^ width), block, end - block)
        };
        rounds.push((0..parts).map(exchange).collect());
        width *= 2;
    }
    let unfolded = |pair: u32| {
        let (even, odd) = (2 * pair, 2 * pair + 1);
        let after = (odd + 1 < n).then(|| step(even, odd, odd + 1, n - odd - 1));
        std::iter::once(step(even, odd, 0, odd)).chain(after)
    };
    rounds.push((0..pairs).flat_map(unfolded).collect());
    rounds.retain(|round| !round.is_empty());
    rounds
}

/// Bruck's all-gather: in round k everyone sends the blocks that it has, at most 2ᵏ of them, 2ᵏ members
/// back; ⌈log₂ n⌉ rounds for every n. Round by round.
pub(super) fn bruck(n: u32) -> Vec<Vec<Step>> {
    let mut rounds = Vec::new();
    let mut have = 1;
    while have < n {
        let blocks = have.min(n - have);
        let mut steps = Vec::new();
        for from in 0..n {
            let to = (from + n - have) % n;
            // They are its own and those after it, around the end.
            let until_end = blocks.min(n - from);
            steps.push(step(from, to, from, until_end));
            if until_end < blocks {
                steps.push(step(from, to, 0, blocks - until_end));
            }
        }
        rounds.push(steps);
        have *= 2;
    }
    rounds
}

/// The binomial tree from member 0: in round k the first 2ᵏ members each reach one more.
pub(super) fn binomial_tree(n: u32) -> Vec<(u32, u32)> {
    let mut edges = Vec::new();
    let mut have = 1;
    while have < n {
        edges.extend((0..have.min(n - have)).map(|from| (from, from + have)));
        have *= 2;
    }
    edges
}

fn step(from: u32, to: u32, block: u32, blocks: u32) -> Step {
    Step { from, to, block, blocks }
}
