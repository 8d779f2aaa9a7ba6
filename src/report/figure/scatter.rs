//! Points: predicted against measured, Pareto fronts, kernels under a roofline.

use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Place, Svg};
use crate::report::figure::frame::{
    Entry, Frame, FrameSpec, Guide, Marker, SQUARE, Sample, Surround, TICK, WIDE, count, extent,
    paint_sentence,
};
use crate::report::figure::lettering::{TICK_SIZE, text_width};
use crate::report::figure::line::{Line, Reference, ReferenceAt, clipped, draw_points};
use crate::report::figure::palette::{Color, Hue, PALE_INK};
use crate::report::figure::ruler::Axis;

/// Points on two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// Above the plot.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The points, in the order of the legend.
    pub groups: Vec<PointGroup>,
    /// Lines under the points: a roofline, a fit.
    pub curves: Vec<Line>,
    /// Lines that mean something, with their names.
    pub references: Vec<Reference>,
    /// For predictions against measurements: both axes get one range, and y = x is drawn, with lines at
    /// each of these percentages (less than 100) above and below it.
    pub diagonal: Option<Vec<f64>>,
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct PointGroup {
    /// Its name in the legend.
    pub name: String,
    /// Its colour; by default that of its place among the groups.
    pub hue: Option<Hue>,
    /// The points.
    pub points: Vec<Point>,
    /// How they are joined.
    pub join: Join,
}

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Place on the x axis.
    pub x: f64,
    /// Place on the y axis.
    pub y: f64,
    /// Written beside the point where there is room; empty for none.
    pub label: String,
}

/// How the points of a group are joined, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Join {
    /// Not at all.
    #[default]
    Apart,
    /// By straight lines.
    Line,
    /// By stairs that hold each y until the next x: the edge of what a Pareto front dominates when
    /// less is better on both axes.
    Stairs,
}

const PLOT_HEIGHT: f64 = 400.0;
/// Of more points, only some are drawn.
const MOST_POINTS: usize = 8000;

impl Scatter {
    /// Draws it.
    pub fn draw(&self) -> Svg {
        let all: Vec<&Point> = self.groups.iter().flat_map(|group| &group.points).collect();
        let shown: Vec<&Point> =
            all.iter().copied().filter(|p| self.x.shows(p.x) && self.y.shows(p.y)).collect();
        if shown.is_empty() && self.curves.iter().all(|curve| curve.points.is_empty()) {
            return paint_sentence(&self.title, "There are no points to draw.");
        }
        let stride = shown.len().div_ceil(MOST_POINTS).max(1);
        let Reach { x, y, x_data, y_data } = self.reach(&shown);
        let mut notes = Vec::new();
        if all.len() > shown.len() {
            notes.push(format!("{} cannot be shown on these axes.", count(all.len() - shown.len(), "point")));
        }
        if stride > 1 {
            notes.push(format!("One of every {stride} of {} is drawn.", count(shown.len(), "point")));
        }
        // The frame is laid out twice: which labels fit is known only then, and is said in a note.
        let frame = |notes: Vec<String>| {
            Frame::new(FrameSpec {
                surround: Surround { title: &self.title, legend: self.legend(), notes },
                width: if self.diagonal.is_some() { SQUARE } else { WIDE },
                plot_height: if self.diagonal.is_some() { SQUARE - 180.0 } else { PLOT_HEIGHT },
                x: &x,
                x_data,
                x_margin: 0.03,
                y: &y,
                y_data,
                guides: self.references.iter().map(Guide::pale).collect(),
            })
        };
        let unlabelled = self.labels(&frame(notes.clone())).1;
        if unlabelled > 0 {
            notes.push(format!("{} left out where they would overlap.", count(unlabelled, "label")));
        }
        let frame = frame(notes);
        frame.paint(|canvas| {
            if let Some(bands) = &self.diagonal {
                draw_diagonal(canvas, &frame, bands);
            }
            for (index, curve) in self.curves.iter().enumerate() {
                let color = curve.color(self.groups.len() + index);
                draw_points(canvas, &frame, &curve.points, 2.0, color, curve.dashed);
            }
            for (index, group) in self.groups.iter().enumerate() {
                group.draw(canvas, &frame, index, stride);
            }
            for (area, text) in self.labels(&frame).0 {
                let font = Font { color: PALE_INK, ..TICK };
                canvas.text((area.left, area.middle().1), Anchor::Start, font, &text);
            }
        })
    }

