//! What surrounds the data of a figure: title, legend, notes, and two axes with their grid.

use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Place, Svg, paint};
use crate::report::figure::lettering::{
    LABEL_SIZE, NOTE_SIZE, TICK_SIZE, TITLE_SIZE, bold_width, shortened, text_width, wrapped,
};
use crate::report::figure::line::{Reference, ReferenceAt};
use crate::report::figure::palette::{AXIS, Color, GRID, INK, PALE_INK, PAPER};
use crate::report::figure::quantity::Quantity;
use crate::report::figure::ruler::{Axis, Room, Ruler};

/// The width of most figures: an HTML page of 1100 pixels without its margins.
pub(super) const WIDE: f64 = 1040.0;
/// The width of figures that are as high as they are wide.
pub(super) const SQUARE: f64 = 760.0;
/// Free space along the edges.
pub(super) const EDGE: f64 = 14.0;

const TITLE_HEIGHT: f64 = 26.0;
const LEGEND_HEIGHT: f64 = 20.0;
const NOTE_HEIGHT: f64 = 16.0;
const SAMPLE: f64 = 18.0;

/// The fonts of a figure.
pub(super) const TITLE: Font = Font { size: TITLE_SIZE, bold: true, color: INK };
pub(super) const LABEL: Font = Font { size: LABEL_SIZE, bold: false, color: INK };
pub(super) const TICK: Font = Font { size: TICK_SIZE, bold: false, color: PALE_INK };
pub(super) const NOTE: Font = Font { size: NOTE_SIZE, bold: false, color: PALE_INK };

/// The shape of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Disc,
    Square,
    Triangle,
    Diamond,
    Ring,
}

impl Marker {
    /// The n-th marker; they repeat after five.
    pub fn nth(index: usize) -> Marker {
        [Marker::Disc, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Ring][index % 5]
    }

    /// Draws it, about `radius` around its place.
    pub fn draw(self, canvas: &mut Canvas, (x, y): Place, radius: f64, color: Color) {
        let r = radius;
        match self {
            Marker::Disc => canvas.disc((x, y), r, color),
            Marker::Ring => canvas.ring((x, y), r * 0.9, r * 0.45, color),
            Marker::Square => {
                let h = r * 0.88;
                canvas.rect(Area { left: x - h, top: y - h, right: x + h, bottom: y + h }, color);
            }
            Marker::Triangle => {
                canvas.polygon(
                    &[(x, y - 1.15 * r), (x + 1.1 * r, y + 0.8 * r), (x - 1.1 * r, y + 0.8 * r)],
                    color,
                );
            }
            Marker::Diamond => {
                canvas.polygon(
                    &[(x, y - 1.3 * r), (x + 1.1 * r, y), (x, y + 1.3 * r), (x - 1.1 * r, y)],
                    color,
                );
            }
        }
    }
}

/// How a legend shows an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sample {
    Fill(Color),
    Line { color: Color, width: f64, dashed: bool },
    Point(Marker, Color),
}

/// One entry of a legend.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    pub sample: Sample,
}

impl Entry {
    pub fn fill(name: impl Into<String>, color: Color) -> Self {
        Entry { name: name.into(), sample: Sample::Fill(color) }
    }

    pub fn line(name: impl Into<String>, color: Color, width: f64, dashed: bool) -> Self {
        Entry { name: name.into(), sample: Sample::Line { color, width, dashed } }
    }
}

/// Title and legend above, notes below: the parts that every figure has.
#[derive(Debug, Clone, Default)]
pub(super) struct Surround<'a> {
    pub title: &'a str,
    pub legend: Vec<Entry>,
    /// What the picture leaves out, in sentences.
    pub notes: Vec<String>,
}

