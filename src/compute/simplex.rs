//! Nelder and Mead's simplex search for the minimum of a function of several numbers.
//!
//! J. A. Nelder and R. Mead, "A simplex method for function minimization", The Computer Journal 7(4),
//! 1965, with their coefficients: reflection 1, expansion 2, contraction ½, shrinkage ½. It needs no
//! derivatives and, begun at one point, always takes the same path.

/// The best point found within `evaluations` of `f`, from a simplex of corners `step` away from `start`
/// along each axis.
pub fn minimise(f: &dyn Fn(&[f64]) -> f64, start: &[f64], step: f64, evaluations: usize) -> Vec<f64> {
    let mut simplex = Simplex::around(f, start, step);
    while simplex.evaluated < evaluations && !simplex.has_converged() {
        simplex.advance();
    }
    simplex.corners.swap_remove(0).at
}

#[derive(Clone)]
struct Corner {
    at: Vec<f64>,
    value: f64,
}

struct Simplex<'a> {
    f: &'a dyn Fn(&[f64]) -> f64,
    /// Best first.
    corners: Vec<Corner>,
    evaluated: usize,
}

impl<'a> Simplex<'a> {
    fn around(f: &'a dyn Fn(&[f64]) -> f64, start: &[f64], step: f64) -> Self {
        let mut simplex = Simplex { f, corners: Vec::new(), evaluated: 0 };
        let first = simplex.corner(start.to_vec());
        simplex.corners.push(first);
        for axis in 0..start.len() {
            let mut at = start.to_vec();
            at[axis] += step;
            let corner = simplex.corner(at);
            simplex.corners.push(corner);
        }
        simplex.sort();
        simplex
    }

    fn corner(&mut self, at: Vec<f64>) -> Corner {
        self.evaluated += 1;
        let value = (self.f)(&at);
        Corner { at, value }
    }

    /// Stable, so that equal corners keep their age and the path stays the same.
    fn sort(&mut self) {
        self.corners.sort_by(|a, b| a.value.total_cmp(&b.value));
    }

    fn has_converged(&self) -> bool {
        let (best, worst) = (&self.corners[0], &self.corners[self.corners.len() - 1]);
        let spread = best.at.iter().zip(&worst.at).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        worst.value - best.value < 1e-9 && spread < 1e-6
    }

    fn advance(&mut self) {
        let last = self.corners.len() - 1;
        let worst = self.corners[last].clone();
        let (best, second_worst) = (self.corners[0].value, self.corners[last - 1].value);

        let reflected = self.beyond(&worst, 1.0);
        let better = if reflected.value < best {
            let expanded = self.beyond(&worst, 2.0);
            if expanded.value < reflected.value { expanded } else { reflected }
        } else if reflected.value < second_worst {
            reflected
        } else {
            let towards = if reflected.value < worst.value { 0.5 } else { -0.5 };
            let contracted = self.beyond(&worst, towards);
            if contracted.value >= worst.value.min(reflected.value) {
                return self.shrink();
            }
            contracted
        };
        self.corners[last] = better;
        self.sort();
    }

    /// The point `factor` times as far beyond the centre of the other corners as `worst` is before it.
    fn beyond(&mut self, worst: &Corner, factor: f64) -> Corner {
        let others = &self.corners[..self.corners.len() - 1];
        let at = (0..worst.at.len()).map(|axis| {
            let centre = others.iter().map(|corner| corner.at[axis]).sum::<f64>() / others.len() as f64;
            centre + factor * (centre - worst.at[axis])
        });
        let at = at.collect();
        self.corner(at)
    }

    fn shrink(&mut self) {
        let best = self.corners[0].at.clone();
        for index in 1..self.corners.len() {
            let halfway = self.corners[index].at.iter().zip(&best).map(|(a, b)| (a + b) / 2.0).collect();
            self.corners[index] = self.corner(halfway);
        }
        self.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley, the paper's own test: its only minimum is (1, 1).
    #[test]
    fn the_bottom_of_rosenbrocks_valley_is_found() {
        let valley = |at: &[f64]| 100.0 * (at[1] - at[0] * at[0]).powi(2) + (1.0 - at[0]).powi(2);
        let found = minimise(&valley, &[-1.2, 1.0], 0.5, 1_000);
        assert!((found[0] - 1.0).abs() < 1e-4 && (found[1] - 1.0).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn one_dimension_works_too() {
        let found = minimise(&|at: &[f64]| (at[0] - 3.0).abs(), &[0.0], 1.0, 200);
        assert!((found[0] - 3.0).abs() < 1e-5, "{found:?}");
    }
}
