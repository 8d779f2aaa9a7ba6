//! C ← κ·C + β·A·B, over views of slices.
//!
//! The only place that names the GEMM library. A transpose is a view with its strides exchanged, so
//! nothing is ever copied for one (the library packs operands into memory of its own). One thread, and
//! an order of summation that depends only on the shapes, the strides and the machine.

use crate::numeric::real::Real;

/// A matrix seen in a slice: element (i, j) stands at `i * row_stride + j * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// The first `rows * columns` elements of `data`, row after row.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows of `columns` elements that begin `row_stride` apart.
    pub fn strided(data: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        check_extent(data.len(), rows, columns, row_stride);
        Matrix { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transpose, of the same elements.
    pub fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write into: rows of `columns` elements that begin `row_stride` apart.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a, T> MatrixMut<'a, T> {
    /// The first `rows * columns` elements of `data`, row after row.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows of `columns` elements that begin `row_stride` apart.
    pub fn strided(data: &'a mut [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        check_extent(data.len(), rows, columns, row_stride);
        MatrixMut { data, rows, columns, row_stride }
    }
}

/// `c` ← `keep`·`c` + `scale`·`a`·`b`. With `keep` nought, what `c` held is not looked at, not even NaN.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul<T: Real>(c: MatrixMut<'_, T>, keep: T, a: Matrix<'_, T>, b: Matrix<'_, T>, scale: T) {
    assert_eq!(a.columns, b.rows, "A has {} columns, but B {} rows", a.columns, b.rows);
    assert_eq!((c.rows, c.columns), (a.rows, b.columns), "C does not have the shape of A·B");
    if c.rows == 0 || c.columns == 0 {
        return;
    }
    // SAFETY: each view's constructor has checked that its last element lies in its slice, and a row of
    // C does not reach into the next, so no two elements of C are one.
    unsafe {
        gemm::gemm(
            c.rows,
            c.columns,
            a.columns,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            keep != T::ZERO,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn check_extent(len: usize, rows: usize, columns: usize, row_stride: usize) {
    assert!(row_stride >= columns, "rows of {columns} overlap when they begin {row_stride} apart");
    let extent = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + columns };
    assert!(extent <= len, "{rows} rows of {columns}, {row_stride} apart, need {extent} of {len} elements");
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::rng::{RngExt, Seed, Stream};

    /// The definition, term by term.
    fn plain<T: Real>(c: MatrixMut<'_, T>, keep: T, a: Matrix<'_, T>, b: Matrix<'_, T>, scale: T) {
        for i in 0..c.rows {
            for j in 0..c.columns {
                let mut sum = T::ZERO;
                for k in 0..a.columns {
                    sum += a.data[i * a.row_stride + k * a.column_stride]
                        * b.data[k * b.row_stride + j * b.column_stride];
                }
                let at = i * c.row_stride + j;
                let kept = if keep == T::ZERO { T::ZERO } else { keep * c.data[at] };
                c.data[at] = kept + scale * sum;
            }
        }
    }

    fn draw<T: Real>(stream: &mut Stream, len: usize) -> Vec<T> {
        (0..len).map(|_| T::from_f64(stream.random::<f64>() * 2.0 - 1.0)).collect()
    }

    /// Rows stand `gap` elements apart; what lies in the gaps must stay as it was.
    fn check<T: Real>(shape: [usize; 3], gap: usize, transposed: [bool; 2], keep: f64, unit: f64) {
        let [m, n, k] = shape;
        let stream = &mut Seed(7).stream("matrices");
        let view = |rows, columns, turned: bool| if turned { (columns, rows) } else { (rows, columns) };
        let (a_rows, a_columns) = view(m, k, transposed[0]);
        let (b_rows, b_columns) = view(k, n, transposed[1]);
        let a_data = draw::<T>(stream, a_rows * (a_columns + gap));
        let b_data = draw::<T>(stream, b_rows * (b_columns + gap));
        let a = Matrix::strided(&a_data, a_rows, a_columns, a_columns + gap);
        let b = Matrix::strided(&b_data, b_rows, b_columns, b_columns + gap);
        let a = if transposed[0] { a.transposed() } else { a };
        let b = if transposed[1] { b.transposed() } else { b };
        let mut fast = draw::<T>(stream, m * (n + gap));
        if keep == 0.0 {
            fast[0] = T::from_f64(f64::NAN);
        }
        let mut slow = fast.clone();
        let (keep, scale) = (T::from_f64(keep), T::from_f64(0.75));
        matmul(MatrixMut::strided(&mut fast, m, n, n + gap), keep, a, b, scale);
        plain(MatrixMut::strided(&mut slow, m, n, n + gap), keep, a, b, scale);
        for (at, (fast, slow)) in fast.iter().zip(&slow).enumerate() {
            // Each of the k products is at most 1 and each sum rounds once, so 2·k·unit bounds the distance.
            let distance = (fast.to_f64() - slow.to_f64()).abs();
            assert!(distance <= 2.0 * (k + 4) as f64 * unit, "{shape:?} at {at}: {fast:?}, not {slow:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn equals_the_definition(
            m in 1_usize..70, n in 1_usize..70, k in 1_usize..70, gap in 0_usize..5,
            turn_a: bool, turn_b: bool, keep in prop::sample::select(vec![0.0, 1.0, -0.5]),
        ) {
            check::<f32>([m, n, k], gap, [turn_a, turn_b], keep, f64::from(f32::EPSILON));
            check::<f64>([m, n, k], gap, [turn_a, turn_b], keep, f64::EPSILON);
        }
    }

    #[test]
    fn equals_the_definition_beyond_one_cache_block() {
        check::<f32>([150, 300, 700], 3, [false, true], 1.0, f64::from(f32::EPSILON));
        check::<f32>([300, 150, 700], 0, [true, false], 0.0, f64::from(f32::EPSILON));
    }

    #[test]
    #[should_panic(expected = "A has 3 columns, but B 2 rows")]
    fn shapes_that_do_not_fit_are_named() {
        let data = [0.0_f32; 6];
        let mut out = [0.0_f32; 6];
        matmul(MatrixMut::new(&mut out, 2, 3), 0.0, Matrix::new(&data, 2, 3), Matrix::new(&data, 2, 3), 1.0);
    }
}
