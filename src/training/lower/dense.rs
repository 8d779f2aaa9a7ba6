//! Forward and backward of dense layers and their losses.

use crate::ids::{BufferId, Id, LayerId};
use crate::model::{Model, Piece};
use crate::program::{Formula, Reduction};
use crate::training::lower::{Cell, Lowering, PerRank, Saved, kernels};

/// What a dense layer keeps: its input, and its output before the ReLU where it has one.
#[derive(Debug, Clone)]
pub(super) struct DenseSaved {
    x: PerRank,
    before_relu: Option<PerRank>,
}

/// What a loss keeps.
#[derive(Debug, Clone)]
pub(super) struct LossSaved {
    prediction: PerRank,
    targets: PerRank,
    /// Greatest logits and sums, of a classifier.
    softmax: Option<(PerRank, PerRank)>,
}

impl Lowering<'_> {
    /// Inputs on one rank, outputs, and whether a ReLU follows.
    fn dense_shape(&self, layer: LayerId) -> (u64, u64, bool) {
        match &self.plan.model {
            Model::Mlp(mlp) => {
                let (inputs, outputs) = mlp.layers()[layer.index()];
                (inputs, outputs, layer.index() + 1 < mlp.layers().len())
            }
            Model::Linear(linear) => (linear.start.len() as u64 / u64::from(self.plan.mesh.tensor), 1, false),
            Model::Gpt(_) | Model::Moe(_) => panic!("a GPT has no dense pieces"),
        }
    }

    pub(super) fn dense_forward(&mut self, cell: &Cell, piece: Piece, x: PerRank) -> (PerRank, Saved) {
        let Piece::Dense(layer) = piece else { panic!("a dense piece") };
        let (inputs, outputs, relu) = self.dense_shape(layer);
        let mut y = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            y.push(self.linear_forward(rank, &w, x[index], (inputs, outputs)));
        }
        // Where features are split over ranks, each has a partial sum of the prediction.
        self.emitter.reduce_tensor(cell, &y, self.plan.precision, Reduction::Sum);
        if !relu {
            return (y, Saved::Dense(DenseSaved { x, before_relu: None }));
        }
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let elements = self.emitter.elements(y[index]);
            let h = self.emitter.activation(rank, elements);
            let kernel = kernels::elementwise(elements, 1, 1, 1, self.plan.precision);
            self.emitter.run(rank, Formula::Relu, kernel, &[y[index]], &[h], &[]);
            out.push(h);
        }
        (out, Saved::Dense(DenseSaved { x, before_relu: Some(y) }))
    }

    pub(super) fn dense_backward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        dy: PerRank,
        saved: &DenseSaved,
    ) -> PerRank {
        let Piece::Dense(layer) = piece else { panic!("a dense piece") };
        let (inputs, outputs, _) = self.dense_shape(layer);
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let dy = match &saved.before_relu {
                None => dy[index],
                Some(before) => self.relu_backward(rank, dy[index], before[index]),
            };
            // Nobody asks for the gradient of the data.
            if layer.index() == 0 {
                self.linear_weight(rank, &w, dy, saved.x[index], (inputs, outputs));
            } else {
                out.push(self.linear_backward(rank, &w, dy, saved.x[index], (inputs, outputs)));
            }
        }
        out
    }

    fn relu_backward(&mut self, rank: crate::ids::Rank, dy: BufferId, x: BufferId) -> BufferId {
        let elements = self.emitter.elements(x);
        let dx = self.emitter.activation(rank, elements);
        let kernel = kernels::elementwise(elements, 2, 1, 1, self.plan.precision);
        self.emitter.run(rank, Formula::ReluInput, kernel, &[dy, x], &[dx], &[]);
        dx
    }

    /// Cross-entropy over the classes of an MLP; mean squared error of a linear map.
    pub(super) fn loss_forward(&mut self, cell: &Cell, x: PerRank, targets: &PerRank) -> (PerRank, Saved) {
        let rows = self.rows();
        let softmax = match &self.plan.model {
            Model::Mlp(mlp) => Some(self.cross_entropy_forward(cell, &x, targets, mlp.classes, rows)),
            _ => {
                let scale = self.loss_scale();
                for (index, &rank) in cell.ranks.iter().enumerate() {
                    let loss = self.loss_buffer(rank);
                    let reads = [x[index], targets[index]];
                    self.emitter.run(rank, Formula::SquaredError { scale }, None, &reads, &[], &[loss]);
                }
                None
            }
        };
        (PerRank::new(), Saved::Loss(LossSaved { prediction: x, targets: targets.clone(), softmax }))
    }

    pub(super) fn loss_backward(&mut self, cell: &Cell, saved: &LossSaved) -> PerRank {
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let (x, targets) = (saved.prediction[index], saved.targets[index]);
            out.push(match (&self.plan.model, &saved.softmax) {
                (Model::Mlp(mlp), Some((max, sums))) => {
                    let classes = mlp.classes;
                    self.cross_entropy_backward(rank, 0, [x, targets, max[index], sums[index]], classes)
                }
                _ => {
                    let elements = self.emitter.elements(x);
                    let dx = self.emitter.activation(rank, elements);
                    let formula = Formula::SquaredErrorInput { scale: self.loss_scale() };
                    let kernel = kernels::elementwise(elements, 2, 1, 2, self.plan.precision);
                    self.emitter.run(rank, formula, kernel, &[x, targets], &[dx], &[]);
                    dx
                }
            });
        }
        out
    }
}
