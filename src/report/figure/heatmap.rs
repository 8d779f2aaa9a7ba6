//! Numbers as shades: link utilisation over time, bytes from rank to rank.

use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Svg, paint};
use crate::report::figure::frame::{
    EDGE, LABEL, Surround, TICK, WIDE, count, draw_x_axis, extent, paint_sentence, widest,
};
use crate::report::figure::lettering::{LABEL_SIZE, TICK_SIZE, shortened, text_width};
use crate::report::figure::palette::{AXIS, Color, GRID, heat};
use crate::report::figure::ruler::{Axis, Room, Ruler};

/// A table of numbers drawn as shades, light for little and dark for much.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    /// Above the plot.
    pub title: String,
    /// What the columns are.
    pub columns: Columns,
    /// What the rows are; empty when their names say it.
    pub row_label: String,
    /// The names of the rows, from top to bottom.
    pub rows: Vec<String>,
    /// One list a row, with one number a column; not a number where there is none.
    pub values: Vec<Vec<f64>>,
    /// What the numbers are. Its range, when given, is that of the shades.
    pub value: Axis,
}

/// The columns of a heat map, all of one width.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns {
    /// Each with a name, and what they are together.
    Named(String, Vec<String>),
    /// Equal parts of an axis from here to there.
    Over(Axis, f64, f64),
}

/// More rows are merged.
const MOST_ROWS: usize = 64;
/// More columns are merged.
const MOST_COLUMNS: usize = 300;
/// Shades that are told apart; equal neighbours are drawn as one.
const SHADES: f64 = 32.0;
/// In larger tables cells have no tooltips.
const MOST_HINTS: usize = 4000;
/// Neighbours are drawn a little over one another, so that no seam shines through.
const SEAM: f64 = 0.4;
const SCALE_WIDTH: f64 = 14.0;

impl Heatmap {
    /// Draws it.
    ///
    /// # Panics
    /// When the lists of numbers do not have the form of the table.
    pub fn draw(&self) -> Svg {
        assert_eq!(self.rows.len(), self.values.len(), "a list of numbers for every row");
        let columns = self.values.first().map_or(0, Vec::len);
        assert!(self.values.iter().all(|row| row.len() == columns), "a number for every column");
        if let Columns::Named(_, names) = &self.columns {
            assert!(columns == 0 || names.len() == columns, "a name for every column");
        }
        let reach = extent(&self.value, self.values.iter().flatten().copied()).0;
        let Some(reach) = reach else {
            return paint_sentence(&self.title, "There are no numbers to draw.");
        };
        let (table, notes) = self.merged(columns);
        self.draw_table(&table, reach, notes)
    }

    /// The table with so few rows and columns that each can be seen.
    fn merged(&self, columns: usize) -> (Table, Vec<String>) {
        let (tall, wide) = (self.rows.len().div_ceil(MOST_ROWS), columns.div_ceil(MOST_COLUMNS));
        let mut notes = Vec::new();
        if tall > 1 {
            notes.push(format!("Each row is the mean of {tall} of {}.", count(self.rows.len(), "row")));
        }
        if wide > 1 {
            notes.push(format!("Each column is the mean of {wide} of {}.", count(columns, "column")));
        }
        let cells = self.values.chunks(tall).map(|rows| {
            let cell = |from: usize| {
                let to = (from + wide).min(columns);
                mean(rows.iter().flat_map(|row| &row[from..to]).copied())
            };
            (0..columns).step_by(wide).map(cell).collect()
        });
        let name = |names: &[String]| match names {
            [only] => only.clone(),
            several => format!("{} … {}", several[0], several[several.len() - 1]),
        };
        let rows = self.rows.chunks(tall).map(name).collect();
        let columns = match &self.columns {
            Columns::Named(_, names) => names.chunks(wide).map(name).collect(),
            Columns::Over(..) => Vec::new(),
        };
        (Table { rows, columns, cells: cells.collect() }, notes)
    }

