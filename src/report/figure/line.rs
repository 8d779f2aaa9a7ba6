//! Lines over a common axis: losses, rates over sizes, queue lengths over time.

use crate::report::figure::canvas::{Area, Canvas, Place, Svg};
use crate::report::figure::frame::{
    Entry, Frame, FrameSpec, Guide, Marker, Sample, Surround, WIDE, count, extent, paint_sentence,
};
use crate::report::figure::palette::{Color, Hue};
use crate::report::figure::ruler::Axis;

/// Several series of points, each joined by a line.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// Above the plot.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub series: Vec<Line>,
    /// Numbers to hold the lines against.
    pub references: Vec<Reference>,
}

/// One series of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its colour; by default that of its place among the series.
    pub hue: Option<Hue>,
    /// Drawn in dashes.
    pub dashed: bool,
    /// The points, joined in this order.
    pub points: Vec<(f64, f64)>,
    /// A smooth version: the points are then drawn thin and pale, and this over them.
    pub smooth: Option<Vec<(f64, f64)>>,
}

/// A level that means something: a target, a limit, a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Written beside its line.
    pub name: String,
    /// Where it is.
    pub at: ReferenceAt,
}

/// Where a reference line lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReferenceAt {
    /// A vertical line.
    X(f64),
    /// A horizontal line.
    Y(f64),
}

impl Line {
    /// A solid line in the colour of its place.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Line { name: name.into(), hue: None, dashed: false, points, smooth: None }
    }

    pub(super) fn color(&self, index: usize) -> Color {
        self.hue.unwrap_or(Hue::Series(index)).color()
    }

    fn entry(&self, index: usize) -> Entry {
        if self.smooth.is_none() && self.points.len() == 1 {
            let sample = Sample::Point(Marker::nth(index), self.color(index));
            return Entry { name: self.name.clone(), sample };
        }
        Entry::line(self.name.clone(), self.color(index), 2.0, self.dashed)
    }
}