impl Surround<'_> {
    /// Pixels above the plot.
    pub fn above(&self, width: f64) -> f64 {
        let title = if self.title.is_empty() { 0.0 } else { TITLE_HEIGHT };
        let rows = self.rows(width).last().map_or(0, |&(row, ..)| row + 1);
        let legend = if rows == 0 { 0.0 } else { rows as f64 * LEGEND_HEIGHT + 4.0 };
        EDGE + title + legend
    }

    /// Pixels below the plot and what belongs to it.
    pub fn below(&self, width: f64) -> f64 {
        EDGE + self.note_lines(width).len() as f64 * NOTE_HEIGHT
    }

    /// Paper, title, legend and notes on a sheet of this size.
    pub fn draw(&self, canvas: &mut Canvas, width: f64, height: f64) {
        canvas.rect(Area { left: 0.0, top: 0.0, right: width, bottom: height }, PAPER);
        let mut top = EDGE;
        if !self.title.is_empty() {
            let title = shortened(self.title, TITLE_SIZE * 1.12, width - 2.0 * EDGE);
            canvas.text((EDGE, top + TITLE_SIZE / 2.0), Anchor::Start, TITLE, &title);
            top += TITLE_HEIGHT;
        }
        for (row, left, entry) in self.rows(width) {
            let y = top + row as f64 * LEGEND_HEIGHT + LEGEND_HEIGHT / 2.0;
            draw_sample(canvas, (left, y), entry.sample);
            let name = shortened(&entry.name, LABEL_SIZE, width - 2.0 * EDGE - SAMPLE - 6.0);
            canvas.text((left + SAMPLE + 6.0, y), Anchor::Start, LABEL, &name);
        }
        let lines = self.note_lines(width);
        let first = height - EDGE - (lines.len() as f64 - 0.5) * NOTE_HEIGHT + 4.0;
        for (index, line) in lines.iter().enumerate() {
            canvas.text((EDGE, first + index as f64 * NOTE_HEIGHT), Anchor::Start, NOTE, line);
        }
    }

    /// The legend's entries with their rows and left edges.
    fn rows(&self, width: f64) -> Vec<(usize, f64, &Entry)> {
        let mut placed = Vec::new();
        let (mut row, mut left) = (0, EDGE);
        for entry in &self.legend {
            let wide = (SAMPLE + 6.0 + text_width(&entry.name, LABEL_SIZE)).min(width - 2.0 * EDGE);
            if left > EDGE && left + wide > width - EDGE {
                (row, left) = (row + 1, EDGE);
            }
            placed.push((row, left, entry));
            left += wide + 18.0;
        }
        placed
    }

    fn note_lines(&self, width: f64) -> Vec<String> {
        self.notes.iter().flat_map(|note| wrapped(note, NOTE_SIZE, width - 2.0 * EDGE)).collect()
    }
}

fn draw_sample(canvas: &mut Canvas, (left, y): Place, sample: Sample) {
    match sample {
        Sample::Fill(color) => {
            let area = Area { left: left + 3.0, top: y - 6.0, right: left + 15.0, bottom: y + 6.0 };
            canvas.rect(area, color);
            canvas.outline(area, 0.5, AXIS);
        }
        Sample::Line { color, width, dashed } => {
            let places = [(left, y), (left + SAMPLE, y)];
            if dashed { canvas.dashes(&places, width, color) } else { canvas.path(&places, width, color) }
        }
        Sample::Point(marker, color) => marker.draw(canvas, (left + SAMPLE / 2.0, y), 4.5, color),
    }
}

/// What a figure with two axes asks of its frame.
pub(super) struct FrameSpec<'a> {
    pub surround: Surround<'a>,
    /// Of the whole sheet.
    pub width: f64,
    /// Of the plot alone.
    pub plot_height: f64,
    pub x: &'a Axis,
    /// From where to where the data reach; nothing when there are none.
    pub x_data: Option<(f64, f64)>,
    /// Part of the range left free at both ends.
    pub x_margin: f64,
    pub y: &'a Axis,
    pub y_data: Option<(f64, f64)>,
    /// Lines across the plot, with their names outside of it.
    pub guides: Vec<Guide<'a>>,
}

/// A line across the plot that means something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guide<'a> {
    pub reference: &'a Reference,
    pub color: Color,
    pub dashed: bool,
}

impl<'a> Guide<'a> {
    pub fn pale(reference: &'a Reference) -> Self {
        Guide { reference, color: PALE_INK, dashed: true }
    }
}

/// Two fitted axes around a plot, with title, legend and notes.
pub(super) struct Frame<'a> {
    surround: Surround<'a>,
    guides: Vec<Guide<'a>>,
    pub width: f64,
    pub height: f64,
    pub plot: Area,
    pub x: Ruler,
    pub x_quantity: Quantity,
    pub y: Ruler,
    pub y_quantity: Quantity,
}

impl<'a> Frame<'a> {
    pub fn new(spec: FrameSpec<'a>) -> Self {
        let FrameSpec { surround, width, plot_height, x, x_data, x_margin, y, y_data, guides } = spec;
        let (x_quantity, y_quantity) = (x.quantity, y.quantity);
        let y = Ruler::fit(y, y_data, Room::Up(plot_height), 0.05);
        let title = if y.title.is_empty() { 0.0 } else { LABEL_SIZE + 10.0 };
        let left = EDGE + title + y.label_width() + 8.0;
        let names = guides.iter().filter(|guide| matches!(guide.reference.at, ReferenceAt::Y(_)));
        let names =
            widest(names.map(|guide| guide.reference.name.as_str()), TICK_SIZE, false).min(MOST_GUIDE_ROOM);
        // The last tick's label is centred on the corner and needs half its width.
        let right = width - EDGE - (names + 8.0).max(16.0);
        let x = Ruler::fit(x, x_data, Room::Across(right - left), x_margin);
        let rows = guide_rows(&guides, &x, (left, right), width).iter().map(|&(_, _, row)| row + 1).max();
        let top = surround.above(width) + 8.0 + rows.unwrap_or(0) as f64 * GUIDE_ROW;
        let plot = Area { left, top, right, bottom: top + plot_height };
        let label = if x.title.is_empty() { 0.0 } else { LABEL_SIZE + 8.0 };
        let height = plot.bottom + 8.0 + TICK_SIZE + 6.0 + label + surround.below(width);
        Frame { surround, guides, width, height, plot, x, x_quantity, y, y_quantity }
    }

