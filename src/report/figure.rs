//! What all figures are drawn with: a palette that colour-blind readers can tell apart, a size that
//! fits a page, text, legends and time axes. Only figures name plotters.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::metrics::Part;
use crate::trace::{Activity, MemoryUse};
use crate::units::SimDuration;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(super) const WIDTH: u32 = 1100;
pub(super) const INK: RGBColor = RGBColor(28, 35, 48);
pub(super) const FAINT: RGBColor = RGBColor(222, 226, 232);

/// A drawing of this size. Drawing into a string cannot fail, and what plotters calls errors are
/// those of its backend.
pub(super) fn drawing(height: u32, draw: impl FnOnce(&Area<'_>)) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).expect(INFALLIBLE);
        draw(&area);
        area.present().expect(INFALLIBLE);
    }
    svg
}

pub(super) const INFALLIBLE: &str = "drawing into a string does not fail";

/// One colour for each activity, from Okabe and Ito's colour-blind-safe palette and tints of it.
pub(super) fn colour(activity: Activity) -> RGBColor {
    match activity {
        Activity::Forward => RGBColor(86, 180, 233),
        Activity::Backward | Activity::BackwardInput => RGBColor(0, 114, 178),
        Activity::BackwardWeight => RGBColor(120, 94, 170),
        Activity::Recompute => RGBColor(160, 205, 240),
        Activity::Optimizer => RGBColor(240, 200, 60),
        Activity::TensorComm => RGBColor(213, 94, 0),
        Activity::DataComm => RGBColor(0, 158, 115),
        Activity::PipelineComm => RGBColor(204, 121, 167),
        Activity::ExpertComm => RGBColor(140, 86, 40),
        Activity::ContextComm => RGBColor(230, 159, 0),
        _ => RGBColor(130, 138, 150),
    }
}

pub(super) fn part_colour(part: Part) -> RGBColor {
    match part {
        Part::Compute => colour(Activity::Forward),
        Part::Optimizer => colour(Activity::Optimizer),
        Part::Input => RGBColor(150, 120, 90),
        Part::ExposedTensor => colour(Activity::TensorComm),
        Part::ExposedExpert => colour(Activity::ExpertComm),
        Part::ExposedContext => colour(Activity::ContextComm),
        Part::ExposedData => colour(Activity::DataComm),
        Part::ExposedPipeline => colour(Activity::PipelineComm),
        Part::Other => RGBColor(130, 138, 150),
        Part::Bubble => RGBColor(226, 229, 234),
    }
}

pub(super) fn memory_colour(usage: MemoryUse) -> RGBColor {
    match usage {
        MemoryUse::Parameters => RGBColor(0, 114, 178),
        MemoryUse::Gradients => RGBColor(86, 180, 233),
        MemoryUse::Optimizer => RGBColor(240, 200, 60),
        MemoryUse::Activations => RGBColor(213, 94, 0),
        MemoryUse::Buffers => RGBColor(130, 138, 150),
    }
}

pub(super) fn text(area: &Area<'_>, at: (i32, i32), size: i32, anchor: Pos, colour: RGBColor, what: &str) {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&colour).pos(anchor);
    area.draw(&Text::new(what.to_owned(), at, style)).expect(INFALLIBLE);
}

pub(super) const LEFT: Pos = Pos { h_pos: HPos::Left, v_pos: VPos::Center };
pub(super) const RIGHT: Pos = Pos { h_pos: HPos::Right, v_pos: VPos::Center };
pub(super) const MIDDLE: Pos = Pos { h_pos: HPos::Center, v_pos: VPos::Center };

pub(super) fn fill(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
    area.draw(&Rectangle::new([from, to], colour.filled())).expect(INFALLIBLE);
}

pub(super) fn line(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
    area.draw(&PathElement::new(vec![from, to], colour.stroke_width(1))).expect(INFALLIBLE);
}

/// Coloured squares with names, from left to right, in a row of their own.
pub(super) fn legend(area: &Area<'_>, mut x: i32, y: i32, entries: &[(RGBColor, &str)]) {
    for (colour, name) in entries {
        fill(area, (x, y - 6), (x + 12, y + 6), *colour);
        text(area, (x + 18, y), 13, LEFT, INK, name);
        x += 36 + 8 * name.len() as i32;
    }
}

/// Ticks at round times below the lanes.
pub(super) fn time_axis(area: &Area<'_>, length: SimDuration, y: i32, x: impl Fn(f64) -> i32) {
    let step = round_step(length.seconds() / 8.0);
    let ticks = (length.seconds() / step).floor() as u32;
    for tick in 0..=ticks {
        let at = f64::from(tick) * step;
        line(area, (x(at), 42), (x(at), y), FAINT);
        let label = SimDuration::from_seconds(at + step * 1e-9).to_string();
        let label = if tick == 0 { "0".to_owned() } else { short(&label) };
        text(area, (x(at), y + 12), 12, MIDDLE, INK, &label);
    }
}

/// A time with its needless digits dropped.
fn short(label: &str) -> String {
    let Some((number, unit)) = label.split_once(' ') else { return label.to_owned() };
    let number: f64 = number.parse().unwrap_or(0.0);
    format!("{} {unit}", (number * 100.0).round() / 100.0)
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= least).unwrap_or(power * 10.0)
}

/// The colour of the n-th line of several.
pub(super) fn series_colour(at: usize) -> RGBColor {
    const COLOURS: [RGBColor; 8] = [
        RGBColor(0, 114, 178),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(230, 159, 0),
        RGBColor(86, 180, 233),
        RGBColor(120, 94, 170),
        RGBColor(90, 98, 112),
    ];
    COLOURS[at % COLOURS.len()]
}

/// Ink that can be read on a colour.
pub(super) fn ink_on(colour: RGBColor) -> RGBColor {
    // Relative luminance, ITU-R BT.709.
    let RGBColor(r, g, b) = colour;
    let luminance = 0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b);
    if luminance < 125.0 { WHITE } else { INK }
}