    /// The axes and what they must reach: for a diagonal, the same on both.
    fn reach(&self, shown: &[&Point]) -> Reach {
        let curve_points = || self.curves.iter().flat_map(|curve| &curve.points);
        let reference =
            |pick: fn(ReferenceAt) -> Option<f64>| self.references.iter().filter_map(move |r| pick(r.at));
        let xs =
            shown.iter().map(|p| p.x).chain(curve_points().map(|p| p.0)).chain(reference(ReferenceAt::x));
        let ys =
            shown.iter().map(|p| p.y).chain(curve_points().map(|p| p.1)).chain(reference(ReferenceAt::y));
        let (x_data, y_data) = (extent(&self.x, xs).0, extent(&self.y, ys).0);
        if self.diagonal.is_none() {
            return Reach { x: self.x.clone(), y: self.y.clone(), x_data, y_data };
        }
        let ends = [x_data, y_data].into_iter().flatten();
        let (low, high) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((1.0, 2.0));
        let (low, high) = match (self.x.logarithmic, low < high) {
            (true, true) => (low / (high / low).powf(0.05), high * (high / low).powf(0.05)),
            (true, false) => (low / 2.0, high * 2.0),
            (false, _) => (low.min(0.0), high.max(low + low.abs().max(1e-12)) * 1.05),
        };
        let (x, y) = (self.x.clone().between(low, high), self.y.clone().between(low, high));
        Reach { x, y, x_data: None, y_data: None }
    }

    fn legend(&self) -> Vec<Entry> {
        let groups = self.groups.iter().enumerate().map(|(index, group)| Entry {
            name: group.name.clone(),
            sample: Sample::Point(Marker::nth(index), group.color(index)),
        });
        let curves = self.curves.iter().enumerate().map(|(index, curve)| {
            Entry::line(curve.name.clone(), curve.color(self.groups.len() + index), 2.0, curve.dashed)
        });
        let equal = self
            .diagonal
            .iter()
            .map(|_| Entry::line("predicted = measured".to_owned(), DIAGONAL, 1.5, false));
        let bands = self
            .diagonal
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, percent)| Entry::line(format!("±{percent} %"), band_color(index), 1.2, true));
        groups.chain(curves).chain(equal).chain(bands).collect()
    }

    /// The straight pieces of every line, which labels must not cross.
    fn lines(&self, frame: &Frame) -> Vec<(Place, Place)> {
        let curves = self.curves.iter().map(|curve| curve.points.clone());
        let pieces = |points: Vec<(f64, f64)>| {
            let places: Vec<Place> = points.iter().filter_map(|&(x, y)| frame.place(x, y)).collect();
            places.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>()
        };
        self.groups.iter().map(PointGroup::corners).chain(curves).flat_map(pieces).collect()
    }

    /// The labels that find room, and how many do not. Each tries the places around its point and takes
    /// the first that touches no other label, no point and no edge.
    fn labels(&self, frame: &Frame) -> (Vec<(Area, String)>, usize) {
        let places: Vec<(Place, &str)> = self
            .groups
            .iter()
            .flat_map(|group| &group.points)
            .filter_map(|p| Some((frame.place(p.x, p.y).filter(|&at| frame.holds(at))?, p.label.as_str())))
            .collect();
        let dots: Vec<Area> = places.iter().map(|&(at, _)| around(at, 5.0)).collect();
        let lines = self.lines(frame);
        let mut taken: Vec<(Area, String)> = Vec::new();
        let mut homeless = 0;
        for &(at, label) in places.iter().filter(|(_, label)| !label.is_empty()) {
            let free = |area: &Area| {
                frame.holds((area.left, area.top))
                    && frame.holds((area.right, area.bottom))
                    && !taken.iter().any(|(other, _)| touch(other, area))
                    && !dots.iter().any(|dot| touch(dot, area))
                    && !lines.iter().any(|&(from, to)| clipped(from, to, *area).is_some())
            };
            match around_point(at, text_width(label, TICK_SIZE)).into_iter().find(free) {
                Some(area) => taken.push((area, label.to_owned())),
                None => homeless += 1,
            }
        }
        (taken, homeless)
    }
}

