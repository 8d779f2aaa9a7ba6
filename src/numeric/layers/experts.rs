//! Experts: which of them take a row, the rows in the order in which they are sent, and products in which each
//! row meets the matrix of its own expert.
//!
//! Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017, section 2; Lepikhin et al., "GShard", 2020,
//! algorithm 1; Fedus et al., "Switch Transformers", 2021, section 2.2.
//!
//! Letters besides the room's: E experts, K those that a row meets, R rows that are sent or have arrived.

use crate::numeric::layers::linear::Linear;
use crate::numeric::real::Real;

/// How a router decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Router {
    /// E
    pub experts: usize,
    /// K
    pub top_k: usize,
    /// Rows that each expert has room for; nothing where there is room for all.
    pub room: Option<usize>,
}

/// What a router's decisions come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// How often each expert was chosen, with room or without.
    pub chosen: Vec<u32>,
    /// E·Σ f·P, where f is the share of choices that fell on an expert and P the mean of its probabilities: 1
    /// where both are spread evenly (Switch, equations 4 to 6, with f over all K choices of a row).
    pub imbalance: f64,
}

/// Where a row that found no room stands.
const NOWHERE: f64 = -1.0;

impl Router {
    /// Softmax over the experts; the K likeliest of each row, of equals those that come first; their
    /// probabilities, scaled to sum to one where there is more than one; and where each stands among the rows
    /// that are sent, expert by expert in the order of rows.
    ///
    /// logits: (N, E)   gates, choices, places: (N, K)
    pub fn forward<T: Real>(
        self,
        logits: &[T],
        gates: &mut [T],
        choices: &mut [T],
        places: &mut [T],
    ) -> Decided {
        let rows = logits.len() / self.experts;
        let mut chosen = vec![0_u32; self.experts];
        let mut mean = vec![0.0; self.experts];
        let mut p = vec![T::ZERO; self.experts];
        for (row, logits) in logits.chunks_exact(self.experts).enumerate() {
            softmax(logits, &mut p);
            mean.iter_mut().zip(&p).for_each(|(mean, p)| *mean += p.to_f64() / rows as f64);
            let here = row * self.top_k..(row + 1) * self.top_k;
            let (gates, choices) = (&mut gates[here.clone()], &mut choices[here]);
            for choice in 0..self.top_k {
                let best = best_but(logits, &choices[..choice]);
                choices[choice] = T::from_f64(best as f64);
                gates[choice] = p[best];
                chosen[best] += 1;
            }
            if self.top_k > 1 {
                let sum = gates.iter().fold(T::ZERO, |sum, gate| sum + *gate);
                gates.iter_mut().for_each(|gate| *gate = *gate / sum);
            }
        }
        self.place(&chosen, choices, places);
        let choices = (rows * self.top_k) as f64;
        let shares = chosen.iter().map(|&count| f64::from(count) / choices);
        let imbalance =
            self.experts as f64 * shares.zip(&mean).map(|(share, mean)| share * mean).sum::<f64>();
        Decided { chosen, imbalance }
    }

    fn place<T: Real>(self, chosen: &[u32], choices: &[T], places: &mut [T]) {
        let mut next: Vec<usize> = match self.room {
            Some(room) => (0..self.experts).map(|expert| expert * room).collect(),
            None => {
                let before = |expert| chosen[..expert].iter().sum::<u32>() as usize;
                (0..self.experts).map(before).collect()
            }
        };
        for (choice, place) in choices.iter().zip(places) {
            let expert = index(*choice);
            let full = self.room.is_some_and(|room| next[expert] == (expert + 1) * room);
            *place = T::from_f64(if full { NOWHERE } else { next[expert] as f64 });
            next[expert] += usize::from(!full);
        }
    }

