//! Linear maps: y = x·W + b, W stored row-major as (inputs, outputs).

use crate::numeric::matmul::{Matrix, MatrixMut, matmul};

/// y = x·W + b     x: (rows, I)   W: (I, O)   b: (O)   y: (rows, O)
pub(super) fn forward((inputs, outputs): (u32, u32), x: &[f32], w: &[f32], b: Option<&[f32]>, y: &mut [f32]) {
    let (inputs, outputs) = (inputs as usize, outputs as usize);
    let rows = x.len() / inputs;
    if let Some(b) = b {
        y.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(b));
    }
    let keep = if b.is_some() { 1.0 } else { 0.0 };
    let (x, w) = (Matrix::new(x, rows, inputs), Matrix::new(w, inputs, outputs));
    matmul(MatrixMut::new(y, rows, outputs), keep, x, w, 1.0);
}

/// dx = dy·Wᵀ
pub(super) fn input((inputs, outputs): (u32, u32), dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let (inputs, outputs) = (inputs as usize, outputs as usize);
    let rows = dy.len() / outputs;
    let (dy, w) = (Matrix::new(dy, rows, outputs), Matrix::new(w, inputs, outputs));
    matmul(MatrixMut::new(dx, rows, inputs), 0.0, dy, w.transposed(), 1.0);
}

/// dW += xᵀ·dy   db += Σ_rows dy
pub(super) fn weight(
    (inputs, outputs): (u32, u32),
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let (inputs, outputs) = (inputs as usize, outputs as usize);
    let rows = x.len() / inputs;
    if let Some(db) = db {
        bias_weight(dy, db);
    }
    let (x, dy) = (Matrix::new(x, rows, inputs), Matrix::new(dy, rows, outputs));
    matmul(MatrixMut::new(dw, inputs, outputs), 1.0, x.transposed(), dy, 1.0);
}

/// db += Σ_rows dy
pub(super) fn bias_weight(dy: &[f32], db: &mut [f32]) {
    for row in dy.chunks_exact(db.len()) {
        for (db, dy) in db.iter_mut().zip(row) {
            *db += dy;
        }
    }
}
