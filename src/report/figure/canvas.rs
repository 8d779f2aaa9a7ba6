//! The sheet that figures draw on: rectangles, lines and text at places in pixels.
//!
//! The only file that names `plotters`. Its SVG backend puts everything on whole coordinates, so the
//! canvas is ten times as fine as a pixel and the view box scales it back; and it has no tooltips, so
//! they are put in when the picture is finished. Layout is not done here: plotters measures text as
//! if all letters were equally wide and puts legends over the data.

use std::fmt;

use plotters::backend::{DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform, RGBAColor, ShapeStyle, TextStyle};

use crate::report::escape::escape;
use crate::report::figure::palette::Color;

/// A finished picture: a well-formed SVG document that starts with its root element.
///
/// It names no font file, script or address outside of itself, and no ids, so any number of them can
/// stand in one HTML page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// The document.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place on the sheet, in pixels from the upper left corner.
pub(super) type Place = (f64, f64);

/// A rectangle on the sheet, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub fn middle(&self) -> Place {
        ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0)
    }
}

/// Where a text stands relative to its place; its height is centred on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
    /// Centred, and turned to be read upward.
    Upward,
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font {
    /// Pixels.
    pub size: f64,
    pub bold: bool,
    pub color: Color,
}

/// Canvas units in a pixel.
const FINENESS: f64 = 10.0;
/// The SVG backend divides font sizes by this.
const PLOTTERS_FONT_SCALE: f64 = 1.24;
/// What the backend is told, to be moved to the root element at the end.
const FONT_FAMILY: &str = "sans-serif";

/// A sheet being drawn on.
pub(super) struct Canvas<'a> {
    backend: SVGBackend<'a>,
    shapes: usize,
    hints: Vec<(usize, String)>,
}

/// Draws a picture of this size in pixels; the title is for screen readers and tooltips.
pub(super) fn paint(width: f64, height: f64, title: &str, draw: impl FnOnce(&mut Canvas)) -> Svg {
    let mut raw = String::new();
    let size = (fine(width) as u32, fine(height) as u32);
    let mut canvas =
        Canvas { backend: SVGBackend::with_string(&mut raw, size), shapes: 0, hints: Vec::new() };
    draw(&mut canvas);
    done(canvas.backend.present());
    let hints = std::mem::take(&mut canvas.hints);
    drop(canvas);
    finish(&raw, (width, height), title, hints)
}

impl Canvas<'_> {
    /// A filled rectangle.
    pub fn rect(&mut self, area: Area, color: Color) {
        let corners = (at((area.left, area.top)), at((area.right, area.bottom)));
        self.shapes += 1;
        done(self.backend.draw_rect(corners.0, corners.1, &stroke(color, 1.0), true));
    }

    /// The border of a rectangle.
    pub fn outline(&mut self, area: Area, width: f64, color: Color) {
        let Area { left, top, right, bottom } = area;
        self.path(&[(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], width, color);
    }

    /// A straight line.
    pub fn line(&mut self, from: Place, to: Place, width: f64, color: Color) {
        self.shapes += 1;
        done(self.backend.draw_line(at(from), at(to), &stroke(color, width)));
    }

    /// A line through places.
    pub fn path(&mut self, places: &[Place], width: f64, color: Color) {
        self.shapes += 1;
        done(self.backend.draw_path(places.iter().copied().map(at), &stroke(color, width)));
    }

    /// A line through places, in dashes.
    pub fn dashes(&mut self, places: &[Place], width: f64, color: Color) {
        for [from, to] in dashes_along(places, 6.0, 4.0) {
            self.line(from, to, width, color);
        }
    }

    /// A filled polygon.
    pub fn polygon(&mut self, places: &[Place], color: Color) {
        self.shapes += 1;
        done(self.backend.fill_polygon(places.iter().copied().map(at), &stroke(color, 1.0)));
    }

    /// A filled circle.
    pub fn disc(&mut self, middle: Place, radius: f64, color: Color) {
        self.shapes += 1;
        done(self.backend.draw_circle(at(middle), fine(radius) as u32, &stroke(color, 1.0), true));
    }

    /// A circle's line.
    pub fn ring(&mut self, middle: Place, radius: f64, width: f64, color: Color) {
        self.shapes += 1;
        done(self.backend.draw_circle(at(middle), fine(radius) as u32, &stroke(color, width), false));
    }

    /// One line of text. What XML cannot hold becomes a blank.
    pub fn text(&mut self, place: Place, anchor: Anchor, font: Font, text: &str) {
        let text: String = text.chars().map(|c| if is_drawable(c) { c } else { ' ' }).collect();
        let h_pos = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::End => HPos::Right,
            Anchor::Middle | Anchor::Upward => HPos::Center,
        };
        let slant = if font.bold { FontStyle::Bold } else { FontStyle::Normal };
        let turn = if anchor == Anchor::Upward { FontTransform::Rotate270 } else { FontTransform::None };
        let color = rgba(font.color);
        let style = TextStyle::from((FONT_FAMILY, plotters_size(font.size), slant))
            .color(&color)
            .transform(turn)
            .pos(Pos::new(h_pos, VPos::Center));
        done(self.backend.draw_text(&text, &style, at(place)));
    }

    /// Shows a text when the pointer rests on the shape drawn last.
    pub fn hint(&mut self, text: String) {
        self.hints.push((self.shapes - 1, text));
    }
}

