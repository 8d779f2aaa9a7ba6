//! How experts were used: numbers for the summary, rows for the table, figures.

use serde::Serialize;

use crate::metrics::ExpertUse;
use crate::report::figure::{Axis, Bar, Columns, Heatmap, Hue, Line, LineChart, Quantity, StackedBars, Svg};
use crate::report::table::grouped;

/// How experts were used. A token counts once for each expert that it meets.
#[derive(Debug, Clone, Serialize)]
pub struct ExpertRows {
    /// Tokens that each expert took in the whole run, over all layers.
    pub tokens_per_expert: Vec<u64>,
    /// Tokens that each had no room for.
    pub dropped_per_expert: Vec<u64>,
    /// Those of all experts.
    pub dropped_tokens: u64,
    /// The same as a share of all.
    pub dropped_fraction: f64,
    /// Of each step: the busiest expert of a layer over the mean of its experts, mean over layers.
    pub busiest_over_mean: Vec<f64>,
    /// Of each step: the load-balancing loss before its coefficient, 1 where all is even; null where nothing is
    /// computed.
    pub load_balancing_loss: Option<Vec<f64>>,
    /// Layers that have experts.
    pub layers: Vec<u32>,
    /// Tokens that each expert of each of them took in the last step.
    pub tokens_per_layer_and_expert: Vec<Vec<u64>>,
}

impl ExpertRows {
    /// From how they were used.
    pub fn of(used: &ExpertUse) -> Self {
        ExpertRows {
            tokens_per_expert: used.taken.clone(),
            dropped_per_expert: used.dropped.clone(),
            dropped_tokens: used.dropped.iter().sum(),
            dropped_fraction: used.dropped_share(),
            busiest_over_mean: used.busiest.clone(),
            load_balancing_loss: used.balance.clone(),
            layers: used.layers.iter().map(|layer| layer.0).collect(),
            tokens_per_layer_and_expert: used.last_step.clone(),
        }
    }

    /// Rows of the table.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let [least, most] = [self.tokens_per_expert.iter().min(), self.tokens_per_expert.iter().max()];
        let counts = format!("{} to {}", grouped(*least.unwrap_or(&0)), grouped(*most.unwrap_or(&0)));
        let mut rows = vec![("tokens per expert".to_owned(), format!("{counts} in the whole run"))];
        let first_to_last = |values: &[f64]| match values {
            [first, .., last] => format!("{first:.3} -> {last:.3}"),
            [only] => format!("{only:.3}"),
            [] => String::new(),
        };
        rows.push(("  busiest over mean".to_owned(), first_to_last(&self.busiest_over_mean)));
        if let Some(balance) = &self.load_balancing_loss {
            rows.push(("  load-balancing loss".to_owned(), first_to_last(balance)));
        }
        let share = self.dropped_fraction * 100.0;
        rows.push(("  dropped".to_owned(), format!("{} ({share:.2} %)", grouped(self.dropped_tokens))));
        rows
    }
}

/// Tokens of each expert over the run: those it took, and those it had no room for.
pub(super) fn tokens(used: &ExpertUse) -> Svg {
    let counts = used.taken.iter().zip(&used.dropped).enumerate();
    let bar = |(expert, (&taken, &dropped)): (usize, (&u64, &u64))| Bar {
        name: format!("expert {expert}"),
        values: vec![taken as f64, dropped as f64],
    };
    StackedBars {
        title: "Tokens of each expert in the whole run, all layers".into(),
        value: Axis::new("tokens, once for each expert that they meet", Quantity::Number),
        parts: vec![("taken".into(), Hue::Series(0)), ("dropped".into(), Hue::Series(1))],
        bars: counts.map(bar).collect(),
        best: None,
    }
    .draw()
}

/// Tokens of each expert of each layer in the last step, over the mean of the layer.
pub(super) fn layers(used: &ExpertUse) -> Svg {
    let shares = |counts: &Vec<u64>| -> Vec<f64> {
        let mean = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
        counts.iter().map(|&count| count as f64 / mean.max(1.0)).collect()
    };
    let names = (0..used.taken.len()).map(|expert| expert.to_string()).collect();
    Heatmap {
        title: "Tokens that experts took in the last step, over the mean of their layer".into(),
        columns: Columns::Named("expert".into(), names),
        row_label: String::new(),
        rows: used.layers.iter().map(ToString::to_string).collect(),
        values: used.last_step.iter().map(shares).collect(),
        value: Axis::new("over the mean", Quantity::Number).from_zero(),
    }
    .draw()
}

/// How uneven the load was from step to step.
pub(super) fn balance(used: &ExpertUse) -> Option<Svg> {
    if used.busiest.len() < 2 {
        return None;
    }
    let points =
        |values: &[f64]| -> Vec<(f64, f64)> { (1..).map(f64::from).zip(values.iter().copied()).collect() };
    let mut series = vec![Line::new("busiest expert over the mean", points(&used.busiest))];
    series.extend(used.balance.as_ref().map(|balance| Line::new("load-balancing loss", points(balance))));
    let chart = LineChart {
        title: "How uneven the load of experts was (1 is even)".into(),
        x: Axis::new("step", Quantity::Number),
        y: Axis::new("over an even load", Quantity::Number),
        series,
        references: Vec::new(),
    };
    Some(chart.draw())
}
