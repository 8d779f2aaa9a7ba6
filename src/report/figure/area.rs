//! Layers on top of one another over time: memory by use, devices by job, requests by state.

use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Place, Svg};
use crate::report::figure::frame::{
    EDGE, Entry, Frame, FrameSpec, Guide, NOTE, Surround, WIDE, count, paint_sentence,
};
use crate::report::figure::line::{Reference, ReferenceAt};
use crate::report::figure::palette::{ALARM, Hue, INK};
use crate::report::figure::ruler::Axis;

/// Stacked layers that change at moments and stay in between.
#[derive(Debug, Clone, PartialEq)]
pub struct AreaChart {
    /// Above the plot.
    pub title: String,
    /// Time, or what takes its place.
    pub x: Axis,
    /// What is stacked; it always starts at zero.
    pub y: Axis,
    /// The moments at which something changes, ascending.
    pub at: Vec<f64>,
    /// Until when the last values hold.
    pub until: f64,
    /// From bottom to top.
    pub layers: Vec<Layer>,
    /// The most there can be, with its name: `("capacity", 80e9)`.
    pub capacity: Option<(String, f64)>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub hue: Hue,
    /// How thick it is from each moment of [`AreaChart::at`] on; never negative.
    pub values: Vec<f64>,
}

const PLOT_HEIGHT: f64 = 260.0;
/// A capacity further above the peak than this is written, not drawn: the layers would be flat.
const FAR: f64 = 3.0;

impl AreaChart {
    /// Draws it.
    ///
    /// # Panics
    /// When a layer has another number of values than there are moments.
    pub fn draw(&self) -> Svg {
        let moments = self.at.len();
        assert!(self.layers.iter().all(|layer| layer.values.len() == moments), "a value for every moment");
        if moments == 0 || self.layers.is_empty() || !self.until.is_finite() {
            return paint_sentence(&self.title, "Nothing was recorded.");
        }
        let peak = (0..moments).map(|index| self.total(index)).fold(0.0, f64::max);
        let fullest = (0..moments).find(|&index| self.total(index) == peak).unwrap_or(0);
        let (near, far): (Vec<_>, Vec<_>) = self.capacity.iter().partition(|(_, limit)| *limit <= FAR * peak);
        let near: Vec<Reference> = near.into_iter().map(|limit| self.limit_line(limit)).collect();
        let y = self.y.clone().from_zero();
        let top = near.iter().filter_map(|line| line.at.y()).fold(peak, f64::max);
        let frame = Frame::new(FrameSpec {
            surround: Surround { title: &self.title, legend: self.legend(), notes: self.notes(peak, &far) },
            width: WIDE,
            plot_height: PLOT_HEIGHT,
            x: &self.x,
            x_data: Some((self.at[0], self.until.max(self.at[0]))),
            x_margin: 0.0,
            y: &y,
            y_data: Some((0.0, top)),
            guides: near.iter().map(|reference| Guide { reference, color: ALARM, dashed: false }).collect(),
        });
        frame.paint(|canvas| {
            self.draw_layers(canvas, &frame);
            self.draw_peak(canvas, &frame, fullest, peak);
        })
    }

    fn limit_line(&self, (name, limit): &(String, f64)) -> Reference {
        let name = format!("{name} {}", self.y.quantity.write(*limit));
        Reference { name, at: ReferenceAt::Y(*limit) }
    }

    fn total(&self, moment: usize) -> f64 {
        self.layers.iter().map(|layer| layer.at(moment)).sum()
    }

    fn legend(&self) -> Vec<Entry> {
        let used =
            self.layers.iter().filter(|layer| (0..layer.values.len()).any(|index| layer.at(index) > 0.0));
        used.map(|layer| Entry::fill(layer.name.clone(), layer.hue.color())).collect()
    }

