//! Looking rows of tables up, and adding gradients to them.

/// x[r] = table[token[r] − first], or zeros when another rank holds that id.
/// tokens: (rows)   table: (ids here, width)   x: (rows, width)
pub(super) fn forward(first: u32, width: u32, tokens: &[f32], table: &[f32], x: &mut [f32]) {
    let width = width as usize;
    for (&token, x) in tokens.iter().zip(x.chunks_exact_mut(width)) {
        match row(token, first, table.len() / width) {
            Some(row) => x.copy_from_slice(&table[row * width..][..width]),
            None => x.fill(0.0),
        }
    }
}

/// dtable[token[r] − first] += dx[r]
pub(super) fn weight(first: u32, width: u32, tokens: &[f32], dx: &[f32], dtable: &mut [f32]) {
    let width = width as usize;
    for (&token, dx) in tokens.iter().zip(dx.chunks_exact(width)) {
        if let Some(row) = row(token, first, dtable.len() / width) {
            add(dx, &mut dtable[row * width..][..width]);
        }
    }
}

/// y[r] = x[r] + positions[(first + r) mod sequence]
pub(super) fn add_positions(
    (first, sequence, width): (u32, u32, u32),
    x: &[f32],
    positions: &[f32],
    y: &mut [f32],
) {
    let width = width as usize;
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate();
    for (row, (x, y)) in rows {
        let position = (first as usize + row) % sequence as usize;
        let at = &positions[position * width..][..width];
        for ((y, x), p) in y.iter_mut().zip(x).zip(at) {
            *y = x + p;
        }
    }
}

/// dpositions[(first + r) mod sequence] += dy[r]
pub(super) fn positions_weight(
    (first, sequence, width): (u32, u32, u32),
    dy: &[f32],
    dpositions: &mut [f32],
) {
    let width = width as usize;
    for (row, dy) in dy.chunks_exact(width).enumerate() {
        let position = (first as usize + row) % sequence as usize;
        add(dy, &mut dpositions[position * width..][..width]);
    }
}

/// The row of a token's id among `held` ids from `first` on. Ids are whole numbers below 2²⁴, which
/// f32 holds exactly.
fn row(token: f32, first: u32, held: usize) -> Option<usize> {
    let row = (token as u32).checked_sub(first)? as usize;
    (row < held).then_some(row)
}

fn add(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
