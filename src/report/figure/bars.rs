//! Bars made of parts: where the time of each rank or plan went.

use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Svg, paint};
use crate::report::figure::frame::{
    EDGE, Entry, Frame, FrameSpec, LABEL, Surround, TICK, WIDE, count, draw_x_axis, paint_sentence, widest,
};
use crate::report::figure::lettering::{LABEL_SIZE, TICK_SIZE, shortened, text_width, wrapped};
use crate::report::figure::palette::{AXIS, GRID, Hue, INK};
use crate::report::figure::quantity::Quantity;
use crate::report::figure::ruler::{Axis, Room, Ruler};

/// Bars side by side, each divided into the same parts.
///
/// Up to forty bars lie, with their names, parts and totals written; more stand close together.
#[derive(Debug, Clone, PartialEq)]
pub struct StackedBars {
    /// Above the plot.
    pub title: String,
    /// What the bars measure; they always start at zero.
    pub value: Axis,
    /// Names and colours of the parts, in the order of the stack.
    pub parts: Vec<(String, Hue)>,
    /// The bars, in order.
    pub bars: Vec<Bar>,
    /// The bar to mark as the best.
    pub best: Option<usize>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Whose.
    pub name: String,
    /// The size of each part, in the order of [`StackedBars::parts`]; none is negative.
    pub values: Vec<f64>,
}

/// As many bars lie; more stand.
const MOST_LYING: usize = 40;
/// As many stand; of more, only some do.
const MOST_STANDING: usize = 1000;
/// More have no tooltips.
const MOST_HINTS: usize = 600;
const ROW: f64 = 24.0;
const LINE: f64 = 15.0;
/// Wider names take two lines.
const MOST_NAME: f64 = 330.0;
/// Of a bar whose name takes two lines.
const HIGH_ROW: f64 = 36.0;

impl StackedBars {
    /// Draws it.
    ///
    /// # Panics
    /// When a bar has another number of values than there are parts.
    pub fn draw(&self) -> Svg {
        let parts = self.parts.len();
        assert!(self.bars.iter().all(|bar| bar.values.len() == parts), "every bar has {parts} parts");
        match self.bars.len() {
            0 => paint_sentence(&self.title, "There are no bars to draw."),
            1..=MOST_LYING => self.draw_lying(),
            _ => self.draw_standing(),
        }
    }

