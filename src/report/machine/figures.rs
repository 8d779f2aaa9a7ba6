//! A topology as a drawing: devices as squares, switches as discs, links by class and width.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::hardware::{DeviceKind, LinkClass, Topology, Vertex};
use crate::ids::{Id, IdVec, VertexId};

const WIDTH: i32 = 1100;
const MARGIN: i32 = 60;
const INFALLIBLE: &str = "drawing into a string does not fail";

/// The drawing, as SVG.
pub(super) fn drawing(topology: &Topology) -> String {
    let (places, height) = places(topology);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE).expect(INFALLIBLE);
        let widest = topology.links().iter().map(|link| link.bandwidth.get()).fold(1.0, f64::max);
        // Both directions of a link are one line.
        for link in topology.links().iter().filter(|link| link.from < link.to) {
            let width = 1.0 + 4.0 * (link.bandwidth.get() / widest).sqrt();
            let style = link_colour(link.class).mix(0.55).stroke_width(width.round() as u32);
            let ends = vec![places[link.from], places[link.to]];
            area.draw(&PathElement::new(ends, style)).expect(INFALLIBLE);
        }
        let few = places.len() <= 80;
        for (vertex, &(x, y)) in places.enumerate() {
            let size = if few { 9 } else { 4 };
            match topology.vertex(vertex) {
                Vertex::Device(device) => {
                    let colour = device_colour(topology.devices()[*device].spec.kind);
                    let corners = [(x - size, y - size), (x + size, y + size)];
                    area.draw(&Rectangle::new(corners, colour.filled())).expect(INFALLIBLE);
                    if few {
                        label(&area, (x, y), &device.index().to_string(), &WHITE, 11);
                    }
                }
                Vertex::Switch { .. } => {
                    area.draw(&Circle::new((x, y), size - 1, RGBColor(90, 98, 112).filled()))
                        .expect(INFALLIBLE);
                }
            }
        }
        legend(&area, topology, height);
        area.present().expect(INFALLIBLE);
    }
    svg
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn label(area: &Area<'_>, at: (i32, i32), text: &str, colour: &RGBColor, size: i32) {
    let centre = Pos { h_pos: HPos::Center, v_pos: VPos::Center };
    let style = TextStyle::from(("sans-serif", size).into_font()).color(colour).pos(centre);
    area.draw(&Text::new(text.to_owned(), at, style)).expect(INFALLIBLE);
}

/// Pixels of every vertex, and how high the drawing is.
fn places(topology: &Topology) -> (IdVec<VertexId, (i32, i32)>, i32) {
    let positions = topology.positions();
    let range = |of: fn(&crate::hardware::Position) -> f64| {
        positions.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    let ((left, right), (low, high)) = (range(|at| at.x), range(|at| at.y));
    let inner = f64::from(WIDTH - 2 * MARGIN);
    let across = inner / (right - left).max(1e-9);
    // Levels stand at least 110 pixels apart and no drawing is taller than it is wide.
    let height = ((high - low) * across).clamp(110.0 * (high - low).clamp(0.0, 4.0), 760.0).max(60.0);
    let up = height / (high - low).max(1e-9);
    let one_column = right - left < 1e-9;
    let place = |at: &crate::hardware::Position| {
        let x = if one_column { f64::from(WIDTH) / 2.0 } else { f64::from(MARGIN) + (at.x - left) * across };
        (x.round() as i32, (f64::from(MARGIN) + (high - at.y) * up).round() as i32)
    };
    (positions.iter().map(place).collect(), height as i32 + 2 * MARGIN + 30)
}

/// What the colours mean, at the bottom.
fn legend(area: &Area<'_>, topology: &Topology, height: i32) {
    let about = topology.describe();
    let y = height - 22;
    let mut x = MARGIN;
    let mut entry = |colour: RGBColor, text: String| {
        let corners = [(x, y - 6), (x + 12, y + 6)];
        area.draw(&Rectangle::new(corners, colour.filled())).expect(INFALLIBLE);
        let left = Pos { h_pos: HPos::Left, v_pos: VPos::Center };
        let style = TextStyle::from(("sans-serif", 13).into_font()).color(&BLACK).pos(left);
        let width = 34 + 8 * text.chars().count() as i32;
        area.draw(&Text::new(text, (x + 18, y), style)).expect(INFALLIBLE);
        x += width;
    };
    for (kind, count) in &about.devices {
        entry(device_colour(*kind), format!("{count} x {kind}"));
    }
    if about.switches > 0 {
        entry(RGBColor(90, 98, 112), format!("{} switches", about.switches));
    }
    for class in about.links.keys() {
        entry(link_colour(*class), class.to_string());
    }
}

fn device_colour(kind: DeviceKind) -> RGBColor {
    match kind {
        DeviceKind::Gpu => RGBColor(0, 114, 178),
        DeviceKind::Cpu => RGBColor(0, 158, 115),
        DeviceKind::Fpga => RGBColor(213, 94, 0),
        DeviceKind::Tpu | DeviceKind::Npu => RGBColor(204, 121, 167),
    }
}

fn link_colour(class: LinkClass) -> RGBColor {
    match class {
        LinkClass::Nvlink => RGBColor(60, 140, 60),
        LinkClass::Pcie => RGBColor(150, 120, 90),
        LinkClass::Infiniband => RGBColor(86, 130, 200),
        LinkClass::Ethernet => RGBColor(230, 159, 0),
        _ => RGBColor(130, 138, 150),
    }
}
