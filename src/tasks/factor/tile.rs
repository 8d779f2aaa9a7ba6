//! Square tiles of numbers, row by row, and what the steps of a Cholesky factorisation do to them.

/// A square of b × b numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    side: usize,
    numbers: Vec<f64>,
}

impl Tile {
    /// The tile of `number(row, column)`.
    pub fn from_fn(side: usize, number: impl Fn(usize, usize) -> f64) -> Self {
        let numbers = (0..side * side).map(|at| number(at / side, at % side)).collect();
        Tile { side, numbers }
    }

    /// The number in a row and a column.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.numbers[row * self.side + column]
    }

    fn set(&mut self, row: usize, column: usize, number: f64) {
        self.numbers[row * self.side + column] = number;
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.numbers[row * self.side..(row + 1) * self.side]
    }

    /// L with A = L·Lᵀ, L lower triangular; nothing when A is not positive definite.
    ///
    /// l(j, j) = √(a(j, j) − Σ_k l(j, k)²), l(i, j) = (a(i, j) − Σ_k l(i, k)·l(j, k)) / l(j, j).
    pub fn potrf(&self) -> Option<Tile> {
        let mut l = Tile::from_fn(self.side, |_, _| 0.0);
        for j in 0..self.side {
            let pivot = self.at(j, j) - dot(&l.row(j)[..j], &l.row(j)[..j]);
            if pivot <= 0.0 {
                return None;
            }
            l.set(j, j, pivot.sqrt());
            for i in j + 1..self.side {
                let rest = self.at(i, j) - dot(&l.row(i)[..j], &l.row(j)[..j]);
                l.set(i, j, rest / l.at(j, j));
            }
        }
        Some(l)
    }

    /// X with X·Lᵀ = A: x(i, j) = (a(i, j) − Σ_{k<j} x(i, k)·l(j, k)) / l(j, j).
    pub fn trsm(&self, l: &Tile) -> Tile {
        let mut x = self.clone();
        for i in 0..self.side {
            for j in 0..self.side {
                let rest = self.at(i, j) - dot(&x.row(i)[..j], &l.row(j)[..j]);
                x.set(i, j, rest / l.at(j, j));
            }
        }
        x
    }

    /// A − X·Yᵀ; with Y = X it is the symmetric update (syrk).
    pub fn gemm(&self, x: &Tile, y: &Tile) -> Tile {
        Tile::from_fn(self.side, |i, j| self.at(i, j) - dot(x.row(i), y.row(j)))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(rows: [[f64; 2]; 2]) -> Tile {
        Tile::from_fn(2, |row, column| rows[row][column])
    }

    /// [4 2; 2 5] = [2 0; 1 2]·[2 1; 0 2]; X·[2 1; 0 2] = [2 5; 4 2] has X = [1 2; 2 0].
    #[test]
    fn tiles_do_what_their_formulas_say() {
        let l = tile([[4.0, 2.0], [2.0, 5.0]]).potrf().unwrap();
        assert_eq!(l, tile([[2.0, 0.0], [1.0, 2.0]]));
        let x = tile([[2.0, 5.0], [4.0, 2.0]]).trsm(&l);
        assert_eq!(x, tile([[1.0, 2.0], [2.0, 0.0]]));
        assert_eq!(tile([[5.0, 2.0], [2.0, 4.0]]).gemm(&x, &x), tile([[0.0, 0.0], [0.0, 0.0]]));
        assert!(tile([[1.0, 2.0], [2.0, 1.0]]).potrf().is_none(), "not positive definite");
    }
}
