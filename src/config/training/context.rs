//! Whether ranks can share the sequences of a model, and halves of micro-batches hide exchanges.

use crate::config::check::{Check, divisors};
use crate::config::training::file::TrainingFile;
use crate::model::Model;
use crate::training::TrainingPlan;
use crate::training::context::Travels;

impl Check<'_> {
    /// Whether ranks can share the sequences of the model.
    pub(super) fn context(&mut self, file: &TrainingFile) {
        let (context, scheme) = (file.parallel.context, &file.parallel.context_scheme);
        let Model::Gpt(gpt) = &file.model else {
            if context > 1 {
                self.wrong("parallel.context", "only a gpt has sequences that ranks can share", "");
            }
            return;
        };
        if context == 1 {
            return;
        }
        if context > u32::from(u16::MAX) {
            self.wrong("parallel.context", format!("at most {} ranks share a sequence", u16::MAX), "");
            return;
        }
        let divisor = u64::from(scheme.order().divisor(context));
        if !gpt.sequence.is_multiple_of(divisor) {
            let why = format!(
                "a sequence of {} tokens does not divide into {divisor} parts, {} for each of {context} context ranks",
                gpt.sequence,
                divisor / u64::from(context),
            );
            self.wrong("parallel.context", why, &format!("into these it would: {}", divisors(gpt.sequence)));
        }
        let each = u64::from(context) * u64::from(file.parallel.tensor);
        if scheme.travels() == Travels::HeadsAcross && each > 0 && !gpt.heads.is_multiple_of(each) {
            let why = format!(
                "`{}` gives each rank whole heads, and context {context} × tensor {} ranks do not divide {} heads",
                scheme.name(),
                file.parallel.tensor,
                gpt.heads
            );
            let cure = format!("these would: {}; or use `context_scheme: ring`", divisors(gpt.heads));
            self.wrong("parallel.context", why, &cure);
        }
        if scheme.travels() == Travels::KeysAround && file.software.is_eager() {
            let why = format!(
                "`{}` merges blocks by their log-sum-exp, which unfused attention does not give",
                scheme.name()
            );
            self.wrong("software", why, "use `software: fused`, or `context_scheme: ulysses`");
        }
    }

    /// Whether micro-batches have halves to overlap.
    pub(super) fn overlap(&mut self, plan: &TrainingPlan) {
        if !plan.tensor_overlap {
            return;
        }
        let key = "parallel.tensor_overlap";
        if plan.mesh.tensor == 1 {
            self.notes.push("one tensor rank exchanges nothing: `tensor_overlap` changes nothing".to_owned());
        } else if !matches!(plan.model, Model::Gpt(_)) {
            self.wrong(key, "only a gpt works through its micro-batches in halves", "");
        } else if !plan.micro_batch.is_multiple_of(2) {
            let why = format!("micro-batches of {} samples have no two halves", plan.micro_batch);
            self.wrong(key, why, "make `training.micro_batch` even");
        }
    }
}
