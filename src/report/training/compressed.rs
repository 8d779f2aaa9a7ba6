//! What making a trained model smaller came to: one table of time, bytes, memory and loss, and its figures.

use serde::Serialize;

use crate::report::figure::{Axis, Join, Point, PointGroup, Quantity, Scatter, Svg};
use crate::report::table::{grid, grouped};
use crate::training::TrainingPlan;
use crate::training::model_compression::{Compressed, Costs, Methods};
use crate::units::{Bytes, SimDuration};

/// Every method with what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct ModelCompressed {
    /// The device on which the models are used.
    pub device: String,
    /// The format of what is not compressed.
    pub precision: &'static str,
    /// Sequences that are worked on at once.
    pub batch: u64,
    /// Steps that models were trained on for in their compressed form.
    pub fine_tune_steps: u32,
    /// Parameters of the model that times are told of besides; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_size_parameters: Option<u64>,
    /// The model as trained, then every method.
    pub methods: Vec<MethodRow>,
}

/// What came of a method.
#[derive(Debug, Clone, Serialize)]
pub struct MethodRow {
    /// The method with its parameters.
    pub name: String,
    /// Held-out loss as soon as the model is compressed.
    pub held_out_loss: f64,
    /// The same after training in the compressed form; null where there was none.
    pub held_out_loss_fine_tuned: Option<f64>,
    /// Simulated time of that training, or of the student's, on one device.
    pub training_s: f64,
    /// What the model costs.
    #[serde(flatten)]
    pub costs: CostRow,
    /// What a model of the other size costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_size: Option<CostRow>,
}

/// What a model costs to keep and to run.
#[derive(Debug, Clone, Serialize)]
pub struct CostRow {
    /// Numbers that are left.
    pub numbers: u64,
    /// What they take where they are stored, places and scales included.
    pub stored_bytes: u64,
    /// Reading sequences from their beginning.
    pub prefill_s: f64,
    /// What the device holds at the fullest moment of it.
    pub prefill_memory_bytes: u64,
    /// Adding a token to each sequence.
    pub decode_s: f64,
    /// What the device holds at the fullest moment of it.
    pub decode_memory_bytes: u64,
}

impl CostRow {
    fn of(costs: &Costs) -> Self {
        CostRow {
            numbers: costs.numbers,
            stored_bytes: costs.stored.get(),
            prefill_s: costs.prefill.time.seconds(),
            prefill_memory_bytes: costs.prefill.memory.get(),
            decode_s: costs.decode.time.seconds(),
            decode_memory_bytes: costs.decode.memory.get(),
        }
    }
}

impl ModelCompressed {
    /// Sums up what methods came to.
    pub fn of(plan: &TrainingPlan, methods: &Methods, rows: &[Compressed]) -> Self {
        let row = |row: &Compressed| MethodRow {
            name: row.name.clone(),
            held_out_loss: row.loss,
            held_out_loss_fine_tuned: row.tuned,
            training_s: row.training.seconds(),
            costs: CostRow::of(&row.costs),
            at_size: row.at_size.as_ref().map(CostRow::of),
        };
        ModelCompressed {
            device: plan.topology.devices()[plan.placement[crate::ids::Rank(0)]].spec.name.clone(),
            precision: methods.precision.name(),
            batch: methods.batch,
            fine_tune_steps: methods.fine_tune,
            at_size_parameters: methods.at_size.as_ref().map(|model| model.parameter_count()),
            methods: rows.iter().map(row).collect(),
        }
    }

    /// The table, or two where a model of another size is told of besides.
    pub(super) fn told(&self) -> String {
        let mut text =
            format!("\nthe trained model made smaller, used in {} on {}\n", self.precision, self.device);
        let tuned = self.fine_tune_steps > 0;
        let mut heading = columns().to_vec();
        heading.push("loss");
        let after = format!("after {} steps", self.fine_tune_steps);
        heading.extend(tuned.then_some(after.as_str()));
        let rows = self.methods.iter().map(|row| {
            let mut cells = cells(&row.name, &row.costs, &self.methods[0].costs);
            cells.push(format!("{:.4}", row.held_out_loss));
            let after = row.held_out_loss_fine_tuned.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
            cells.extend(tuned.then_some(after));
            cells
        });
        text += &grid(&heading, &rows.collect::<Vec<_>>());
        text += NOTES;
        let first = self.methods.first().and_then(|row| row.at_size.as_ref());
        if let (Some(first), Some(parameters)) = (first, self.at_size_parameters) {
            text += &format!("\na model of {} parameters under the same methods\n", grouped(parameters));
            let rows =
                self.methods.iter().filter_map(|row| Some(cells(&row.name, row.at_size.as_ref()?, first)));
            text += &grid(&columns(), &rows.collect::<Vec<_>>());
            text += "  ranks and students grow in proportion; losses are those of the trained model alone\n";
        }
        text
    }