    /// B: the gradient through the gates, and that of `balance` times the imbalance, whose shares f are taken as
    /// they are (they have no slope).
    ///
    /// dgates, gates, choices: (N, K)   logits, dlogits: (N, E)
    pub fn backward_input<T: Real>(
        self,
        balance: T,
        dgates: &[T],
        (logits, gates, choices): (&[T], &[T], &[T]),
        dlogits: &mut [T],
    ) {
        let rows = logits.len() / self.experts;
        let mut counts = vec![0.0; self.experts];
        choices.iter().for_each(|choice| counts[index(*choice)] += 1.0);
        let each = self.experts as f64 / (choices.len() as f64 * rows as f64);
        let push: Vec<T> = counts.iter().map(|count| balance * T::from_f64(each * count)).collect();
        let mut p = vec![T::ZERO; self.experts];
        for (row, (logits, dlogits)) in
            logits.chunks_exact(self.experts).zip(dlogits.chunks_exact_mut(self.experts)).enumerate()
        {
            softmax(logits, &mut p);
            through_softmax(&p, &push, dlogits);
            let here = row * self.top_k..(row + 1) * self.top_k;
            let (gates, choices, dgates) = (&gates[here.clone()], &choices[here.clone()], &dgates[here]);
            if self.top_k == 1 {
                let (gate, expert) = (gates[0], index(choices[0]));
                for (at, (dlogit, p)) in dlogits.iter_mut().zip(&p).enumerate() {
                    let own = if at == expert { T::ONE } else { T::ZERO };
                    *dlogit += dgates[0] * gate * (own - *p);
                }
                continue;
            }
            // Scaled to sum to one they are the softmax over the chosen logits alone.
            let mean = gates.iter().zip(dgates).fold(T::ZERO, |sum, (gate, dgate)| sum + *gate * *dgate);
            for ((gate, dgate), choice) in gates.iter().zip(dgates).zip(choices) {
                dlogits[index(*choice)] += *gate * (*dgate - mean);
            }
        }
    }
}

/// The likeliest expert that is not among `taken`, of equals the first.
fn best_but<T: Real>(logits: &[T], taken: &[T]) -> usize {
    let free = (0..logits.len()).filter(|expert| !taken.iter().any(|choice| index(*choice) == *expert));
    let better = |best: usize, expert: usize| if logits[expert] > logits[best] { expert } else { best };
    free.reduce(better).expect("more experts than choices")
}

fn softmax<T: Real>(logits: &[T], p: &mut [T]) {
    let largest = logits.iter().fold(T::NEG_INFINITY, |largest, logit| largest.larger(*logit));
    let mut sum = T::ZERO;
    for (p, logit) in p.iter_mut().zip(logits) {
        *p = (*logit - largest).exp();
        sum += *p;
    }
    p.iter_mut().for_each(|p| *p = *p / sum);
}

/// dlogits = p·(dp − Σ p·dp)
fn through_softmax<T: Real>(p: &[T], dp: &[T], dlogits: &mut [T]) {
    let mean = p.iter().zip(dp).fold(T::ZERO, |sum, (p, dp)| sum + *p * *dp);
    for ((dlogit, p), dp) in dlogits.iter_mut().zip(p).zip(dp) {
        *dlogit = *p * (*dp - mean);
    }
}

/// Choices and places come as whole numbers below 2²⁴, which `f32` holds exactly.
fn index<T: Real>(number: T) -> usize {
    number.to_f64() as usize
}

/// Where a row stands, if anywhere.
fn place_of<T: Real>(place: T) -> Option<usize> {
    let place = place.to_f64();
    (place != NOWHERE).then_some(place as usize)
}

/// Rows in the order in which they are sent, of a width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// H
    pub width: usize,
}

impl Sent {
    /// Each row to its places; where none stands there is nought.
    ///
    /// x: (N, H)   places: (N, K)   sent: (R, H)
    pub fn permute<T: Real>(self, x: &[T], places: &[T], sent: &mut [T]) {
        sent.fill(T::ZERO);
        let top_k = places.len() * self.width / x.len();
        for (x, places) in x.chunks_exact(self.width).zip(places.chunks_exact(top_k)) {
            for place in places.iter().filter_map(|place| place_of(*place)) {
                sent[place * self.width..][..self.width].copy_from_slice(x);
            }
        }
    }