/// The mean of each point with the `window / 2` points before and after it (fewer at the ends).
///
/// Points whose y is not finite are left out of the means and keep their place.
pub fn running_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let half = window / 2;
    let mean_around = |index: usize| {
        let reach = half.min(index).min(points.len() - 1 - index);
        let near = &points[index - reach..=index + reach];
        let finite: Vec<f64> = near.iter().map(|p| p.1).filter(|y| y.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    points.iter().enumerate().map(|(index, &(x, _))| (x, mean_around(index))).collect()
}

const PLOT_HEIGHT: f64 = 300.0;
/// Series with fewer points than this show each of them.
const FEW: usize = 40;

impl LineChart {
    /// Draws it.
    pub fn draw(&self) -> Svg {
        let points =
            || self.series.iter().flat_map(|line| line.points.iter().chain(line.smooth.iter().flatten()));
        let shown = |p: &&(f64, f64)| self.x.shows(p.0) && self.y.shows(p.1);
        let hidden = self.series.iter().flat_map(|line| &line.points).filter(|p| !shown(p)).count();
        if !points().any(|p| shown(&p)) {
            return paint_sentence(&self.title, "There are no points to draw.");
        }
        let reference =
            |pick: fn(ReferenceAt) -> Option<f64>| self.references.iter().filter_map(move |r| pick(r.at));
        let xs = points().filter(shown).map(|p| p.0).chain(reference(ReferenceAt::x));
        let ys = points().filter(shown).map(|p| p.1).chain(reference(ReferenceAt::y));
        let notes = (hidden > 0)
            .then(|| format!("{} cannot be shown on these axes.", count(hidden, "point")))
            .into_iter()
            .collect();
        let frame = Frame::new(FrameSpec {
            surround: Surround {
                title: &self.title,
                legend: self.series.iter().enumerate().map(|(index, line)| line.entry(index)).collect(),
                notes,
            },
            width: WIDE,
            plot_height: PLOT_HEIGHT,
            x: &self.x,
            x_data: extent(&self.x, xs).0,
            x_margin: 0.0,
            y: &self.y,
            y_data: extent(&self.y, ys).0,
            guides: self.references.iter().map(Guide::pale).collect(),
        });
        frame.paint(|canvas| {
            for (index, line) in self.series.iter().enumerate() {
                line.draw(canvas, &frame, index);
            }
        })
    }
}

impl ReferenceAt {
    pub(super) fn x(self) -> Option<f64> {
        if let ReferenceAt::X(x) = self { Some(x) } else { None }
    }

    pub(super) fn y(self) -> Option<f64> {
        if let ReferenceAt::Y(y) = self { Some(y) } else { None }
    }
}

impl Line {
    /// Draws the line (twice when there is a smooth version), and its points when they are few.
    pub(super) fn draw(&self, canvas: &mut Canvas, frame: &Frame, index: usize) {
        let color = self.color(index);
        match &self.smooth {
            None => draw_points(canvas, frame, &self.points, 1.8, color, self.dashed),
            Some(smooth) => {
                draw_points(canvas, frame, &self.points, 1.0, color.faded(35), false);
                draw_points(canvas, frame, smooth, 2.2, color, self.dashed);
            }
        }
        if self.points.len() < FEW && self.smooth.is_none() {
            for &(x, y) in &self.points {
                if let Some(place) = frame.place(x, y).filter(|&place| frame.holds(place)) {
                    Marker::nth(index).draw(canvas, place, 3.4, color);
                    canvas.hint(format!(
                        "{}: {}, {}",
                        self.name,
                        frame.x_quantity.write(x),
                        frame.y_quantity.write(y)
                    ));
                }
            }
        }
    }
}

/// Joins points by a line, which is broken where a point cannot be shown and cut at the plot's edge.
pub(super) fn draw_points(
    canvas: &mut Canvas,
    frame: &Frame,
    points: &[(f64, f64)],
    width: f64,
    color: Color,
    dashed: bool,
) {
    for run in points.split(|&(x, y)| frame.place(x, y).is_none()) {
        let places: Vec<Place> = run.iter().filter_map(|&(x, y)| frame.place(x, y)).collect();
        for piece in cut(&thinned(&places), frame.plot) {
            if dashed { canvas.dashes(&piece, width, color) } else { canvas.path(&piece, width, color) }
        }
    }
}

/// The same picture from fewer places: of those in one column of pixels only the first, the lowest,
/// the highest and the last, in their order. Lines that run backwards are left as they are.
fn thinned(places: &[Place]) -> Vec<Place> {
    if places.len() < 2000 || places.windows(2).any(|pair| pair[1].0 < pair[0].0) {
        return places.to_vec();
    }
    let mut kept = Vec::new();
    for column in places.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_height = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
        let lowest = (0..column.len()).min_by(by_height).expect("a column has a place");
        let highest = (0..column.len()).max_by(by_height).expect("a column has a place");
        let mut indices = [0, lowest, highest, column.len() - 1];
        indices.sort_unstable();
        let mut last = None;
        for index in indices {
            if last.replace(index) != Some(index) {
                kept.push(column[index]);
            }
        }
    }
    kept
}

/// The pieces of a line that lie within an area.
fn cut(places: &[Place], area: Area) -> Vec<Vec<Place>> {
    let mut pieces: Vec<Vec<Place>> = Vec::new();
    let mut open = false;
    for pair in places.windows(2) {
        let Some((from, to)) = clipped(pair[0], pair[1], area) else {
            open = false;
            continue;
        };
        if !open {
            pieces.push(vec![from]);
        }
        pieces.last_mut().expect("a piece was begun").push(to);
        open = to == pair[1];
    }
    pieces
}

/// The part of a straight line within an area (Liang and Barsky, "A New Concept and Method for Line
/// Clipping", ACM TOG 1984).
pub(super) fn clipped(from: Place, to: Place, area: Area) -> Option<(Place, Place)> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for (toward, room) in [
        (-dx, from.0 - area.left),
        (dx, area.right - from.0),
        (-dy, from.1 - area.top),
        (dy, area.bottom - from.1),
    ] {
        if toward == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if toward < 0.0 {
            enter = enter.max(room / toward);
        } else {
            leave = leave.min(room / toward);
        }
    }
    let along = |t: f64| if t == 1.0 { to } else { (from.0 + dx * t, from.1 + dy * t) };
    (enter <= leave).then(|| (along(enter), along(leave)))
}
