//! Which pieces of a model each pipeline stage holds.

use std::ops::Range;

/// Cuts a chain of `costs` into `stages` runs so that the costliest run costs the least.
///
/// The optimum by dynamic programming over (stages used, pieces placed); among equals the earliest
/// cuts, so that the answer is one. A chain shorter than `stages` leaves no stage empty-handed by
/// panicking: the door refuses it earlier.
pub fn partition_by_cost(costs: &[f64], stages: usize) -> Vec<Range<usize>> {
    let pieces = costs.len();
    assert!(stages >= 1 && stages <= pieces, "{pieces} pieces make at most {pieces} stages, not {stages}");
    let mut before = vec![0.0; pieces + 1];
    for (index, cost) in costs.iter().enumerate() {
        before[index + 1] = before[index] + cost;
    }
    // best[k][n]: the least possible cost of the costliest of k runs over the first n pieces.
    let mut best = vec![vec![f64::INFINITY; pieces + 1]; stages + 1];
    let mut cut = vec![vec![0; pieces + 1]; stages + 1];
    best[0][0] = 0.0;
    for k in 1..=stages {
        for n in k..=pieces {
            for m in k - 1..n {
                let worst = best[k - 1][m].max(before[n] - before[m]);
                if worst < best[k][n] {
                    best[k][n] = worst;
                    cut[k][n] = m;
                }
            }
        }
    }
    let mut ranges = Vec::with_capacity(stages);
    let mut end = pieces;
    for k in (1..=stages).rev() {
        ranges.push(cut[k][end]..end);
        end = cut[k][end];
    }
    ranges.reverse();
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 1 1 1 and a heavy 4 over two stages: {1 1 1 1} and {4} cost 4 each; every other cut costs more.
    #[test]
    fn the_costliest_stage_costs_the_least() {
        assert_eq!(partition_by_cost(&[1.0, 1.0, 1.0, 1.0, 4.0], 2), [0..4, 4..5]);
        assert_eq!(partition_by_cost(&[1.0; 6], 3), [0..2, 2..4, 4..6]);
    }
}