    fn draw_table(&self, table: &Table, reach: (f64, f64), notes: Vec<String>) -> Svg {
        let surround = Surround { title: &self.title, legend: Vec::new(), notes };
        let row = (640.0 / table.rows.len() as f64).clamp(7.0, 26.0);
        let names = widest(table.rows.iter().map(String::as_str), TICK_SIZE, false).min(WIDE / 4.0);
        let top = surround.above(WIDE) + 4.0;
        let bottom = top + (row * table.rows.len() as f64).max(90.0);
        let scale = Ruler::fit(&self.value, Some(reach), Room::Up(bottom - top), 0.0);
        let right = SCALE_WIDTH + 14.0 + scale.label_width() + 10.0 + LABEL_SIZE + 8.0;
        let label = if self.row_label.is_empty() { 0.0 } else { LABEL_SIZE + 8.0 };
        let plot = Area { left: EDGE + label + names + 8.0, top, right: WIDE - EDGE - right, bottom };
        let plot = self.narrowed(plot, table);
        let below = self.height_below(table, plot);
        let height = plot.bottom + below + surround.below(WIDE);
        paint(WIDE, height, &self.title, |canvas| {
            surround.draw(canvas, WIDE, height);
            self.draw_cells(canvas, table, plot, &scale);
            draw_row_names(canvas, table, plot, names);
            let label = shortened(&self.row_label, LABEL_SIZE, plot.height());
            canvas.text((EDGE + LABEL_SIZE / 2.0, plot.middle().1), Anchor::Upward, LABEL, &label);
            self.draw_columns(canvas, table, plot);
            draw_scale(canvas, &scale, plot);
            canvas.outline(plot, 1.0, AXIS);
        })
    }

    /// Few named columns make cells at most three times as wide as high.
    fn narrowed(&self, plot: Area, table: &Table) -> Area {
        let Columns::Named(..) = self.columns else { return plot };
        let row = plot.height() / table.rows.len() as f64;
        let longest = widest(table.columns.iter().map(String::as_str), TICK_SIZE, false) + 12.0;
        let cell = (3.0 * row).max(longest.min(90.0));
        Area { right: plot.right.min(plot.left + cell * table.columns.len() as f64), ..plot }
    }

    fn draw_cells(&self, canvas: &mut Canvas, table: &Table, plot: Area, scale: &Ruler) {
        let row_height = plot.height() / table.rows.len() as f64;
        canvas.rect(plot, GRID);
        for (index, cells) in table.cells.iter().enumerate() {
            let top = plot.top + row_height * index as f64;
            let width = plot.width() / cells.len() as f64;
            let written: Vec<String> = cells.iter().map(|&cell| self.value.quantity.write(cell)).collect();
            let fits = row_height >= 16.0
                && written
                    .iter()
                    .zip(cells)
                    .all(|(text, cell)| !cell.is_finite() || text_width(text, TICK_SIZE) + 6.0 <= width);
            let shades: Vec<Option<u32>> = cells.iter().map(|&cell| shade(scale, cell)).collect();
            let mut from = 0;
            for run in shades.chunk_by(|a, b| a == b && !fits) {
                let to = from + run.len();
                let area = Area {
                    left: plot.left + width * from as f64,
                    right: (plot.left + width * to as f64 + SEAM).min(plot.right),
                    top,
                    bottom: (top + row_height + SEAM).min(plot.bottom),
                };
                if let Some(shade) = run[0] {
                    let color = heat(f64::from(shade) / SHADES);
                    canvas.rect(area, color);
                    if table.rows.len() * cells.len() <= MOST_HINTS {
                        let value =
                            if run.len() == 1 { written[from].clone() } else { self.about(&cells[from..to]) };
                        canvas.hint(format!("{}: {value}", table.rows[index]));
                    }
                    if fits {
                        let font = Font { color: color.ink_on(), ..TICK };
                        canvas.text(area.middle(), Anchor::Middle, font, &written[from]);
                    }
                }
                from = to;
            }
        }
    }

    fn about(&self, cells: &[f64]) -> String {
        format!("about {}", self.value.quantity.write(mean(cells.iter().copied())))
    }

    fn height_below(&self, table: &Table, plot: Area) -> f64 {
        let title = match &self.columns {
            Columns::Named(label, _) => !label.is_empty(),
            Columns::Over(..) => true,
        };
        let upright = table.columns.is_empty() || !turned(table, plot);
        let names = if upright { TICK_SIZE } else { column_name_room(table) };
        8.0 + names + 6.0 + if title { LABEL_SIZE + 8.0 } else { 0.0 }
    }