    fn surround(&self, notes: Vec<String>) -> Surround<'_> {
        let used = |index: usize| self.bars.iter().any(|bar| size(bar.values[index]) > 0.0);
        let legend = self.parts.iter().enumerate().filter(|&(index, _)| used(index));
        let legend = legend.map(|(_, (name, hue))| Entry::fill(name.clone(), hue.color())).collect();
        let odd = self.bars.iter().flat_map(|bar| &bar.values).filter(|&&value| size(value) != value).count();
        let odd =
            (odd > 0).then(|| format!("{} negative or not finite, drawn as nothing.", count(odd, "part")));
        Surround { title: &self.title, legend, notes: odd.into_iter().chain(notes).collect() }
    }

    fn longest(&self) -> f64 {
        self.bars.iter().map(Bar::total).fold(0.0, f64::max)
    }

    fn draw_lying(&self) -> Svg {
        let surround = self.surround(Vec::new());
        let names = widest(self.bars.iter().map(|bar| bar.name.as_str()), LABEL_SIZE, true).min(MOST_NAME);
        let names: Vec<Vec<String>> = self.bars.iter().map(|bar| name_lines(&bar.name, names)).collect();
        let name_room = widest(names.iter().flatten().map(String::as_str), LABEL_SIZE, true);
        let row_height = if names.iter().any(|lines| lines.len() > 1) { HIGH_ROW } else { ROW };
        let totals: Vec<String> = (0..self.bars.len()).map(|index| self.total_label(index)).collect();
        let right = widest(totals.iter().map(String::as_str), TICK_SIZE, true) + 10.0;
        let top = surround.above(WIDE) + 4.0;
        let plot = Area {
            left: EDGE + name_room + 10.0,
            top,
            right: WIDE - EDGE - right,
            bottom: top + row_height * self.bars.len() as f64 + 4.0,
        };
        let axis = self.value.clone().from_zero();
        let ruler = Ruler::fit(&axis, Some((0.0, self.longest())), Room::Across(plot.width()), 0.0);
        let height = plot.bottom + 8.0 + TICK_SIZE + LABEL_SIZE + 16.0 + surround.below(WIDE);
        paint(WIDE, height, &self.title, |canvas| {
            surround.draw(canvas, WIDE, height);
            for (part, _) in &ruler.ticks {
                let x = plot.left + plot.width() * part;
                canvas.line((x, plot.top), (x, plot.bottom), 1.0, GRID);
            }
            for (index, bar) in self.bars.iter().enumerate() {
                let middle = plot.top + 2.0 + row_height * (index as f64 + 0.5);
                let best = self.best == Some(index);
                for (line, name) in names[index].iter().enumerate() {
                    let y = middle + LINE * (line as f64 - (names[index].len() - 1) as f64 / 2.0);
                    canvas.text((plot.left - 8.0, y), Anchor::End, Font { bold: best, ..LABEL }, name);
                }
                let lane = Area { top: middle - ROW / 2.0 + 3.0, bottom: middle + ROW / 2.0 - 3.0, ..plot };
                let end = self.draw_parts(canvas, bar, &ruler, lane);
                let font = Font { bold: best, color: INK, ..TICK };
                canvas.text((end + 6.0, middle), Anchor::Start, font, &totals[index]);
            }
            canvas.line((plot.left, plot.top), (plot.left, plot.bottom), 1.0, AXIS);
            draw_x_axis(canvas, &ruler, plot);
        })
    }

    /// The parts of one lying bar, each with its number where it fits; returns where the bar ends.
    fn draw_parts(&self, canvas: &mut Canvas, bar: &Bar, ruler: &Ruler, lane: Area) -> f64 {
        let mut sum = 0.0;
        let mut left = lane.left;
        for ((name, hue), &value) in self.parts.iter().zip(&bar.values) {
            sum += size(value);
            let right = lane.left + lane.width() * ruler.part(sum).unwrap_or(0.0).clamp(0.0, 1.0);
            if right > left {
                let written = self.value.quantity.write(value);
                canvas.rect(Area { left, right, ..lane }, hue.color());
                canvas.hint(format!("{}: {name} {written}", bar.name));
                if text_width(&written, TICK_SIZE) + 8.0 <= right - left {
                    let middle = ((left + right) / 2.0, (lane.top + lane.bottom) / 2.0);
                    canvas.text(
                        middle,
                        Anchor::Middle,
                        Font { color: hue.color().ink_on(), ..TICK },
                        &written,
                    );
                }
            }
            left = right;
        }
        left
    }

    fn total_label(&self, index: usize) -> String {
        let total = self.value.quantity.write(self.bars[index].total());
        if self.best == Some(index) { format!("{total}, best") } else { total }
    }

    fn draw_standing(&self) -> Svg {
        let stride = self.bars.len().div_ceil(MOST_STANDING);
        let notes = (stride > 1)
            .then(|| format!("One of every {stride} of {} is shown.", count(self.bars.len(), "bar")))
            .into_iter()
            .chain(
                self.best
                    .map(|best| format!("The best is {}: {}.", self.bars[best].name, self.total_label(best))),
            )
            .collect();
        let (first, last) = (&self.bars[0], &self.bars[self.bars.len() - 1]);
        let x = Axis::new(format!("{} … {}", first.name, last.name), Quantity::Number)
            .between(0.0, self.bars.len() as f64);
        let y = self.value.clone().from_zero();
        let frame = Frame::new(FrameSpec {
            surround: self.surround(notes),
            width: WIDE,
            plot_height: 280.0,
            x: &x,
            x_data: None,
            x_margin: 0.0,
            y: &y,
            y_data: Some((0.0, self.longest())),
            guides: Vec::new(),
        });
        frame.paint(|canvas| {
            for (index, bar) in self.bars.iter().enumerate().step_by(stride) {
                let edge = |index: usize| frame.across(index as f64).expect("a bar within the axis");
                let gap = if edge(1) - edge(0) > 4.0 { 1.0 } else { 0.0 };
                let mut sum = 0.0;
                let mut bottom = frame.plot.bottom;
                for ((name, hue), &value) in self.parts.iter().zip(&bar.values) {
                    sum += size(value);
                    let top = frame.up(sum).unwrap_or(bottom);
                    if top < bottom {
                        let right = edge((index + stride).min(self.bars.len())) - gap;
                        canvas.rect(Area { left: edge(index), top, right, bottom }, hue.color());
                        if self.bars.len() <= MOST_HINTS {
                            canvas.hint(format!("{}: {name} {}", bar.name, self.value.quantity.write(value)));
                        }
                    }
                    bottom = top;
                }
            }
        })
    }
}

/// A name in at most two lines.
fn name_lines(name: &str, room: f64) -> Vec<String> {
    // Bold letters are wider.
    let lines = wrapped(name, LABEL_SIZE * 1.12, room + 0.01);
    match lines.as_slice() {
        [] | [_] | [_, _] => lines,
        [first, rest @ ..] => vec![first.clone(), shortened(&rest.join(" "), LABEL_SIZE * 1.12, room)],
    }
}

impl Bar {
    fn total(&self) -> f64 {
        self.values.iter().copied().map(size).sum()
    }
}

/// What is drawn of a part: nothing that is negative or not finite.
fn size(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}
