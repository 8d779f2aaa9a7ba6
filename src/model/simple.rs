//! Small models: dense layers for classification, one linear map for regression.

use serde::{Deserialize, Serialize};

use crate::ids::{Id, LayerId};
use crate::model::{Init, Parameter, Piece, Split};

/// Dense layers with ReLU between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// Input features.
    pub inputs: u64,
    /// Widths of the hidden layers.
    pub hidden: Vec<u64>,
    /// Classes.
    pub classes: u64,
}

impl Mlp {
    /// Inputs and outputs of each dense layer.
    pub fn layers(&self) -> Vec<(u64, u64)> {
        let widths: Vec<u64> =
            std::iter::once(self.inputs).chain(self.hidden.iter().copied()).chain([self.classes]).collect();
        widths.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    pub(super) fn pieces(&self) -> Vec<Piece> {
        let dense = (0..self.layers().len()).map(|layer| Piece::Dense(LayerId::from_index(layer)));
        dense.chain([Piece::Loss]).collect()
    }

    pub(super) fn parameters(&self, piece: Piece) -> Vec<Parameter> {
        let Piece::Dense(layer) = piece else { return Vec::new() };
        let (inputs, outputs) = self.layers()[layer.index()];
        // He et al., "Delving Deep into Rectifiers", 2015, equation 10: √(2/inputs) before a ReLU. The
        // logits start smaller, with the deviation of PyTorch's `Linear` (uniform within 1/√inputs), so
        // that no class is favoured before anything is learned.
        let last = layer.index() + 1 == self.layers().len();
        let deviation = (if last { 1.0 / 3.0 } else { 2.0 } / inputs as f32).sqrt();
        vec![
            Parameter::matrix(format!("{layer} weight"), inputs, outputs, Split::Whole, deviation),
            Parameter::vector(format!("{layer} bias"), outputs, Split::Whole, 0.0),
        ]
    }
}

/// y = Σ wᵢ·xᵢ. A constant term is a feature that is always 1, so that tensor parallelism can give
/// each weight a device of its own and sum the partial results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// The weights at the start, one a feature.
    pub start: Vec<f32>,
}

impl Linear {
    pub(super) fn parameters(&self, piece: Piece) -> Vec<Parameter> {
        if piece != Piece::Dense(LayerId(0)) {
            return Vec::new();
        }
        let init = Init::Values(self.start.clone());
        let weights = Parameter::matrix("weights", self.start.len() as u64, 1, Split::Rows, 0.0);
        vec![Parameter { init, ..weights }]
    }
}