/// The stretches of a dashed line.
fn dashes_along(places: &[Place], dash: f64, gap: f64) -> Vec<[Place; 2]> {
    let mut stretches = Vec::new();
    let mut done = 0.0; // how far into the present dash and gap
    for pair in places.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let along = |d: f64| (from.0 + (to.0 - from.0) * d / length, from.1 + (to.1 - from.1) * d / length);
        let mut walked = 0.0;
        while walked < length {
            let next = if done < dash { dash } else { dash + gap };
            let end = (walked + next - done).min(length);
            if done < dash {
                stretches.push([along(walked), along(end)]);
            }
            done += end - walked;
            if done >= dash + gap - 1e-9 {
                done = 0.0;
            } else if (done - dash).abs() < 1e-9 {
                done = dash;
            }
            walked = end;
        }
    }
    stretches
}

/// Puts the root element and the tooltips right and leaves out what says nothing.
///
/// Labels cannot be hit by these replacements: in them every quotation mark is written `&quot;`.
fn finish(raw: &str, (width, height): (f64, f64), title: &str, hints: Vec<(usize, String)>) -> Svg {
    let mut hints = hints.into_iter().peekable();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         font-family=\"Helvetica, Arial, {FONT_FAMILY}\" stroke-linejoin=\"round\" role=\"img\">\n\
         <title>{}</title>\n",
        fine(width),
        fine(height),
        escape(title),
    );
    let mut shape = 0;
    let mut lines = raw.lines().skip(1);
    while let Some(line) = lines.next() {
        let line = plain(line);
        if line.starts_with("<text") {
            svg.push_str(&line);
            svg.push_str(lines.next().expect("a text has a line of its own"));
        } else if line.starts_with("</") {
            svg.push_str(&line);
            svg.push('\n');
        } else {
            match hints.next_if(|&(at, _)| at == shape) {
                None => svg.push_str(&line),
                Some((_, hint)) => {
                    let tag = line[1..].split(' ').next().expect("a tag");
                    let open = line.strip_suffix("/>").expect("shapes are empty elements");
                    svg.push_str(&format!("{open}><title>{}</title></{tag}>", escape(&hint)));
                }
            }
            svg.push('\n');
            shape += 1;
        }
    }
    Svg(svg)
}

/// An element without the attributes that have their default values.
fn plain(line: &str) -> String {
    [" opacity=\"1\"", " stroke=\"none\"", " fill-opacity=\"1\"", " font-family=\"sans-serif\""]
        .iter()
        .fold(line.to_owned(), |line, noise| line.replace(noise, ""))
        .replace(" \"/>", "\"/>")
}

/// XML 1.0 has no control characters but tab and line end, and not the last two of the plane.
fn is_drawable(c: char) -> bool {
    !c.is_control() && c != '\u{FFFE}' && c != '\u{FFFF}'
}

fn stroke(color: Color, width: f64) -> ShapeStyle {
    ShapeStyle { color: rgba(color), filled: false, stroke_width: fine(width).max(1) as u32 }
}

fn rgba(color: Color) -> RGBAColor {
    RGBAColor(color.red, color.green, color.blue, f64::from(color.percent) / 100.0)
}

/// The size that the backend, dividing by its scale, writes as whole canvas units.
fn plotters_size(pixels: f64) -> f64 {
    let wanted = (pixels * FINENESS).round();
    let about = wanted * PLOTTERS_FONT_SCALE;
    let candidates = [about, about.next_down(), about.next_up()];
    candidates.into_iter().find(|size| size / PLOTTERS_FONT_SCALE == wanted).unwrap_or(about)
}

fn at((x, y): Place) -> (i32, i32) {
    (fine(x), fine(y))
}

/// Pixels in canvas units.
fn fine(pixels: f64) -> i32 {
    assert!(pixels.is_finite(), "a figure's layout came to {pixels} pixels");
    (pixels * FINENESS).round() as i32
}

/// The backend writes into a string, which takes everything.
fn done<E: fmt::Debug>(result: Result<(), E>) {
    result.expect("a string takes every mark");
}
