//! The obvious twin: an array of cells with registers, stepped cycle by cycle, computing real numbers.
//!
//! Each cell passes on what it holds to its right and lower neighbours once a cycle. Nothing here knows
//! a formula for how long that takes.

/// Rows of numbers.
pub type Matrix = Vec<Vec<i64>>;

/// a(m×k)·b(k×n), the plain way.
pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = b[0].len();
    let cell = |row: &Vec<i64>, column: usize| row.iter().zip(b).map(|(x, y)| x * y[column]).sum();
    a.iter().map(|row| (0..columns).map(|column| cell(row, column)).collect()).collect()
}

/// An array whose cells keep results: a enters from the left, b from above, both skewed. Returns the
/// product and the cycles until no cell has anything left to multiply.
pub fn output_stationary(a: &Matrix, b: &Matrix, rows: usize, columns: usize) -> (Matrix, u64) {
    let (m, n, k) = (a.len(), b[0].len(), b.len());
    let mut sums = vec![vec![0; columns]; rows];
    let (mut from_left, mut from_above) = (vec![vec![None; columns]; rows], vec![vec![None; columns]; rows]);
    // Every edge cell is fed for k cycles, row r (column c) r (c) cycles late; edge cells without data
    // are fed zeros, as the hardware clocks all of its cells.
    let feed = |late: usize, cycle: usize, value: &dyn Fn(usize) -> i64| {
        cycle.checked_sub(late).filter(|step| *step < k).map(value)
    };
    let mut cycle = 0;
    loop {
        let (mut left, mut above) = (from_left.clone(), from_above.clone());
        for r in 0..rows {
            for c in 0..columns {
                left[r][c] = match c {
                    0 => feed(r, cycle, &|step| if r < m { a[r][step] } else { 0 }),
                    _ => from_left[r][c - 1],
                };
                above[r][c] = match r {
                    0 => feed(c, cycle, &|step| if c < n { b[step][c] } else { 0 }),
                    _ => from_above[r - 1][c],
                };
            }
        }
        let mut busy = false;
        for r in 0..rows {
            for c in 0..columns {
                if let (Some(x), Some(y)) = (left[r][c], above[r][c]) {
                    sums[r][c] += x * y;
                    busy = true;
                }
            }
        }
        if !busy {
            break;
        }
        (from_left, from_above) = (left, above);
        cycle += 1;
    }
    let result = sums[..m].iter().map(|row| row[..n].to_vec()).collect();
    (result, cycle as u64)
}

/// An array whose cells keep `still` (k×n, at most one array full): it is shifted in from above, row by
/// row; then the rows of `moving` (steps×k) enter from the left, skewed, and sums fall out below. Returns
/// moving·still and the cycles until the last sum has fallen out.
pub fn operand_stationary(moving: &Matrix, still: &Matrix, rows: usize, columns: usize) -> (Matrix, u64) {
    let (steps, k, n) = (moving.len(), still.len(), still[0].len());
    let mut cycle = 0_usize;
    // Preload: each cycle all rows move down one and the next enters above, the last row first.
    let mut kept = vec![vec![0; columns]; rows];
    for entering in (0..rows).rev() {
        kept.rotate_right(1);
        kept[0] = (0..columns).map(|c| if entering < k && c < n { still[entering][c] } else { 0 }).collect();
        cycle += 1;
    }
    let preload = cycle;
    let mut results = vec![vec![0; n]; steps];
    let mut fallen = 0;
    let mut passing: Vec<Vec<Option<(usize, i64)>>> = vec![vec![None; columns]; rows];
    let mut sums: Vec<Vec<Option<(usize, i64)>>> = vec![vec![None; columns]; rows];
    while fallen < steps * columns {
        let (mut next_passing, mut next_sums) = (passing.clone(), sums.clone());
        for r in 0..rows {
            for c in 0..columns {
                next_passing[r][c] = match c {
                    0 => (cycle - preload)
                        .checked_sub(r)
                        .filter(|step| *step < steps)
                        .map(|step| (step, if r < k { moving[step][r] } else { 0 })),
                    _ => passing[r][c - 1],
                };
                next_sums[r][c] = next_passing[r][c].map(|(step, value)| {
                    let above = match r {
                        0 => 0,
                        _ => {
                            let (of, sum) = sums[r - 1][c].expect("the sum above arrives in step");
                            assert_eq!(of, step, "the skew keeps sums and operands together");
                            sum
                        }
                    };
                    (step, above + value * kept[r][c])
                });
            }
        }
        for (c, fallen_out) in next_sums[rows - 1].iter().enumerate() {
            if let Some((step, sum)) = fallen_out {
                if c < n {
                    results[*step][c] = *sum;
                }
                fallen += 1;
            }
        }
        (passing, sums) = (next_passing, next_sums);
        cycle += 1;
    }
    (results, cycle as u64)
}