    fn notes(&self, peak: f64, far: &[&(String, f64)]) -> Vec<String> {
        let write = |value| self.y.quantity.write(value);
        let odd = self
            .layers
            .iter()
            .flat_map(|layer| &layer.values)
            .filter(|v| !v.is_finite() || **v < 0.0)
            .count();
        let odd =
            (odd > 0).then(|| format!("{} negative or not finite, drawn as nothing.", count(odd, "value")));
        let far = far.iter().map(|(name, limit)| {
            format!("The {name} of {} is far above the peak of {} and not shown.", write(*limit), write(peak))
        });
        odd.into_iter().chain(far).collect()
    }

    /// One polygon a layer, from the sum below it to the sum with it.
    fn draw_layers(&self, canvas: &mut Canvas, frame: &Frame) {
        let moments = self.fullest_in_columns(frame);
        let mut below = vec![0.0; moments.len()];
        for layer in &self.layers {
            let above: Vec<f64> =
                below.iter().zip(&moments).map(|(below, &(_, moment))| below + layer.at(moment)).collect();
            if above != below {
                let mut outline = self.staircase(frame, &moments, &above);
                outline.extend(self.staircase(frame, &moments, &below).into_iter().rev());
                canvas.polygon(&outline, layer.hue.color());
                canvas.hint(layer.name.clone());
            }
            below = above;
        }
    }

    /// Steps from moment to moment, and on to the end.
    fn staircase(&self, frame: &Frame, moments: &[(f64, usize)], heights: &[f64]) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        let end =
            frame.across(self.until).unwrap_or(frame.plot.right).clamp(frame.plot.left, frame.plot.right);
        for (index, (&(x, _), &height)) in moments.iter().zip(heights).enumerate() {
            let y = frame.up(height).unwrap_or(frame.plot.bottom).clamp(frame.plot.top, frame.plot.bottom);
            let next = moments.get(index + 1).map_or(end, |&(next, _)| next);
            if places.last().is_some_and(|last| last.1 == y) {
                places.pop();
            } else {
                places.push((x, y));
            }
            places.push((next, y));
        }
        places
    }

    /// Of the moments that fall into one half of a pixel only the fullest, so that no peak is lost and the
    /// picture stays small.
    fn fullest_in_columns(&self, frame: &Frame) -> Vec<(f64, usize)> {
        let place = |moment: &usize| {
            let x = frame.across(self.at[*moment]).unwrap_or(frame.plot.left);
            (x.clamp(frame.plot.left, frame.plot.right), *moment)
        };
        let places: Vec<(f64, usize)> = (0..self.at.len()).collect::<Vec<_>>().iter().map(place).collect();
        places
            .chunk_by(|a, b| (a.0 * 2.0).floor() == (b.0 * 2.0).floor())
            .flat_map(|column| {
                let fullest = column.iter().copied().reduce(|best, other| {
                    if self.total(other.1) > self.total(best.1) { other } else { best }
                });
                let (_, fullest) = fullest.expect("a column has a moment");
                let last = column[column.len() - 1];
                // What holds after the column is its last moment, wherever its peak was.
                let after = (last.1 != fullest).then_some((last.0.max(column[0].0 + 0.5), last.1));
                [Some((column[0].0, fullest)), after].into_iter().flatten()
            })
            .collect()
    }

    /// A dot on the first fullest moment, and how much it was.
    fn draw_peak(&self, canvas: &mut Canvas, frame: &Frame, fullest: usize, peak: f64) {
        let Some((x, y)) = frame.place(self.at[fullest], peak).filter(|&place| frame.holds(place)) else {
            return;
        };
        let Area { left, right, .. } = frame.plot;
        canvas.disc((x.max(left), y), 3.0, INK);
        let label = format!("peak {}", self.y.quantity.write(peak));
        let (at, anchor) =
            if x > (left + right) / 2.0 { (x - 6.0, Anchor::End) } else { (x + 6.0, Anchor::Start) };
        canvas.text((at.clamp(EDGE, right), y - 9.0), anchor, Font { color: INK, ..NOTE }, &label);
    }
}

impl Layer {
    /// What is drawn of it: nothing that is negative or not finite.
    fn at(&self, moment: usize) -> f64 {
        let value = self.values[moment];
        if value.is_finite() { value.max(0.0) } else { 0.0 }
    }
}