    /// B of [`permute`](Self::permute): dx = Σ dsent over its places.
    pub fn permute_backward<T: Real>(self, dsent: &[T], places: &[T], dx: &mut [T]) {
        let top_k = places.len() * self.width / dx.len();
        dx.fill(T::ZERO);
        for (dx, places) in dx.chunks_exact_mut(self.width).zip(places.chunks_exact(top_k)) {
            for place in places.iter().filter_map(|place| place_of(*place)) {
                let given = &dsent[place * self.width..][..self.width];
                dx.iter_mut().zip(given).for_each(|(dx, given)| *dx += *given);
            }
        }
    }

    /// y = Σ gate·row over its places; nothing for choices that found no room.
    ///
    /// back: (R, H)   gates, places: (N, K)   y: (N, H)
    pub fn combine<T: Real>(self, back: &[T], gates: &[T], places: &[T], y: &mut [T]) {
        let top_k = places.len() * self.width / y.len();
        y.fill(T::ZERO);
        let choices = gates.chunks_exact(top_k).zip(places.chunks_exact(top_k));
        for (y, (gates, places)) in y.chunks_exact_mut(self.width).zip(choices) {
            for (gate, place) in gates.iter().zip(places) {
                let Some(place) = place_of(*place) else { continue };
                let row = &back[place * self.width..][..self.width];
                y.iter_mut().zip(row).for_each(|(y, row)| *y += *gate * *row);
            }
        }
    }

    /// B of [`combine`](Self::combine): dback = gate·dy, dgate = dy·row.
    pub fn combine_backward<T: Real>(
        self,
        dy: &[T],
        (back, gates, places): (&[T], &[T], &[T]),
        dback: &mut [T],
        dgates: &mut [T],
    ) {
        dback.fill(T::ZERO);
        let top_k = places.len() * self.width / dy.len();
        let choices = gates.chunks_exact(top_k).zip(places.chunks_exact(top_k));
        let rows = dy.chunks_exact(self.width).zip(choices).zip(dgates.chunks_exact_mut(top_k));
        for ((dy, (gates, places)), dgates) in rows {
            for ((gate, place), dgate) in gates.iter().zip(places).zip(dgates) {
                *dgate = T::ZERO;
                let Some(place) = place_of(*place) else { continue };
                let here = place * self.width..(place + 1) * self.width;
                for ((dback, row), dy) in dback[here.clone()].iter_mut().zip(&back[here]).zip(dy) {
                    *dback = *gate * *dy;
                    *dgate += *dy * *row;
                }
            }
        }
    }
}

/// Rows that lie together and meet the matrix of one expert: which one, and how many.
pub type Run = (usize, usize);

/// A linear layer of each expert: the matrices lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouped {
    /// I
    pub inputs: usize,
    /// O
    pub outputs: usize,
}

impl Grouped {
    fn one(self) -> Linear {
        Linear { inputs: self.inputs, outputs: self.outputs }
    }

    /// y = x·W     x: (R, I)   w: (E, I, O)   y: (R, O)
    pub fn forward<T: Real>(self, runs: &[Run], x: &[T], w: &[T], y: &mut [T]) {
        let mut first = 0;
        for &(expert, rows) in runs {
            let (x, y) = (&x[first * self.inputs..], &mut y[first * self.outputs..]);
            let (x, y) = (&x[..rows * self.inputs], &mut y[..rows * self.outputs]);
            self.one().forward(x, self.matrix(w, expert), None, y);
            first += rows;
        }
    }

    /// B: dx = dy·Wᵀ
    pub fn backward_input<T: Real>(self, runs: &[Run], dy: &[T], w: &[T], dx: &mut [T]) {
        let mut first = 0;
        for &(expert, rows) in runs {
            let (dx, dy) = (&mut dx[first * self.inputs..], &dy[first * self.outputs..]);
            let (dx, dy) = (&mut dx[..rows * self.inputs], &dy[..rows * self.outputs]);
            self.one().backward_input(dy, self.matrix(w, expert), dx);
            first += rows;
        }
    }

