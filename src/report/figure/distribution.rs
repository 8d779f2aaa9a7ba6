//! How numbers are distributed: cumulative shares and histograms.

use crate::report::figure::canvas::{Area, Svg};
use crate::report::figure::frame::{
    Entry, Frame, FrameSpec, Guide, Surround, WIDE, count, extent, paint_sentence,
};
use crate::report::figure::line::{Reference, ReferenceAt, draw_points};
use crate::report::figure::palette::{Color, Hue};
use crate::report::figure::quantity::Quantity;
use crate::report::figure::ruler::Axis;

/// Numbers of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name in the legend.
    pub name: String,
    /// Its colour; by default that of its place among the samples.
    pub hue: Option<Hue>,
    /// The numbers, in any order.
    pub values: Vec<f64>,
}

impl Sample {
    /// Numbers in the colour of their place.
    pub fn new(name: impl Into<String>, values: Vec<f64>) -> Self {
        Sample { name: name.into(), hue: None, values }
    }

    fn color(&self, index: usize) -> Color {
        self.hue.unwrap_or(Hue::Series(index)).color()
    }

    /// The numbers that the axis can show, ascending.
    fn sorted(&self, axis: &Axis) -> Vec<f64> {
        let mut values: Vec<f64> = self.values.iter().copied().filter(|&value| axis.shows(value)).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// Which share of the numbers is at most so large.
#[derive(Debug, Clone, PartialEq)]
pub struct Cdf {
    /// Above the plot.
    pub title: String,
    /// What the numbers are.
    pub x: Axis,
    /// One curve each.
    pub samples: Vec<Sample>,
    /// Limits to hold the curves against: a service level, a deadline.
    pub references: Vec<Reference>,
}

/// How many numbers fall into each of a row of equal bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Above the plot.
    pub title: String,
    /// What the numbers are. Whole numbers get one bin each while there are at most sixty.
    pub x: Axis,
    /// One row of bars each, side by side. Several samples are shown as shares, one as counts.
    pub samples: Vec<Sample>,
}

const PLOT_HEIGHT: f64 = 300.0;
/// A curve of more numbers is drawn through as many of its quantiles.
const MOST_STEPS: usize = 1000;
const MOST_BINS: f64 = 60.0;

impl Cdf {
    /// Draws it.
    pub fn draw(&self) -> Svg {
        let sorted: Vec<Vec<f64>> = self.samples.iter().map(|sample| sample.sorted(&self.x)).collect();
        let limits = self.references.iter().filter_map(|reference| reference.at.x());
        if sorted.iter().all(Vec::is_empty) {
            return paint_sentence(&self.title, "There are no numbers to draw.");
        }
        let x_data = extent(&self.x, sorted.iter().flatten().copied().chain(limits)).0;
        let y = Axis::new("share at or below", Quantity::Percent).between(0.0, 1.03);
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)]
            .map(|(name, at)| Reference { name: name.into(), at: ReferenceAt::Y(at) });
        let frame = Frame::new(FrameSpec {
            surround: Surround {
                title: &self.title,
                legend: legend(&self.samples, |color| Entry::line("", color, 2.0, false)),
                notes: hidden_note(&self.samples, &sorted),
            },
            width: WIDE,
            plot_height: PLOT_HEIGHT,
            x: &self.x,
            x_data,
            x_margin: 0.02,
            y: &y,
            y_data: None,
            guides: quantiles.iter().chain(&self.references).map(Guide::pale).collect(),
        });
        frame.paint(|canvas| {
            for (index, values) in sorted.iter().enumerate() {
                draw_points(canvas, &frame, &steps(values), 1.8, self.samples[index].color(index), false);
            }
        })
    }
}

/// The corners of a cumulative distribution, from nothing to one.
fn steps(sorted: &[f64]) -> Vec<(f64, f64)> {
    let total = sorted.len();
    let indices: Vec<usize> = if total <= MOST_STEPS {
        (0..total).collect()
    } else {
        // Evenly, and every one of the last percent: tails matter most.
        let tail = total - (total / 100).clamp(1, MOST_STEPS);
        (0..MOST_STEPS).map(|step| step * tail / MOST_STEPS).chain(tail..total).collect()
    };
    let mut corners = Vec::new();
    let mut below = 0.0;
    for index in indices {
        let share = (index + 1) as f64 / total as f64;
        corners.push((sorted[index], below));
        corners.push((sorted[index], share));
        below = share;
    }
    corners
}

impl Histogram {
    /// Draws it.
    pub fn draw(&self) -> Svg {
        let sorted: Vec<Vec<f64>> = self.samples.iter().map(|sample| sample.sorted(&self.x)).collect();
        let mut all: Vec<f64> = sorted.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        if all.is_empty() {
            return paint_sentence(&self.title, "There are no numbers to draw.");
        }
        let bins = Bins::of(&all, self.x.logarithmic);
        let shares = self.samples.len() > 1;
        let heights: Vec<Vec<f64>> = sorted.iter().map(|values| bins.count(values, shares)).collect();
        let y = match shares {
            true => Axis::new("share", Quantity::Percent).from_zero(),
            false => Axis::new("count", Quantity::Number).from_zero(),
        };
        let x = Axis { range: Some((bins.edge(0), bins.edge(bins.count))), ..self.x.clone() };
        let frame = Frame::new(FrameSpec {
            surround: Surround {
                title: &self.title,
                legend: legend(&self.samples, |color| Entry::fill("", color)),
                notes: hidden_note(&self.samples, &sorted),
            },
            width: WIDE,
            plot_height: PLOT_HEIGHT,
            x: &x,
            x_data: None,
            x_margin: 0.0,
            y: &y,
            y_data: extent(&y, heights.iter().flatten().copied()).0,
            guides: Vec::new(),
        });
        frame.paint(|canvas| {
            for bin in 0..bins.count {
                let edge = |bin: usize| frame.across(bins.edge(bin)).expect("a bin within the axis");
                let (left, right) = (edge(bin) + 0.5, edge(bin + 1) - 0.5);
                let width = (right - left) / heights.len() as f64;
                for (index, heights) in heights.iter().enumerate().filter(|(_, heights)| heights[bin] > 0.0) {
                    let left = left + width * index as f64;
                    let top = frame.up(heights[bin]).expect("a bar within the axis");
                    let area = Area { left, right: left + width, top, bottom: frame.plot.bottom };
                    canvas.rect(area, self.samples[index].color(index));
                    let range = match bins.whole {
                        true => self.x.quantity.write(bins.edge(bin) + 0.5),
                        false => format!(
                            "{} to {}",
                            self.x.quantity.write(bins.edge(bin)),
                            self.x.quantity.write(bins.edge(bin + 1))
                        ),
                    };
                    canvas.hint(format!(
                        "{}: {range}: {}",
                        self.samples[index].name,
                        y.quantity.write(heights[bin])
                    ));
                }
            }
        })
    }
}

