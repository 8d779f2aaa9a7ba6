//! Making a trained model smaller: what it then costs to keep and to run, and what it forgets.
//!
//! A method says in which [`Kept`] form it keeps a matrix of weights (from its shape alone, so that bytes and
//! kernels of a model of any size follow), and really brings a trained matrix into that form. A distillation
//! trains another, smaller model instead. [`study`] carries methods out on a trained model and measures;
//! [`forward`] is the inference pass whose kernels are timed.
//!
//! What is compressed are the matrices of transformer blocks and of dense layers, as in the papers below;
//! embeddings, norms, biases and a GPT's head stay as they are.
//!
//! To add a method, write its file and list it here.

mod distillation;
pub mod forward;
mod int4;
mod int8;
mod kept;
mod low_rank;
mod magnitude;
mod n_m;
pub mod study;

pub use distillation::Distillation;
pub use kept::Kept;
pub use study::{Compressed, Cost, Costs, Trained, study};

use crate::hardware::Precision;
use crate::model::{Model, Parameter, Piece};
use crate::numeric::values::Form;
use crate::registry;

registry! {
    /// A member of `methods:` of `model_compression:`.
    pub enum ModelCompressionSpec: ModelCompression {
        /// the smallest numbers of each matrix become nought, wherever they are (Han et al.)
        "magnitude" => Magnitude(magnitude::Magnitude),
        /// n of every m numbers along a sum are kept, as sparse tensor cores want them (Mishra et al.)
        "n_m" => NM(n_m::NM),
        /// weights and their inputs in 8-bit integers, multiplied as such (Dettmers et al.)
        "int8" => Int8(int8::Int8),
        /// weights in 4-bit integers by groups, unpacked when they are multiplied (Frantar et al.)
        "int4" => Int4(int4::Int4),
        /// each matrix as the product of two thin ones, by its singular values
        "low_rank" => LowRank(low_rank::LowRank),
        /// a smaller model learns from the trained one (Hinton et al.)
        "distillation" => Distillation(Distillation),
    }
}

/// Makes a trained model smaller.
///
/// Contract: [`kept`](Self::kept) depends on the shape alone; after [`compress`](Self::compress) a matrix is in
/// that form, so that compressing it again changes nothing (a rank and noughts exactly, integers to rounding).
pub trait ModelCompression {
    /// What it is called with its parameters, in few words.
    fn label(&self) -> String;

    /// In which form a matrix is kept.
    fn kept(&self, rows: u64, columns: u64) -> Kept;

    /// Brings a matrix (row by row; a row for each input) into its form. Returns what keeps it there while it
    /// is trained on; nothing where training would destroy it.
    fn compress(&self, matrix: &mut [f32], columns: usize) -> Option<Form>;

    /// What is wrong with its parameters: the key, and what it may be.
    fn mistake(&self) -> Option<(&'static str, String)> {
        None
    }

    /// The same method for a model of another width: `share` is by how much it is wider.
    fn widened(&self, _share: f64) -> Option<ModelCompressionSpec> {
        None
    }

    /// The student, where another model is trained instead.
    fn distils(&self) -> Option<&Distillation> {
        None
    }
}

/// `model_compression:` of a training workload, checked.
#[derive(Debug, Clone)]
pub struct Methods {
    /// What is tried, one after the other, each on the trained model.
    pub methods: Vec<ModelCompressionSpec>,
    /// Steps of training after it, with the form kept.
    pub fine_tune: u32,
    /// What weights and activations that are not compressed are kept in when the model is used.
    pub precision: Precision,
    /// Sequences (or groups of rows) that are worked on at once.
    pub batch: u64,
    /// A model under the same methods whose time and bytes are told besides.
    pub at_size: Option<Model>,
}

/// Whether a parameter is one that methods compress.
pub fn compresses(piece: Piece, parameter: &Parameter) -> bool {
    matches!(piece, Piece::Block(_) | Piece::Dense(_)) && parameter.rows > 1 && parameter.columns > 1
}

/// Every parameter of a model, and in which form a method keeps it.
pub fn forms<'m>(
    model: &'m Model,
    method: Option<&'m dyn ModelCompression>,
) -> impl Iterator<Item = (Parameter, Kept)> + 'm {
    model.pieces().into_iter().flat_map(move |piece| {
        model.parameters(piece).into_iter().map(move |parameter| {
            let kept = match method.filter(|_| compresses(piece, &parameter)) {
                Some(method) => method.kept(parameter.rows, parameter.columns),
                None => Kept::Whole,
            };
            (parameter, kept)
        })
    })
}

/// What is wrong with a number that is to be within a range.
fn out_of(key: &'static str, fits: bool, what: &str) -> Option<(&'static str, String)> {
    (!fits).then(|| (key, what.to_owned()))
}