/// The axes and from where to where the data reach on them.
struct Reach {
    x: Axis,
    y: Axis,
    x_data: Option<(f64, f64)>,
    y_data: Option<(f64, f64)>,
}

impl PointGroup {
    /// The points through which the group's line goes.
    fn corners(&self) -> Vec<(f64, f64)> {
        let points: Vec<(f64, f64)> = self.points.iter().map(|p| (p.x, p.y)).collect();
        match self.join {
            Join::Apart => Vec::new(),
            Join::Line => points,
            Join::Stairs => stairs(&points),
        }
    }

    fn color(&self, index: usize) -> Color {
        self.hue.unwrap_or(Hue::Series(index)).color()
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame, index: usize, stride: usize) {
        let color = self.color(index);
        draw_points(canvas, frame, &self.corners(), 1.5, color, false);
        let radius = if self.points.len() > 400 { 2.5 } else { 4.0 };
        let crowded = if self.points.len() > 200 { color.faded(70) } else { color };
        for point in self.points.iter().step_by(stride) {
            if let Some(place) = frame.place(point.x, point.y).filter(|&place| frame.holds(place)) {
                Marker::nth(index).draw(canvas, place, radius, crowded);
                let name = if point.label.is_empty() { &self.name } else { &point.label };
                let (x, y) = (frame.x_quantity.write(point.x), frame.y_quantity.write(point.y));
                canvas.hint(format!("{name}: {x}, {y}"));
            }
        }
    }
}

fn stairs(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        if let Some(&(_, before)) = corners.last() {
            corners.push((x, before));
        }
        corners.push((x, y));
    }
    corners
}

const DIAGONAL: Color = Color::hex(0x59636E);

/// Narrow bands are darker than wide ones.
fn band_color(index: usize) -> Color {
    [Color::hex(0x6E7781), Color::hex(0x9AA4AF), Color::hex(0xB9C1C9)][index.min(2)]
}

/// y = x, and dashed lines at percentages above and below it.
fn draw_diagonal(canvas: &mut Canvas, frame: &Frame, bands: &[f64]) {
    let mut draw = |percent: f64, color: Color| {
        let factor = 1.0 + percent / 100.0;
        // From edge to edge; straight on linear and on logarithmic axes.
        let ends = [frame.x.value(0.0), frame.x.value(1.0)].map(|x| frame.place(x, x * factor));
        if let [Some(from), Some(to)] = ends
            && let Some((from, to)) = clipped(from, to, frame.plot)
        {
            match percent {
                0.0 => canvas.line(from, to, 1.5, color),
                _ => canvas.dashes(&[from, to], 1.2, color),
            }
        }
    };
    draw(0.0, DIAGONAL);
    for (index, &percent) in bands.iter().enumerate() {
        draw(percent, band_color(index));
        draw(-percent, band_color(index));
    }
}

fn around((x, y): Place, reach: f64) -> Area {
    Area { left: x - reach, top: y - reach, right: x + reach, bottom: y + reach }
}

/// Places for a label of this width, best first: right, left, above, below, and the corners.
fn around_point((x, y): Place, width: f64) -> [Area; 8] {
    let (half, off) = (TICK_SIZE * 0.6, 8.0);
    let place = |left: f64, middle: f64| Area {
        left,
        top: middle - half,
        right: left + width,
        bottom: middle + half,
    };
    [
        place(x + off, y),
        place(x - off - width, y),
        place(x - width / 2.0, y - 13.0),
        place(x - width / 2.0, y + 13.0),
        place(x + 5.0, y - 12.0),
        place(x + 5.0, y + 12.0),
        place(x - 5.0 - width, y - 12.0),
        place(x - 5.0 - width, y + 12.0),
    ]
}

fn touch(a: &Area, b: &Area) -> bool {
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}
