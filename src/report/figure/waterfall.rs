//! A waterfall: what each of several causes adds, from the first to the whole.

use crate::report::figure::canvas::{Anchor, Area, Font, Svg, paint};
use crate::report::figure::frame::{EDGE, LABEL, Surround, TICK, WIDE, draw_x_axis, paint_sentence, widest};
use crate::report::figure::lettering::{LABEL_SIZE, TICK_SIZE};
use crate::report::figure::palette::{AXIS, GRID, Hue, INK};
use crate::report::figure::ruler::{Axis, Room, Ruler};

/// Bars that begin where the one above ends; the last shows the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Waterfall {
    /// Above the plot.
    pub title: String,
    /// What the bars measure, from zero.
    pub value: Axis,
    /// What is added, in order.
    pub falls: Vec<WaterfallBar>,
    /// What the whole is called.
    pub whole: String,
}

/// What one cause adds.
#[derive(Debug, Clone, PartialEq)]
pub struct WaterfallBar {
    /// Which.
    pub name: String,
    /// How much; negative where it takes away.
    pub length: f64,
    /// Its colour.
    pub hue: Hue,
}

const ROW: f64 = 24.0;

impl Waterfall {
    /// Draws it.
    pub fn draw(&self) -> Svg {
        if self.falls.is_empty() {
            return paint_sentence(&self.title, "There is nothing to add up.");
        }
        let surround = Surround { title: &self.title, legend: Vec::new(), notes: Vec::new() };
        let rows = self.rows();
        let most = rows.iter().map(|row| row.from.max(row.to)).fold(0.0, f64::max);
        let name_room = widest(rows.iter().map(|row| row.name), LABEL_SIZE, true);
        let right = widest(rows.iter().map(|row| row.written.as_str()), TICK_SIZE, true) + 10.0;
        let top = surround.above(WIDE) + 4.0;
        let plot = Area {
            left: EDGE + name_room + 10.0,
            top,
            right: WIDE - EDGE - right,
            bottom: top + ROW * rows.len() as f64 + 4.0,
        };
        let ruler =
            Ruler::fit(&self.value.clone().from_zero(), Some((0.0, most)), Room::Across(plot.width()), 0.0);
        let across = |value: f64| plot.left + plot.width() * ruler.part(value).unwrap_or(0.0).clamp(0.0, 1.0);
        let height = plot.bottom + 8.0 + TICK_SIZE + LABEL_SIZE + 16.0 + surround.below(WIDE);
        paint(WIDE, height, &self.title, |canvas| {
            surround.draw(canvas, WIDE, height);
            for (part, _) in &ruler.ticks {
                let x = plot.left + plot.width() * part;
                canvas.line((x, plot.top), (x, plot.bottom), 1.0, GRID);
            }
            for (index, row) in rows.iter().enumerate() {
                let last = index + 1 == rows.len();
                let middle = plot.top + 2.0 + ROW * (index as f64 + 0.5);
                let name = Font { bold: last, ..LABEL };
                canvas.text((plot.left - 8.0, middle), Anchor::End, name, row.name);
                let (from, to) = (across(row.from.min(row.to)), across(row.from.max(row.to)));
                let (above, below) = (middle - ROW / 2.0 + 3.0, middle + ROW / 2.0 - 3.0);
                // A bar too thin to be seen is drawn a pixel wide.
                let end = to.max(from + 1.0);
                canvas.rect(Area { left: from, right: end, top: above, bottom: below }, row.hue.color());
                canvas.hint(format!("{}: {}", row.name, row.written));
                if !last {
                    // Where this bar ends the next one begins.
                    let x = across(row.to);
                    canvas.line((x, below), (x, below + 6.0), 1.0, AXIS);
                }
                let font = Font { bold: last, color: INK, ..TICK };
                canvas.text((end + 6.0, middle), Anchor::Start, font, &row.written);
            }
            canvas.line((plot.left, plot.top), (plot.left, plot.bottom), 1.0, AXIS);
            draw_x_axis(canvas, &ruler, plot);
        })
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let whole: f64 = self.falls.iter().map(|fall| fall.length).sum();
        let written = |length: f64| {
            let sign = if length < 0.0 { "−" } else { "" };
            format!("{sign}{}", self.value.quantity.write(length.abs()))
        };
        let mut from = 0.0;
        let mut rows: Vec<Row> = Vec::new();
        for fall in &self.falls {
            let to = from + fall.length;
            let share =
                if whole > 0.0 { format!(" ({:.1} %)", fall.length / whole * 100.0) } else { String::new() };
            let written = written(fall.length) + &share;
            rows.push(Row { name: &fall.name, hue: fall.hue, from, to, written });
            from = to;
        }
        rows.push(Row { name: &self.whole, hue: Hue::Muted, from: 0.0, to: whole, written: written(whole) });
        rows
    }
}

/// One bar in its place.
struct Row<'w> {
    name: &'w str,
    hue: Hue,
    from: f64,
    to: f64,
    written: String,
}