    /// Loss against bytes, and against the time of each pass: file names, titles, captions and figures.
    pub(super) fn figures(&self) -> Vec<(&'static str, &'static str, String, Svg)> {
        let sized = self.at_size_parameters.is_some();
        let of = if sized { "a model of the larger size" } else { "the model" };
        let time = |pick: fn(&CostRow) -> f64| {
            move |row: &MethodRow| pick(row.at_size.as_ref().filter(|_| sized).unwrap_or(&row.costs))
        };
        vec![
            (
                "compressed_bytes",
                "Loss against bytes",
                "Held-out loss of the trained model in every form against what it takes where it is stored, \
                 bitmaps, places and scales included."
                    .into(),
                self.scatter("bytes stored", Quantity::Bytes, &|row| row.costs.stored_bytes as f64),
            ),
            (
                "compressed_decode",
                "Loss against the time of a token",
                format!(
                    "Held-out loss of the trained model against the time in which {of} adds a token to each of {} \
                     sequences: few rows meet every weight, and reading the weights decides.",
                    self.batch
                ),
                self.scatter("time of a token", Quantity::Time, &time(|costs| costs.decode_s)),
            ),
            (
                "compressed_prefill",
                "Loss against the time of a prompt",
                format!(
                    "Held-out loss of the trained model against the time in which {of} reads whole sequences: many \
                     rows meet every weight, and multiplying decides."
                ),
                self.scatter("time of a prompt", Quantity::Time, &time(|costs| costs.prefill_s)),
            ),
        ]
    }

    fn scatter(&self, label: &str, quantity: Quantity, at: &dyn Fn(&MethodRow) -> f64) -> Svg {
        let group = |name: String, loss: &dyn Fn(&MethodRow) -> Option<f64>, labelled: bool| PointGroup {
            name,
            hue: None,
            points: self
                .methods
                .iter()
                .filter_map(|row| {
                    let label = if labelled { row.name.clone() } else { String::new() };
                    Some(Point { x: at(row), y: loss(row)?, label })
                })
                .collect(),
            join: Join::Apart,
        };
        let mut groups = vec![group("as compressed".into(), &|row| Some(row.held_out_loss), true)];
        if self.fine_tune_steps > 0 {
            let name = format!("after {} steps in that form", self.fine_tune_steps);
            groups.push(group(name, &|row| row.held_out_loss_fine_tuned, false));
        }
        let chart = Scatter {
            title: format!("Held-out loss against {label}"),
            x: Axis::new(label, quantity).from_zero(),
            y: Axis::new("held-out loss (nats)", Quantity::Number),
            groups,
            curves: Vec::new(),
            references: Vec::new(),
            diagonal: None,
        };
        chart.draw()
    }
}

const NOTES: &str = "  stored: with bitmaps, places and scales; memory: of the prompt's pass, weights as they are multiplied with\n  \
     prompt: one whole sequence of each of the batch; token: one more of each, the sequence before it kept\n  \
     magnitude: dense kernels multiply with its noughts, so nothing is gained in time or in memory\n";

fn columns() -> [&'static str; 6] {
    ["method", "numbers", "stored", "memory", "prompt", "token"]
}

/// A row; times with how many times shorter they are than those of the first.
fn cells(name: &str, costs: &CostRow, first: &CostRow) -> Vec<String> {
    let time = |seconds: f64, first: f64| {
        format!("{} ({:.2}x)", SimDuration::from_seconds(seconds), first / seconds)
    };
    vec![
        name.to_owned(),
        grouped(costs.numbers),
        Bytes(costs.stored_bytes).to_string(),
        Bytes(costs.prefill_memory_bytes).to_string(),
        time(costs.prefill_s, first.prefill_s),
        time(costs.decode_s, first.decode_s),
    ]
}