    fn draw_columns(&self, canvas: &mut Canvas, table: &Table, plot: Area) {
        match &self.columns {
            Columns::Over(axis, from, to) => {
                let axis = Axis { range: None, ..axis.clone() };
                draw_x_axis(
                    canvas,
                    &Ruler::fit(&axis, Some((*from, *to)), Room::Across(plot.width()), 0.0),
                    plot,
                );
            }
            Columns::Named(label, _) => {
                let width = plot.width() / table.columns.len() as f64;
                let turned = turned(table, plot);
                let stride = if turned { (TICK_SIZE * 1.3 / width).ceil().max(1.0) as usize } else { 1 };
                let room = column_name_room(table);
                for (index, name) in table.columns.iter().enumerate().step_by(stride) {
                    let x = plot.left + width * (index as f64 + 0.5);
                    if turned {
                        let name = shortened(name, TICK_SIZE, room);
                        let y = plot.bottom + 8.0 + text_width(&name, TICK_SIZE) / 2.0;
                        canvas.text((x, y), Anchor::Upward, TICK, &name);
                    } else {
                        canvas.text((x, plot.bottom + 8.0 + TICK_SIZE / 2.0), Anchor::Middle, TICK, name);
                    }
                }
                let names = if turned { room } else { TICK_SIZE };
                let y = plot.bottom + 8.0 + names + 6.0 + LABEL_SIZE / 2.0;
                canvas.text((plot.middle().0, y), Anchor::Middle, LABEL, label);
            }
        }
    }
}

/// What is drawn: rows, columns (no names when they go over an axis), numbers.
struct Table {
    rows: Vec<String>,
    columns: Vec<String>,
    cells: Vec<Vec<f64>>,
}

/// The mean of what is a number; not a number when nothing is.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .filter(|value| value.is_finite())
        .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn shade(scale: &Ruler, value: f64) -> Option<u32> {
    let part = value.is_finite().then(|| scale.part(value)).flatten()?;
    Some((part.clamp(0.0, 1.0) * SHADES).round() as u32)
}

/// Whether the names of the columns are too wide to be read from left to right.
fn turned(table: &Table, plot: Area) -> bool {
    let longest = widest(table.columns.iter().map(String::as_str), TICK_SIZE, false);
    longest + 6.0 > plot.width() / table.columns.len() as f64
}

fn column_name_room(table: &Table) -> f64 {
    widest(table.columns.iter().map(String::as_str), TICK_SIZE, false).min(110.0)
}

/// The rows' names, as many as fit.
fn draw_row_names(canvas: &mut Canvas, table: &Table, plot: Area, room: f64) {
    let height = plot.height() / table.rows.len() as f64;
    let stride = (TICK_SIZE * 1.2 / height).ceil().max(1.0) as usize;
    for (index, name) in table.rows.iter().enumerate().step_by(stride) {
        let y = plot.top + height * (index as f64 + 0.5);
        canvas.text((plot.left - 6.0, y), Anchor::End, TICK, &shortened(name, TICK_SIZE, room));
    }
}

/// The shades with their numbers, to the right of the plot.
fn draw_scale(canvas: &mut Canvas, scale: &Ruler, plot: Area) {
    let left = plot.right + 14.0;
    let bar = Area { left, right: left + SCALE_WIDTH, ..plot };
    let color = |step: u32| -> Color { heat(f64::from(step) / SHADES) };
    let steps = SHADES as u32;
    for step in 0..=steps {
        let height = bar.height() / f64::from(steps + 1);
        let bottom = bar.bottom - height * f64::from(step);
        canvas.rect(Area { top: (bottom - height - SEAM).max(bar.top), bottom, ..bar }, color(step));
    }
    canvas.outline(bar, 1.0, AXIS);
    for (part, label) in &scale.ticks {
        let y = bar.bottom - bar.height() * part;
        canvas.line((bar.right, y), (bar.right + 3.0, y), 1.0, AXIS);
        canvas.text((bar.right + 6.0, y), Anchor::Start, TICK, label);
    }
    let x = bar.right + 6.0 + scale.label_width() + 10.0 + LABEL_SIZE / 2.0;
    let title = shortened(&scale.title, LABEL_SIZE, bar.height() + 10.0);
    canvas.text((x, plot.middle().1), Anchor::Upward, LABEL, &title);
}
