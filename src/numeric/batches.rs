//! Where samples come from: which sample is which is decided by the step and its place in the global
//! batch alone, so every split of a batch over replicas and micro-batches sees the same samples.

use linfa_datasets::winequality;

use crate::ids::StepIndex;
use crate::rng::{RngExt, Seed};

/// Share of a data set that is never trained on: one part in ten.
const HELD_OUT_PART: usize = 10;

/// Training data or what is kept apart from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the model learns from.
    Training,
    /// What it never sees.
    HeldOut,
}

/// A source of samples.
#[derive(Debug, Clone)]
pub struct Batches {
    source: Source,
    seed: Seed,
}

#[derive(Debug, Clone)]
enum Source {
    /// Windows of a text: each byte is a token, the target is the next byte.
    Text { bytes: Vec<u8>, sequence: usize },
    /// Sequences of tokens in the order in which they are given, over and over, so many a step.
    Sequences { windows: Vec<Vec<u32>>, per_step: usize },
    /// Rows of features with a target each, drawn at random.
    Rows(Rows),
    /// Rows in the order in which they are written, over and over, so many a step.
    InOrder { rows: Rows, per_step: usize },
}

#[derive(Debug, Clone)]
struct Rows {
    columns: usize,
    features: Vec<f32>,
    targets: Vec<f32>,
    training: usize,
}

impl Batches {
    /// Windows of `sequence` bytes of a text; its last tenth is held out.
    pub fn of_text(bytes: Vec<u8>, sequence: usize, seed: Seed) -> Self {
        assert!(bytes.len() >= HELD_OUT_PART * (sequence + 2), "a text long enough to hold windows out");
        Batches { source: Source::Text { bytes, sequence }, seed }
    }

    /// Sequences of tokens, each one longer than the model's, in the order in which they are given, over
    /// and over, `per_step` a step; all of them are trained on, and the held-out loss is theirs.
    pub fn of_sequences(windows: Vec<Vec<u32>>, per_step: usize, seed: Seed) -> Self {
        assert!(!windows.is_empty() && per_step > 0, "sequences to learn from");
        Batches { source: Source::Sequences { windows, per_step }, seed }
    }

    /// The same data, its samples drawn from other streams.
    pub fn others(&self, name: &str) -> Self {
        Batches { source: self.source.clone(), seed: self.seed.child(name) }
    }

    /// The seed of the streams that samples are drawn from.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// Points in the order in which they are written, over and over, `per_step` a step; all of them are
    /// trained on, and the held-out loss is that of the same points.
    pub fn of_points(features: &[Vec<f32>], targets: Vec<f32>, per_step: usize, seed: Seed) -> Self {
        let columns = features[0].len();
        let rows = Rows { columns, features: features.concat(), training: targets.len(), targets };
        Batches { source: Source::InOrder { rows, per_step }, seed }
    }

    /// Cortez et al., "Modeling wine preferences by data mining from physicochemical properties",
    /// 2009: 1,599 red wines with 11 measurements each, graded from 0 to 10. Features are
    /// standardised by the mean and deviation of the training rows; every tenth row is held out.
    pub fn of_wine(seed: Seed) -> Self {
        let wine = winequality();
        let columns = wine.records.ncols();
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        for row in 0..wine.records.nrows() {
            if row % HELD_OUT_PART == HELD_OUT_PART - 1 { held.push(row) } else { kept.push(row) }
        }
        let training = kept.len();
        let mut features = Vec::new();
        let standard: Vec<(f64, f64)> = (0..columns)
            .map(|column| {
                let values: Vec<f64> = kept.iter().map(|&row| wine.records[(row, column)]).collect();
                mean_and_deviation(&values)
            })
            .collect();
        for &row in kept.iter().chain(&held) {
            for (column, (mean, deviation)) in standard.iter().enumerate() {
                features.push(((wine.records[(row, column)] - mean) / deviation) as f32);
            }
        }
        let targets = kept.iter().chain(&held).map(|&row| wine.targets[row] as f32).collect();
        Batches { source: Source::Rows(Rows { columns, features, targets, training }), seed }
    }