    /// Draws the frame, and what `data` draws between the grid and the axes' lines.
    pub fn paint(&self, data: impl FnOnce(&mut Canvas)) -> Svg {
        paint(self.width, self.height, self.surround.title, |canvas| {
            self.surround.draw(canvas, self.width, self.height);
            self.draw_grid(canvas);
            self.draw_guides(canvas);
            data(canvas);
            self.draw_axes(canvas);
            self.name_guides(canvas);
        })
    }

    /// Where a point of the data stands on the sheet; nothing when an axis cannot show it.
    pub fn place(&self, x: f64, y: f64) -> Option<Place> {
        Some((self.across(x)?, self.up(y)?))
    }

    /// The horizontal place of a number on the x axis.
    pub fn across(&self, x: f64) -> Option<f64> {
        Some(self.plot.left + self.plot.width() * self.x.part(x)?)
    }

    /// The vertical place of a number on the y axis.
    pub fn up(&self, y: f64) -> Option<f64> {
        Some(self.plot.bottom - self.plot.height() * self.y.part(y)?)
    }

    /// Whether a place is within the plot.
    pub fn holds(&self, (x, y): Place) -> bool {
        let Area { left, top, right, bottom } = self.plot;
        (left - 0.01..=right + 0.01).contains(&x) && (top - 0.01..=bottom + 0.01).contains(&y)
    }

    fn draw_grid(&self, canvas: &mut Canvas) {
        let Area { left, top, right, bottom } = self.plot;
        let faint = GRID.faded(60);
        for part in &self.x.minor {
            let x = left + self.plot.width() * part;
            canvas.line((x, top), (x, bottom), 0.5, faint);
        }
        for part in &self.y.minor {
            let y = bottom - self.plot.height() * part;
            canvas.line((left, y), (right, y), 0.5, faint);
        }
        for (part, _) in &self.x.ticks {
            let x = left + self.plot.width() * part;
            canvas.line((x, top), (x, bottom), 1.0, GRID);
        }
        for (part, _) in &self.y.ticks {
            let y = bottom - self.plot.height() * part;
            canvas.line((left, y), (right, y), 1.0, GRID);
        }
    }

    /// The lines of the guides that lie within the plot.
    fn draw_guides(&self, canvas: &mut Canvas) {
        let Area { left, top, right, bottom } = self.plot;
        for guide in &self.guides {
            let ends = match guide.reference.at {
                ReferenceAt::X(x) => self.across(x).map(|x| [(x, bottom), (x, top)]),
                ReferenceAt::Y(y) => self.up(y).map(|y| [(left, y), (right, y)]),
            };
            match ends.filter(|ends| ends.iter().all(|&end| self.holds(end))) {
                Some(ends) if guide.dashed => canvas.dashes(&ends, 1.2, guide.color),
                Some([from, to]) => canvas.line(from, to, 1.6, guide.color),
                None => {}
            }
        }
    }

    /// Names of vertical guides above the plot, of horizontal ones to its right.
    fn name_guides(&self, canvas: &mut Canvas) {
        let Area { left, right, top, bottom } = self.plot;
        for (guide, x, row) in guide_rows(&self.guides, &self.x, (left, right), self.width) {
            let y = top - 3.0 - GUIDE_ROW * (row as f64 + 0.5);
            canvas.text((x, y), Anchor::Middle, Font { color: guide.color, ..TICK }, &guide.reference.name);
        }
        let mut names: Vec<(f64, &Guide)> = self
            .guides
            .iter()
            .filter_map(|guide| match guide.reference.at {
                ReferenceAt::X(_) => None,
                ReferenceAt::Y(y) => Some((self.up(y).filter(|y| (top..=bottom).contains(y))?, guide)),
            })
            .collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Names that would touch move down; and those pushed beyond the plot move up again.
        for index in 1..names.len() {
            names[index].0 = names[index].0.max(names[index - 1].0 + GUIDE_ROW);
        }
        let mut lowest = bottom;
        for (y, guide) in names.iter().rev() {
            let y = y.min(lowest);
            lowest = y - GUIDE_ROW;
            let name = shortened(&guide.reference.name, TICK_SIZE, MOST_GUIDE_ROOM);
            canvas.text((right + 5.0, y), Anchor::Start, Font { color: guide.color, ..TICK }, &name);
        }
    }

