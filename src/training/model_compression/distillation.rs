//! A smaller model learns from the trained one.
//!
//! Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2: the student's loss is
//! the divergence from the teacher's softened answers and the loss on the targets, weighted. A student of half as
//! many layers is that of Sanh et al., "DistilBERT", 2019, section 2 (which starts from the teacher's weights; this
//! one starts anew).

use serde::{Deserialize, Serialize};

use crate::model::{Gpt, Mlp, Model};
use crate::numeric::layers::distillation::Distils;
use crate::numeric::values::Form;
use crate::training::model_compression::{Kept, ModelCompression, out_of};

/// Really trains the student, on the batches that the teacher learned from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Distillation {
    /// The student; the teacher with half as many layers unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub student: Option<Model>,
    /// Steps that it learns for; as many as the teacher unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// T, by which logits are divided; Hinton et al. find 2.5 to 4 best for small students.
    pub temperature: f32,
    /// α, the share of the teacher's answers in the loss.
    pub alpha: f32,
}

impl Default for Distillation {
    fn default() -> Self {
        Distillation { student: None, steps: None, temperature: 2.0, alpha: 0.5 }
    }
}

impl Distillation {
    /// The student of a teacher.
    pub fn student_of(&self, teacher: &Model) -> Model {
        self.student.clone().unwrap_or_else(|| match teacher {
            Model::Gpt(gpt) => Model::Gpt(Gpt { layers: (gpt.layers / 2).max(1), ..gpt.clone() }),
            Model::Mlp(mlp) => {
                let hidden = mlp.hidden[..mlp.hidden.len() / 2].to_vec();
                Model::Mlp(Mlp { hidden, ..mlp.clone() })
            }
            other => other.clone(),
        })
    }

    /// The student of a teacher of another size, in the same proportions.
    pub fn student_at(&self, teacher: &Model, size: &Model) -> Model {
        let (Model::Gpt(small), Model::Gpt(from), Model::Gpt(to)) = (self.student_of(teacher), teacher, size)
        else {
            return self.student_of(size);
        };
        let scaled = |part: u64, of: u64, size: u64| (part as f64 / of as f64 * size as f64).round() as u64;
        // Heads keep their width, so that they divide what is scaled.
        let head = to.head_dim();
        let hidden = (scaled(small.hidden, from.hidden, to.hidden) / head).max(1) * head;
        Model::Gpt(Gpt {
            layers: scaled(small.layers, from.layers, to.layers).max(1),
            hidden,
            heads: hidden / head,
            ffn_hidden: Some(scaled(small.ffn(), from.ffn(), to.ffn()).max(1)),
            ..to.clone()
        })
    }

    /// How it learns.
    pub fn distils(&self) -> Distils {
        Distils { temperature: self.temperature, alpha: self.alpha }
    }
}

impl ModelCompression for Distillation {
    fn label(&self) -> String {
        "distillation".into()
    }
    fn kept(&self, _rows: u64, _columns: u64) -> Kept {
        Kept::Whole
    }
    fn compress(&self, _matrix: &mut [f32], _columns: usize) -> Option<Form> {
        None
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        let positive = self.temperature > 0.0 && self.temperature.is_finite();
        out_of("temperature", positive, "a temperature is above 0")
            .or_else(|| out_of("alpha", (0.0..=1.0).contains(&self.alpha), "a share is from 0 to 1"))
            .or_else(|| out_of("steps", self.steps != Some(0), "a student learns for at least one step"))
    }
    fn distils(&self) -> Option<&Distillation> {
        Some(self)
    }
}