    /// Fills a micro-batch: samples `first..first + count` of a step's global batch. `inputs` gets the
    /// columns from `first_column` on, as many as it has room for; `targets` one number a token or row.
    pub(super) fn fill(
        &self,
        part: Part,
        step: StepIndex,
        wanted: Wanted,
        inputs: &mut [f32],
        targets: &mut [f32],
    ) {
        let Wanted { first, count, first_column } = wanted;
        let count = count as usize;
        let inputs = inputs.chunks_exact_mut(inputs.len() / count);
        let targets = targets.chunks_exact_mut(targets.len() / count);
        for (index, (x, y)) in inputs.zip(targets).enumerate() {
            let sample = u64::from(first) + index as u64;
            match &self.source {
                Source::Text { bytes, sequence } => {
                    let text = part.of_text(bytes);
                    let start = self.stream(part, step, sample).random_range(0..text.len() - sequence);
                    fill_window(&text[start..], x, y);
                }
                Source::Sequences { windows, per_step } => {
                    let window = &windows[(step.0 as usize * per_step + sample as usize) % windows.len()];
                    fill_tokens(window, x, y);
                }
                Source::Rows(rows) => {
                    let range = match part {
                        Part::Training => 0..rows.training,
                        Part::HeldOut => rows.training..rows.targets.len(),
                    };
                    let row = self.stream(part, step, sample).random_range(range);
                    rows.copy(row, first_column as usize, x, y);
                }
                Source::InOrder { rows, per_step } => {
                    let row = (step.0 as usize * per_step + sample as usize) % rows.training;
                    rows.copy(row, first_column as usize, x, y);
                }
            }
        }
    }

    fn stream(&self, part: Part, step: StepIndex, sample: u64) -> crate::rng::Stream {
        let part = match part {
            Part::Training => "training",
            Part::HeldOut => "held out",
        };
        self.seed.stream(&format!("{part} {step} sample {sample}"))
    }
}

/// Which samples are wanted, and which of their features.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) first_column: u32,
}

impl Part {
    /// The last tenth of a text is held out.
    fn of_text(self, bytes: &[u8]) -> &[u8] {
        let cut = bytes.len() - bytes.len() / HELD_OUT_PART;
        match self {
            Part::Training => &bytes[..cut],
            Part::HeldOut => &bytes[cut..],
        }
    }
}

/// Bytes as tokens, and for each the byte that follows it.
fn fill_window(text: &[u8], x: &mut [f32], y: &mut [f32]) {
    for ((token, next), pair) in x.iter_mut().zip(y).zip(text.windows(2)) {
        *token = f32::from(pair[0]);
        *next = f32::from(pair[1]);
    }
}

/// Tokens, and for each the one that follows it. A number of a token is exact in f32 up to 2²⁴.
fn fill_tokens(window: &[u32], x: &mut [f32], y: &mut [f32]) {
    for ((token, next), pair) in x.iter_mut().zip(y).zip(window.windows(2)) {
        *token = pair[0] as f32;
        *next = pair[1] as f32;
    }
}

impl Rows {
    fn copy(&self, row: usize, first_column: usize, x: &mut [f32], y: &mut [f32]) {
        x.copy_from_slice(&self.features[row * self.columns + first_column..][..x.len()]);
        y[0] = self.targets[row];
    }
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_the_same_whatever_micro_batch_it_is_in() {
        let text: Vec<u8> = (0..1000_u32).map(|i| (i % 251) as u8).collect();
        let batches = Batches::of_text(text, 8, Seed(3));
        let fill = |first, count: u32| {
            let (mut x, mut y) = (vec![0.0; 8 * count as usize], vec![0.0; 8 * count as usize]);
            let wanted = Wanted { first, count, first_column: 0 };
            batches.fill(Part::Training, StepIndex(5), wanted, &mut x, &mut y);
            (x, y)
        };
        let (x, y) = fill(0, 4);
        assert_eq!(fill(2, 2).0, x[16..]);
        assert_eq!(x[1..8], y[..7], "the target of a token is the token that follows");
    }

    #[test]
    fn held_out_windows_come_from_the_last_tenth() {
        let mut text = vec![b'a'; 900];
        text.extend(vec![b'b'; 100]);
        let batches = Batches::of_text(text, 8, Seed(3));
        for sample in 0..50 {
            let (mut x, mut y) = ([0.0; 8], [0.0; 8]);
            let wanted = Wanted { first: sample, count: 1, first_column: 0 };
            batches.fill(Part::HeldOut, StepIndex(0), wanted, &mut x, &mut y);
            assert!(x.iter().chain(&y).all(|&token| token == f32::from(b'b')));
            batches.fill(Part::Training, StepIndex(0), wanted, &mut x, &mut y);
            assert!(x.iter().chain(&y).all(|&token| token == f32::from(b'a')));
        }
    }

    /// Five points, two a step: steps 0, 1, 2 see points 0 1, 2 3, 4 0.
    #[test]
    fn points_come_in_order_over_and_over() {
        let features: Vec<Vec<f32>> = (0_u8..5).map(|i| vec![f32::from(i)]).collect();
        let batches = Batches::of_points(&features, vec![0.0; 5], 2, Seed(1));
        let (mut x, mut y) = ([0.0; 2], [0.0; 2]);
        let wanted = Wanted { first: 0, count: 2, first_column: 0 };
        batches.fill(Part::Training, StepIndex(2), wanted, &mut x, &mut y);
        assert_eq!(x, [4.0, 0.0]);
    }
}