    fn draw_axes(&self, canvas: &mut Canvas) {
        let Area { left, top, right, bottom } = self.plot;
        canvas.line((left, top), (left, bottom), 1.0, AXIS);
        draw_x_axis(canvas, &self.x, self.plot);
        for (part, label) in &self.y.ticks {
            let y = bottom - self.plot.height() * part;
            canvas.line((left - 4.0, y), (left, y), 1.0, AXIS);
            canvas.text((left - 7.0, y), Anchor::End, TICK, label);
        }
        if !self.y.title.is_empty() {
            let title = shortened(&self.y.title, LABEL_SIZE, bottom - top + 16.0);
            canvas.text((EDGE + LABEL_SIZE / 2.0, self.plot.middle().1), Anchor::Upward, LABEL, &title);
        }
        debug_assert!(right > left, "labels leave no room for the plot");
    }
}

const GUIDE_ROW: f64 = 14.0;
/// Longer names of horizontal guides are cut.
const MOST_GUIDE_ROOM: f64 = 190.0;

/// The names of vertical guides: their middles, and in which row above the plot they find room.
fn guide_rows<'g, 'a>(
    guides: &'g [Guide<'a>],
    x: &Ruler,
    (left, right): (f64, f64),
    width: f64,
) -> Vec<(&'g Guide<'a>, f64, usize)> {
    let mut ends: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    let mut vertical: Vec<(&Guide, f64)> = guides
        .iter()
        .filter_map(|guide| match guide.reference.at {
            ReferenceAt::X(at) => Some((guide, x.part(at).filter(|part| (0.0..=1.0).contains(part))?)),
            ReferenceAt::Y(_) => None,
        })
        .collect();
    vertical.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (guide, part) in vertical {
        let half = text_width(&guide.reference.name, TICK_SIZE) / 2.0;
        let middle =
            (left + (right - left) * part).clamp(EDGE + half, (width - EDGE - half).max(EDGE + half));
        let row = ends.iter().position(|&end| end + 8.0 <= middle - half).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(0.0);
        }
        ends[row] = middle + half;
        placed.push((guide, middle, row));
    }
    placed
}

/// The horizontal axis below a plot: its line, ticks, labels and title.
pub(super) fn draw_x_axis(canvas: &mut Canvas, x: &Ruler, plot: Area) {
    let Area { left, right, bottom, .. } = plot;
    canvas.line((left, bottom), (right, bottom), 1.0, AXIS);
    for (part, label) in &x.ticks {
        let at = left + plot.width() * part;
        canvas.line((at, bottom), (at, bottom + 4.0), 1.0, AXIS);
        canvas.text((at, bottom + 8.0 + TICK_SIZE / 2.0), Anchor::Middle, TICK, label);
    }
    if !x.title.is_empty() {
        let y = bottom + 8.0 + TICK_SIZE + 6.0 + LABEL_SIZE / 2.0;
        let title = shortened(&x.title, LABEL_SIZE, plot.width());
        canvas.text((plot.middle().0, y), Anchor::Middle, LABEL, &title);
    }
}

/// A sheet that says why there is nothing on it.
pub(super) fn paint_sentence(title: &str, sentence: &str) -> Svg {
    let surround = Surround { title, ..Surround::default() };
    let top = surround.above(WIDE);
    let lines = wrapped(sentence, LABEL_SIZE, WIDE - 8.0 * EDGE);
    let height = top + 60.0 + lines.len() as f64 * 18.0 + EDGE;
    paint(WIDE, height, title, |canvas| {
        surround.draw(canvas, WIDE, height);
        for (index, line) in lines.iter().enumerate() {
            let font = Font { color: PALE_INK, ..LABEL };
            canvas.text((WIDE / 2.0, top + 30.0 + index as f64 * 18.0), Anchor::Middle, font, line);
        }
    })
}

/// The extent of numbers that an axis can show, and how many it cannot.
pub(super) fn extent(axis: &Axis, values: impl Iterator<Item = f64>) -> (Option<(f64, f64)>, usize) {
    let mut reach: Option<(f64, f64)> = None;
    let mut hidden = 0;
    for value in values {
        if axis.shows(value) {
            let (low, high) = reach.unwrap_or((value, value));
            reach = Some((low.min(value), high.max(value)));
        } else {
            hidden += 1;
        }
    }
    (reach, hidden)
}

/// "1 point", "2 points", "69,448 points".
pub(super) fn count(number: usize, noun: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Pixels that the widest of these names needs.
pub(super) fn widest<'n>(names: impl Iterator<Item = &'n str>, size: f64, bold: bool) -> f64 {
    let width = |name| if bold { bold_width(name, size) } else { text_width(name, size) };
    names.map(width).fold(0.0, f64::max)
}
