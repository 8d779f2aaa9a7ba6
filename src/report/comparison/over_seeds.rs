//! Variants of a workload side by side, each run with the same seeds: means with their intervals, and
//! differences to the first variant, seed by seed.
//!
//! It knows no trade: whoever compares says what is measured and hands over the numbers.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde::Serialize;

use crate::metrics::Interval;
use crate::report::html::{Block, Section, page};
use crate::report::table::words;
use crate::report::writer::Artefact;

/// Something that is measured in every run.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Its key in JSON, with its unit.
    pub key: &'static str,
    /// Its heading.
    pub name: &'static str,
    /// How it is written.
    pub write: fn(f64) -> String,
    /// Whether less of it is better.
    pub less_is_better: bool,
}

/// One variant.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The settings that make it different.
    pub settings: Vec<String>,
    /// By measure, in order: a number for each seed. Nothing when it could not be run.
    pub values: Result<Vec<Vec<f64>>, String>,
}

/// Variants side by side.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What it is called.
    pub name: String,
    /// The seeds, the same for every variant.
    pub seeds: Vec<u64>,
    /// What is measured.
    pub measures: Vec<Measure>,
    /// The variants; the others are held against the first.
    pub variants: Vec<Variant>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A comparison for machines.
#[derive(Debug, Clone, Serialize)]
pub struct ComparisonSummary {
    name: String,
    seeds: Vec<u64>,
    variants: Vec<VariantSummary>,
    notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct VariantSummary {
    settings: Vec<String>,
    failure: Option<String>,
    measures: IndexMap<&'static str, Measured>,
    /// `this − first`, seed by seed; absent for the first.
    against_first: Option<IndexMap<&'static str, Difference>>,
}

#[derive(Debug, Clone, Serialize)]
struct Measured {
    #[serde(flatten)]
    interval: Interval,
    by_seed: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Difference {
    #[serde(flatten)]
    interval: Interval,
    /// Relative to the first variant's mean.
    relative: Option<Interval>,
    significant: bool,
}

impl Variant {
    /// Its settings without the folders of their keys: `scheduler=fifo`.
    pub fn name(&self) -> String {
        let value = |setting: &String| {
            let (key, value) = setting.split_once('=').unwrap_or(("", setting));
            format!("{}={value}", key.rsplit('.').next().unwrap_or(key))
        };
        if self.settings.is_empty() {
            return "as written".to_owned();
        }
        self.settings.iter().map(value).collect::<Vec<_>>().join(" ")
    }
}

impl Comparison {
    /// The comparison for machines.
    pub fn summary(&self) -> ComparisonSummary {
        let first = self.variants.first().and_then(|variant| variant.values.as_ref().ok());
        let of = |(at, variant): (usize, &Variant)| {
            let values = variant.values.as_ref().ok();
            let measured =
                |values: &Vec<f64>| Measured { interval: Interval::of(values), by_seed: values.clone() };
            let keys = || self.measures.iter().map(|measure| measure.key);
            let against = first.filter(|_| at > 0).zip(values);
            VariantSummary {
                settings: variant.settings.clone(),
                failure: variant.values.as_ref().err().cloned(),
                measures: keys().zip(values.into_iter().flatten().map(measured)).collect(),
                against_first: against
                    .map(|(a, b)| keys().zip(a.iter().zip(b).map(|(a, b)| difference(a, b))).collect()),
            }
        };
        ComparisonSummary {
            name: self.name.clone(),
            seeds: self.seeds.clone(),
            variants: self.variants.iter().enumerate().map(of).collect(),
            notes: self.notes.clone(),
        }
    }

    /// The comparison as aligned text.
    pub fn table(&self) -> String {
        let mut text = format!("{}: means over {} of {}\n", self.name, seeds(self.seeds.len()), self.range());
        text += &words(&self.means());
        if self.variants.len() > 1 && self.seeds.len() > 1 {
            let first = self.variants[0].name();
            writeln!(text, "\nagainst {first}, seed by seed (95 % bootstrap intervals)").expect("a string");
            text += &words(&self.differences());
        }
        for variant in &self.variants {
            if let Err(why) = &variant.values {
                writeln!(text, "{} failed: {why}", variant.name()).expect("a string");
            }
        }
        for note in &self.notes {
            writeln!(text, "note: {note}").expect("a string");
        }
        text
    }

    /// The page and the summary, with figures: (file name, title, caption, SVG).
    pub fn artefacts(&self, figures: Vec<(&'static str, &'static str, String, String)>) -> Vec<Artefact> {
        let mut sections =
            vec![Section { title: "Side by side".into(), blocks: vec![Block::Preformatted(self.table())] }];
        for (_, title, caption, svg) in &figures {
            let block = Block::Figure { caption: caption.clone(), svg: svg.clone() };
            sections.push(Section { title: (*title).into(), blocks: vec![block] });
        }
        let json = serde_json::to_string_pretty(&self.summary()).expect("a summary is plain data");
        let mut files = vec![
            Artefact::text("report.html", page(&format!("trainyard: {}", self.name), &sections)),
            Artefact::text("summary.json", json + "\n"),
        ];
        files.extend(figures.into_iter().map(|(name, _, _, svg)| Artefact::text(format!("{name}.svg"), svg)));
        files
    }