    /// W: dW += xᵀ·dy
    pub fn backward_weight<T: Real>(self, runs: &[Run], x: &[T], dy: &[T], dw: &mut [T]) {
        let mut first = 0;
        for &(expert, rows) in runs {
            let (x, dy) = (&x[first * self.inputs..], &dy[first * self.outputs..]);
            let (x, dy) = (&x[..rows * self.inputs], &dy[..rows * self.outputs]);
            let size = self.inputs * self.outputs;
            if rows > 0 {
                self.one().backward_weight(x, dy, &mut dw[expert * size..][..size]);
            }
            first += rows;
        }
    }

    fn matrix<T>(self, w: &[T], expert: usize) -> &[T] {
        let size = self.inputs * self.outputs;
        &w[expert * size..][..size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const ROWS: usize = 7;
    const EXPERTS: usize = 5;
    const WIDTH: usize = 3;

    struct Decisions {
        gates: Vec<f64>,
        choices: Vec<f64>,
        places: Vec<f64>,
        decided: Decided,
    }

    fn decide(router: Router, logits: &[f64]) -> Decisions {
        let room = || vec![f64::NAN; logits.len() / EXPERTS * router.top_k];
        let (mut gates, mut choices, mut places) = (room(), room(), room());
        let decided = router.forward(logits, &mut gates, &mut choices, &mut places);
        Decisions { gates, choices, places, decided }
    }

    fn router(top_k: usize, room: Option<usize>) -> Router {
        Router { experts: EXPERTS, top_k, room }
    }

    #[test]
    fn of_equals_the_first_is_chosen_and_gates_sum_to_one() {
        let found = decide(router(2, None), &[0.0, 3.0, 1.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(found.choices, [1.0, 3.0, 0.0, 1.0]);
        assert_eq!(found.gates, [0.5; 4]);
        // Expert 0 has one row, expert 1 two, in the order of rows, expert 3 the last.
        assert_eq!(found.places, [1.0, 3.0, 0.0, 2.0]);
        assert_eq!(found.decided.chosen, [1, 2, 0, 1, 0]);
    }

    #[test]
    fn one_expert_is_weighted_by_its_probability() {
        let found = decide(router(1, None), &[0.0, 0.0, 2.0_f64.ln(), 0.0, 0.0]);
        assert_eq!(found.choices, [2.0]);
        assert!((found.gates[0] - 2.0 / 6.0).abs() < 1e-15);
    }

    /// Three rows for an expert with room for two: the last one is dropped, wherever the others are.
    #[test]
    fn what_finds_no_room_is_dropped_in_the_order_of_rows() {
        let rows = [[9.0, 0.0, 0.0, 0.0, 1.0]; 3].concat();
        let found = decide(router(1, Some(2)), &rows);
        assert_eq!(found.places, [0.0, 1.0, NOWHERE]);
        assert_eq!(found.decided.chosen, [3, 0, 0, 0, 0]);
        // Through its gate a dropped row gives and gets nothing.
        let sent = Sent { width: WIDTH };
        let (x, dy) = (draw::<f64>("x", 3 * WIDTH), draw::<f64>("dy", 3 * WIDTH));
        let (mut rows, mut y) = (vec![f64::NAN; EXPERTS * 2 * WIDTH], vec![f64::NAN; 3 * WIDTH]);
        sent.permute(&x, &found.places, &mut rows);
        assert_eq!(rows[..2 * WIDTH], x[..2 * WIDTH]);
        assert!(rows[2 * WIDTH..].iter().all(|&number| number == 0.0));
        sent.combine(&rows, &found.gates, &found.places, &mut y);
        assert_eq!(y[2 * WIDTH..], [0.0; WIDTH]);
        let (mut drows, mut dgates) = (vec![f64::NAN; rows.len()], vec![f64::NAN; 3]);
        sent.combine_backward(&dy, (&rows, &found.gates, &found.places), &mut drows, &mut dgates);
        assert_eq!(dgates[2], 0.0);
    }

    /// Even shares and probabilities come to 1; everything on one expert, and sure of it, to E.
    #[test]
    fn imbalance_is_between_one_and_the_number_of_experts() {
        let turn = |row: usize| (0..EXPERTS).map(move |expert| if expert == row { 30.0 } else { 0.0 });
        let even: Vec<f64> = (0..EXPERTS).flat_map(turn).collect();
        assert!((decide(router(1, None), &even).decided.imbalance - 1.0).abs() < 1e-9);
        let one: Vec<f64> = (0..4).flat_map(|_| turn(2)).collect();
        assert!((decide(router(1, None), &one).decided.imbalance - EXPERTS as f64).abs() < 1e-9);
    }

    /// Σ dgates·gates + balance·imbalance, with the choices that were made.
    #[test]
    fn the_gradient_of_the_router_is_its_slope() {
        for top_k in [1, 2, 3] {
            let router = router(top_k, None);
            let (logits, dgates) =
                (draw::<f64>("logits", ROWS * EXPERTS), draw::<f64>("dgates", ROWS * top_k));
            let found = decide(router, &logits);
            let balance = 0.7;
            let mut dlogits = vec![f64::NAN; logits.len()];
            let kept = (&logits[..], &found.gates[..], &found.choices[..]);
            router.backward_input(balance, &dgates, kept, &mut dlogits);
            let value = |logits: &[f64]| {
                let found = decide(router, logits);
                let through = found.gates.iter().zip(&dgates).map(|(gate, dgate)| gate * dgate).sum::<f64>();
                vec![through + balance * found.decided.imbalance]
            };
            Probe::new(&[1.0]).check(&logits, &dlogits, value);
        }
    }

    #[test]
    fn the_gradients_of_sending_and_combining_are_their_slopes() {
        let sent = Sent { width: WIDTH };
        let found = decide(router(2, Some(3)), &draw::<f64>("logits", ROWS * EXPERTS));
        let rows = EXPERTS * 3 * WIDTH;
        let (x, dsent) = (draw::<f64>("x", ROWS * WIDTH), draw::<f64>("dsent", rows));
        let mut dx = vec![f64::NAN; x.len()];
        sent.permute_backward(&dsent, &found.places, &mut dx);
        Probe::new(&dsent).check(&x, &dx, |x| {
            let mut rows = vec![f64::NAN; rows];
            sent.permute(x, &found.places, &mut rows);
            rows
        });
        let (back, dy) = (draw::<f64>("back", rows), draw::<f64>("dy", ROWS * WIDTH));
        let combined = |back: &[f64], gates: &[f64]| {
            let mut y = vec![f64::NAN; ROWS * WIDTH];
            sent.combine(back, gates, &found.places, &mut y);
            y
        };
        let (mut dback, mut dgates) = (vec![f64::NAN; rows], vec![f64::NAN; found.gates.len()]);
        sent.combine_backward(&dy, (&back, &found.gates, &found.places), &mut dback, &mut dgates);
        Probe::new(&dy).check(&back, &dback, |back| combined(back, &found.gates));
        Probe::new(&dy).check(&found.gates, &dgates, |gates| combined(&back, gates));
    }

    #[test]
    fn grouped_products_are_those_of_each_expert() {
        let layer = Grouped { inputs: 4, outputs: 3 };
        let runs: &[Run] = &[(0, 2), (1, 0), (2, 3), (0, 1)];
        let (x, w) = (draw::<f64>("x", 6 * 4), draw::<f64>("w", 3 * 12));
        let dy = draw::<f64>("dy", 6 * 3);
        let apply = |x: &[f64], w: &[f64]| {
            let mut y = vec![f64::NAN; 18];
            layer.forward(runs, x, w, &mut y);
            y
        };
        let (mut dx, mut dw) = (vec![f64::NAN; 24], vec![0.0; 36]);
        layer.backward_input(runs, &dy, &w, &mut dx);
        layer.backward_weight(runs, &x, &dy, &mut dw);
        assert!(dw[12..24].iter().all(|&slope| slope == 0.0), "an expert without rows");
        let probe = Probe::new(&dy);
        probe.check(&x, &dx, |x| apply(x, &w));
        probe.check(&w, &dw, |w| apply(&x, w));
    }
}