/// Equal bins (of equal ratio when logarithmic) that hold every number.
struct Bins {
    from: f64,
    width: f64,
    count: usize,
    logarithmic: bool,
    /// One bin for each whole number, centred on it.
    whole: bool,
}

impl Bins {
    /// As wide as Freedman and Diaconis advise ("On the histogram as a density estimator", 1981:
    /// 2·IQR/∛n), but between five and sixty of them.
    fn of(sorted: &[f64], logarithmic: bool) -> Bins {
        let scale = |value: f64| if logarithmic { value.log10() } else { value };
        let (low, high) = (scale(sorted[0]), scale(sorted[sorted.len() - 1]));
        let whole = !logarithmic && sorted.iter().all(|value| value.fract() == 0.0) && high - low < MOST_BINS;
        if whole {
            return Bins {
                from: low - 0.5,
                width: 1.0,
                count: (high - low) as usize + 1,
                logarithmic,
                whole,
            };
        }
        if high <= low {
            let width = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            return Bins { from: low - width / 2.0, width, count: 1, logarithmic, whole };
        }
        let quantile = |q: f64| scale(sorted[((sorted.len() - 1) as f64 * q).round() as usize]);
        let advised = 2.0 * (quantile(0.75) - quantile(0.25)) / (sorted.len() as f64).cbrt();
        let count = if advised > 0.0 { ((high - low) / advised).ceil().clamp(5.0, MOST_BINS) } else { 20.0 };
        Bins { from: low, width: (high - low) / count, count: count as usize, logarithmic, whole }
    }

    fn edge(&self, bin: usize) -> f64 {
        let edge = self.from + self.width * bin as f64;
        if self.logarithmic { 10_f64.powf(edge) } else { edge }
    }

    /// How many of the numbers are in each bin, or which share of them.
    fn count(&self, values: &[f64], shares: bool) -> Vec<f64> {
        let mut counts = vec![0.0; self.count];
        for &value in values {
            let at = if self.logarithmic { value.log10() } else { value };
            let bin = ((at - self.from) / self.width).floor().max(0.0) as usize;
            counts[bin.min(self.count - 1)] += if shares { 1.0 / values.len() as f64 } else { 1.0 };
        }
        counts
    }
}

fn legend(samples: &[Sample], entry: impl Fn(Color) -> Entry) -> Vec<Entry> {
    let named = samples.iter().enumerate().map(|(index, sample)| {
        let name = format!("{} ({})", sample.name, count(sample.values.len(), "value"));
        Entry { name, ..entry(sample.color(index)) }
    });
    named.collect()
}

fn hidden_note(samples: &[Sample], sorted: &[Vec<f64>]) -> Vec<String> {
    let hidden: usize =
        samples.iter().zip(sorted).map(|(sample, shown)| sample.values.len() - shown.len()).sum();
    let note = (hidden > 0).then(|| format!("{} cannot be shown on this axis.", count(hidden, "value")));
    note.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 2, 2, 5: bins for 1 to 5 with 1, 2, 0, 0 and 1 of them.
    #[test]
    fn whole_numbers_get_bins_of_their_own() {
        let values = [1.0, 2.0, 2.0, 5.0];
        let bins = Bins::of(&values, false);
        assert_eq!(bins.count(&values, false), [1.0, 2.0, 0.0, 0.0, 1.0]);
        assert_eq!((bins.edge(0), bins.edge(5)), (0.5, 5.5));
    }

    #[test]
    fn every_number_is_in_a_bin() {
        for logarithmic in [false, true] {
            let values: Vec<f64> = (1..=5000).map(|n| f64::from(n).sqrt()).collect();
            let bins = Bins::of(&values, logarithmic);
            assert_eq!(bins.count(&values, false).iter().sum::<f64>(), 5000.0);
            assert!((5..=60).contains(&bins.count));
        }
    }

    /// Of 1, 2, 3, 4 half are at most 2.
    #[test]
    fn the_curve_climbs_to_one() {
        let corners = steps(&[1.0, 2.0, 3.0, 4.0]);
        assert!(corners.contains(&(2.0, 0.5)));
        assert_eq!(corners.last(), Some(&(4.0, 1.0)));
        let many: Vec<f64> = (0..20_000).map(f64::from).collect();
        let corners = steps(&many);
        assert_eq!(corners.last(), Some(&(19_999.0, 1.0)));
        assert!(corners.len() < 3000 && corners.windows(2).all(|p| p[0].1 <= p[1].1 && p[0].0 <= p[1].0));
    }
}