    fn range(&self) -> String {
        match self.seeds[..] {
            [] => String::new(),
            [seed] => seed.to_string(),
            [first, .., last] => format!("{first} to {last}"),
        }
    }

    fn means(&self) -> Vec<Vec<String>> {
        let best: Vec<Option<f64>> = (0..self.measures.len()).map(|at| self.best(at)).collect();
        let mut rows = vec![self.heading("run")];
        for variant in &self.variants {
            let Ok(values) = &variant.values else { continue };
            let mut row = vec![variant.name()];
            for ((measure, values), best) in self.measures.iter().zip(values).zip(&best) {
                let Interval { mean, low, high } = Interval::of(values);
                let mark = if self.variants.len() > 1 && Some(mean) == *best { "*" } else { "" };
                let spread = match low < high {
                    true => format!(" [{}, {}]", (measure.write)(low), (measure.write)(high)),
                    false => String::new(),
                };
                row.push(format!("{mark}{}{spread}", (measure.write)(mean)));
            }
            rows.push(row);
        }
        rows
    }

    /// The best mean of a measure; nothing when all are the same.
    fn best(&self, at: usize) -> Option<f64> {
        let means: Vec<f64> = self
            .variants
            .iter()
            .filter_map(|variant| Some(Interval::of(&variant.values.as_ref().ok()?[at]).mean))
            .collect();
        let best = match self.measures[at].less_is_better {
            true => means.iter().copied().reduce(f64::min),
            false => means.iter().copied().reduce(f64::max),
        };
        best.filter(|best| means.iter().any(|mean| mean != best))
    }

    fn differences(&self) -> Vec<Vec<String>> {
        let mut rows = vec![self.heading("run")];
        let Ok(first) = &self.variants[0].values else { return rows };
        for variant in &self.variants[1..] {
            let Ok(values) = &variant.values else { continue };
            let mut row = vec![variant.name()];
            row.extend(first.iter().zip(values).map(|(a, b)| said(a, b)));
            rows.push(row);
        }
        rows
    }

    fn heading(&self, first: &str) -> Vec<String> {
        let names = self.measures.iter().map(|measure| measure.name.to_owned());
        std::iter::once(first.to_owned()).chain(names).collect()
    }
}

fn difference(a: &[f64], b: &[f64]) -> Difference {
    let interval = Interval::of_difference(a, b);
    Difference {
        interval,
        relative: Interval::of_ratio(a, b),
        significant: a.len() > 1 && interval.is_significant(),
    }
}

/// A difference in words: in percent where that means something.
fn said(a: &[f64], b: &[f64]) -> String {
    let Difference { interval, relative, significant } = difference(a, b);
    if !significant {
        return "no significant difference".into();
    }
    match relative {
        Some(Interval { mean, low, high }) => {
            let [mean, low, high] = [mean, low, high].map(|share| format!("{:+.1}", share * 100.0));
            format!("{mean} % [{low}, {high}]")
        }
        None => format!("{:+.3} [{:+.3}, {:+.3}]", interval.mean, interval.low, interval.high),
    }
}

fn seeds(count: usize) -> String {
    if count == 1 { "the seed".into() } else { format!("{count} seeds") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(second: Vec<f64>) -> Comparison {
        let measure = Measure {
            key: "jct_s",
            name: "JCT",
            write: |value| format!("{value:.1} s"),
            less_is_better: true,
        };
        let variant =
            |setting: &str, values| Variant { settings: vec![setting.into()], values: Ok(vec![values]) };
        Comparison {
            name: "test".into(),
            seeds: vec![1, 2, 3, 4],
            measures: vec![measure],
            variants: vec![
                variant("cluster.scheduler=fifo", vec![10.0, 20.0, 30.0, 40.0]),
                variant("cluster.scheduler=srtf", second),
            ],
            notes: Vec::new(),
        }
    }

    /// Half of each number: 12.5 less than 25 on average, and less under every seed.
    #[test]
    fn a_difference_is_told_in_percent_with_its_interval() {
        let table = comparison(vec![5.0, 10.0, 15.0, 20.0]).table();
        assert!(table.contains("scheduler=srtf  *12.5 s [") && table.contains("-50.0 % ["), "{table}");
    }

    #[test]
    fn chance_is_called_by_its_name() {
        let comparison = comparison(vec![11.0, 19.0, 31.0, 39.0]);
        assert!(comparison.table().contains("no significant difference"));
        let json = serde_json::to_value(comparison.summary()).unwrap();
        assert_eq!(json["variants"][1]["against_first"]["jct_s"]["significant"], false);
        assert_eq!(json["variants"][0]["measures"]["jct_s"]["mean"], 25.0);
    }
}
