//! Layer norm over the last axis.
//!
//! Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 4: y = (x − μ)·ρ·g + b with
//! ρ = 1/√(σ² + ε). Statistics hold μ and ρ of each row.

/// PyTorch's ε.
const EPSILON: f32 = 1e-5;

/// x, y: (rows, width)   g, b: (width)   statistics: (rows, 2)
pub(super) fn forward(width: u32, x: &[f32], g: &[f32], b: &[f32], y: &mut [f32], statistics: &mut [f32]) {
    let width = width as usize;
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), statistics) in rows.zip(statistics.chunks_exact_mut(2)) {
        let mean = x.iter().sum::<f32>() / width as f32;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
        let reciprocal = 1.0 / (variance + EPSILON).sqrt();
        statistics.copy_from_slice(&[mean, reciprocal]);
        for (((y, x), g), b) in y.iter_mut().zip(x).zip(g).zip(b) {
            *y = (x - mean) * reciprocal * g + b;
        }
    }
}

/// With n = (x − μ)·ρ and e = dy·g: dx = ρ·(e − mean(e) − n·mean(e·n))
pub(super) fn input(width: u32, dy: &[f32], x: &[f32], g: &[f32], statistics: &[f32], dx: &mut [f32]) {
    let width = width as usize;
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
    for (((dy, x), dx), statistics) in rows.zip(statistics.chunks_exact(2)) {
        let (mean, reciprocal) = (statistics[0], statistics[1]);
        let (mut sum, mut along) = (0.0, 0.0);
        for ((dy, x), g) in dy.iter().zip(x).zip(g) {
            let e = dy * g;
            sum += e;
            along += e * (x - mean) * reciprocal;
        }
        let (sum, along) = (sum / width as f32, along / width as f32);
        for (((dx, dy), x), g) in dx.iter_mut().zip(dy).zip(x).zip(g) {
            *dx = reciprocal * (dy * g - sum - (x - mean) * reciprocal * along);
        }
    }
}

/// dg += Σ_rows dy·n   db += Σ_rows dy
pub(super) fn weight(width: u32, dy: &[f32], x: &[f32], statistics: &[f32], dg: &mut [f32], db: &mut [f32]) {
    let width = width as usize;
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width));
    for ((dy, x), statistics) in rows.zip(statistics.chunks_exact(2)) {
        let (mean, reciprocal) = (statistics[0], statistics[1]);
        for (((dg, db), dy), x) in dg.iter_mut().zip(db.iter_mut()).zip(dy).zip(x) {
            *dg += dy * (x - mean) * reciprocal;
            *db += dy;
        }
    }
}
