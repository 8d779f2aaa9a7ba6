//! `model_compression:` of a training workload: what may be written, and how it is checked.

use serde::{Deserialize, Serialize};

use crate::config::check::Check;
use crate::config::training::TrainingFile;
use crate::hardware::{DeviceSpec, Precision};
use crate::model::Model;
use crate::training::TrainingPlan;
use crate::training::model_compression::{Methods, ModelCompressionSpec};

/// What is tried on the trained model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCompressionKeys {
    /// Methods, each tried by itself; all of them, as their papers have them, unless given.
    #[serde(default = "all")]
    pub methods: Vec<ModelCompressionSpec>,
    /// Steps that compressed models are trained on for, in their form.
    #[serde(default)]
    pub fine_tune: u32,
    /// The format in which the model is used; the one that it is trained in unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Sequences that are worked on at once when the model is used.
    #[serde(default = "one")]
    pub batch: u64,
    /// A larger model, whose time and bytes under the same methods are told besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_size: Option<Model>,
}

fn all() -> Vec<ModelCompressionSpec> {
    let member = |name: &&str| ModelCompressionSpec::from_name(name).expect("a listed method");
    ModelCompressionSpec::NAMES.iter().map(member).collect()
}

fn one() -> u64 {
    1
}

/// Formats in which models can be computed and used.
const USED: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

impl Check<'_> {
    /// The methods, where they can be tried.
    pub(super) fn model_compression(&mut self, file: &TrainingFile, plan: &TrainingPlan) -> Option<Methods> {
        let keys = file.model_compression.as_ref()?;
        let key = "model_compression";
        if !file.numeric {
            let why = "nothing is computed (`numeric: false`), so there is no trained model";
            self.wrong(key, why, "set `numeric: true`, or leave the key out");
        }
        if matches!(file.model, Model::Linear(_)) {
            self.wrong(key, "a linear map has no matrix that could be made smaller", "use a gpt or an mlp");
            return None;
        }
        let precision = keys.precision.unwrap_or(file.training.precision);
        if !USED.contains(&precision) {
            let why = format!("a model is used in f32, bf16 or fp16, not in {precision}");
            self.wrong(&format!("{key}.precision"), why, "int8 and int4 are methods");
        }
        if keys.batch == 0 {
            self.wrong(&format!("{key}.batch"), "at least one sequence is worked on", "");
        }
        for (at, method) in keys.methods.iter().enumerate() {
            self.method(&format!("{key}.methods[{at}]"), method, &file.model);
        }
        if let Some(size) = &keys.at_size {
            self.model_at(&format!("{key}.at_size"), size);
            if std::mem::discriminant(size) != std::mem::discriminant(&file.model) {
                let why = "the model that is timed is of another kind than the one that is trained";
                self.wrong(&format!("{key}.at_size"), why, "");
            }
        }
        let device: &DeviceSpec = &plan.topology.devices()[plan.placement[crate::ids::Rank(0)]].spec;
        for used in [precision, Precision::I8] {
            let wants = used == precision || keys.methods.iter().any(|method| method.name() == "int8");
            if let Err(why) = file.fidelity.compute.admits(device, used)
                && wants
            {
                self.wrong(key, why.to_string(), "");
            }
        }
        if plan.topology.devices().len() > 1 {
            self.notes.push(format!(
                "compressed models are used on one device, `{}`, whatever the run is spread over",
                device.name
            ));
        }
        Some(Methods {
            methods: keys.methods.clone(),
            fine_tune: keys.fine_tune,
            precision,
            batch: keys.batch,
            at_size: keys.at_size.clone(),
        })
    }

    fn method(&mut self, key: &str, method: &ModelCompressionSpec, model: &Model) {
        if let Some((wrong, why)) = method.mistake() {
            self.wrong(&format!("{key}.{}.{wrong}", method.name()), why, "");
        }
        let Some(student) = method.distils().and_then(|distillation| distillation.student.as_ref()) else {
            return;
        };
        let key = format!("{key}.distillation.student");
        self.model_at(&key, student);
        let (fits, what) = match (model, student) {
            (Model::Gpt(teacher), Model::Gpt(student)) => (
                (teacher.sequence, teacher.vocabulary) == (student.sequence, student.vocabulary),
                "a student reads its teacher's sequences and answers with its teacher's tokens",
            ),
            (Model::Mlp(teacher), Model::Mlp(student)) => (
                (teacher.inputs, teacher.classes) == (student.inputs, student.classes),
                "a student has its teacher's inputs and classes",
            ),
            _ => (false, "a student is of its teacher's kind"),
        };
        if !fits {
            self.wrong(&key, what, "");
        }
    }
}
