//! Vertices joined by edges: a topology, a communication plan, a task graph.

use std::collections::BTreeMap;

use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Place, Svg, paint};
use crate::report::figure::frame::{Entry, Surround, TICK, WIDE, count, paint_sentence};
use crate::report::figure::lettering::{TICK_SIZE, text_width};
use crate::report::figure::palette::{Color, Hue, INK, PAPER};
use crate::report::figure::quantity::Quantity;
use crate::report::figure::spread::{Spot, line, rows_of, spots};

/// Vertices at given places, and edges between them, wider for more.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Above the drawing.
    pub title: String,
    /// The kinds of vertices, in the order of the legend.
    pub kinds: Vec<VertexKind>,
    /// The vertices.
    pub vertices: Vec<GraphVertex>,
    /// The kinds of edges.
    pub edge_kinds: Vec<EdgeKind>,
    /// Directed edges. Those between the same vertices are drawn as one line; with an arrowhead where
    /// they all go one way.
    pub edges: Vec<GraphEdge>,
    /// What the weights of the edges are.
    pub weight: Quantity,
}

/// How vertices of one kind look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexKind {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub hue: Hue,
    /// Round (switches) or square (devices).
    pub round: bool,
}

/// How edges of one kind look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeKind {
    /// Its name in the legend; may be empty.
    pub name: String,
    /// Its colour.
    pub hue: Hue,
}

/// One vertex.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphVertex {
    /// Written in or below it where there is room.
    pub name: String,
    /// The index of its kind.
    pub kind: usize,
    /// Place from left to right, in any unit.
    pub x: f64,
    /// Place from bottom to top, in the unit of `x`.
    pub y: f64,
}

/// One edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphEdge {
    /// The index of the vertex it leaves.
    pub from: usize,
    /// The index of the vertex it enters.
    pub to: usize,
    /// The index of its kind.
    pub kind: usize,
    /// What its width shows: bandwidth, bytes; greater than zero.
    pub weight: f64,
}

/// More vertices cannot be told apart on a page.
const MOST_VERTICES: usize = 2500;
/// More edges are a cloud.
const MOST_EDGES: usize = 12_000;
/// Of more combinations of kind and weight, the legend names the kinds alone.
const MOST_CLASSES: usize = 8;

impl Graph {
    /// Draws it.
    ///
    /// # Panics
    /// When an edge names a vertex, or a vertex a kind, that there is not.
    pub fn draw(&self) -> Svg {
        match self.vertices.len() {
            0 => return paint_sentence(&self.title, "There are no vertices to draw."),
            many if many > MOST_VERTICES => {
                let sentence = format!(
                    "{} are too many to be told apart on a page: up to {MOST_VERTICES} are drawn.",
                    count(many, "vertex").replace("vertexs", "vertices")
                );
                return paint_sentence(&self.title, &sentence);
            }
            _ => {}
        }
        let ties = self.ties();
        let widths = Widths::of(&ties);
        let places: Vec<(f64, f64)> = self.vertices.iter().map(|vertex| (vertex.x, vertex.y)).collect();
        let spots = spots(&places);
        let (names, unwritten) = self.names(&places, &spots);
        let mut notes = Vec::new();
        if unwritten > 0 {
            notes.push(format!("{} left out where they would overlap.", count(unwritten, "name")));
        }
        if ties.len() > MOST_EDGES {
            notes.push(format!("{} not drawn: the lightest ones.", count(ties.len() - MOST_EDGES, "edge")));
        }
        let surround = Surround { title: &self.title, legend: self.legend(&widths), notes };
        let lines: Vec<Vec<Place>> = ties
            .iter()
            .take(MOST_EDGES)
            .map(|tie| line(spots[tie.ends.0], spots[tie.ends.1], &spots))
            .collect();
        let highest = lines.iter().flatten().map(|place| place.1).fold(0.0, f64::min);
        let lowest = lines.iter().flatten().map(|place| place.1).chain(spots.iter().map(|spot| spot.y));
        let lowest = lowest.fold(0.0, f64::max);
        let down = surround.above(WIDE) + 34.0 - highest;
        let height = down + lowest + 40.0 + surround.below(WIDE);
        paint(WIDE, height, &self.title, |canvas| {
            surround.draw(canvas, WIDE, height);
            for (tie, line) in ties.iter().zip(&lines) {
                let line: Vec<Place> = line.iter().map(|&(x, y)| (x, y + down)).collect();
                self.draw_tie(canvas, &line, spots[tie.ends.1].radius, tie, &widths);
            }
            for (vertex, &spot) in self.vertices.iter().zip(&spots) {
                self.draw_vertex(canvas, vertex, Spot { y: spot.y + down, ..spot });
            }
            for name in names {
                name.draw(canvas, down);
            }
        })
    }

    /// Edges between the same vertices, together: heaviest first.
    fn ties(&self) -> Vec<Tie> {
        let mut between: BTreeMap<(usize, usize), Tie> = BTreeMap::new();
        for edge in &self.edges {
            assert!(
                edge.from.max(edge.to) < self.vertices.len(),
                "{edge:?} names a vertex that there is not"
            );
            let ends = (edge.from.min(edge.to), edge.from.max(edge.to));
            let tie =
                between.entry(ends).or_insert(Tie { ends, kind: edge.kind, up: 0, down: 0, weight: 0.0 });
            *(if edge.from <= edge.to { &mut tie.up } else { &mut tie.down }) += 1;
            if edge.weight > tie.weight {
                (tie.kind, tie.weight) = (edge.kind, edge.weight);
            }
        }
        let mut ties: Vec<Tie> = between.into_values().collect();
        ties.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.ends.cmp(&b.ends)));
        ties
    }

    /// The names that find room, and how many do not. All of a row are written alike: within their
    /// vertices, below them whole, or below them without what comes before the last slash; and where
    /// even that is too wide, those of every second vertex, or every third ….
    fn names(&self, places: &[(f64, f64)], spots: &[Spot]) -> (Vec<Name>, usize) {
        let mut written: Vec<Name> = Vec::new();
        let mut homeless = 0;
        for row in rows_of(places) {
            let whole = |vertex: usize| self.vertices[vertex].name.as_str();
            let last = |vertex: usize| whole(vertex).rsplit('/').next().unwrap_or_default();
            let within = |name: &dyn Fn(usize) -> String| {
                row.iter()
                    .all(|&vertex| text_width(&name(vertex), TICK_SIZE) + 2.0 <= 1.7 * spots[vertex].radius)
            };
            if within(&|vertex| last(vertex).to_owned()) {
                written.extend(row.iter().map(|&vertex| Name {
                    text: last(vertex).to_owned(),
                    at: (spots[vertex].x, spots[vertex].y),
                    color: self.kind(vertex).hue.color().ink_on(),
                    below: false,
                }));
                continue;
            }
            let named = |stride: usize, name: &dyn Fn(usize) -> String| -> Vec<Name> {
                let below = |&vertex: &usize| Name {
                    text: name(vertex),
                    at: (spots[vertex].x, spots[vertex].y + spots[vertex].radius + 9.0),
                    color: INK,
                    below: true,
                };
                row.iter().step_by(stride).map(below).filter(|name| !name.text.is_empty()).collect()
            };
            let fits = |names: &[Name]| names.windows(2).all(|pair| !pair[0].touches(&pair[1]));
            let mut names = named(1, &|vertex| whole(vertex).to_owned());
            let mut stride = 1;
            while !fits(&names) {
                names = named(stride, &|vertex| last(vertex).to_owned());
                stride += 1;
            }
            let before = row.iter().filter(|&&vertex| !whole(vertex).is_empty()).count();
            names.retain(|name| name.is_on_sheet() && !written.iter().any(|other| other.touches(name)));
            homeless += before - names.len();
            written.append(&mut names);
        }
        (written, homeless)
    }

    fn kind(&self, vertex: usize) -> &VertexKind {
        &self.kinds[self.vertices[vertex].kind]
    }

    fn legend(&self, widths: &Widths) -> Vec<Entry> {
        let kinds = self.kinds.iter().enumerate().filter_map(|(index, kind)| {
            let number = self.vertices.iter().filter(|vertex| vertex.kind == index).count();
            (number > 0).then(|| Entry::fill(format!("{} ({number})", kind.name), kind.hue.color()))
        });
        let weights = widths.classes.iter().map(|&(kind, weight)| {
            let EdgeKind { name, hue } = &self.edge_kinds[kind];
            let name = format!("{name} {}", self.weight.write(weight));
            Entry::line(name.trim_start(), hue.color(), widths.width(weight), false)
        });
        // Edges of many weights are explained by their kinds alone.
        let by_kind = self.edge_kinds.iter().enumerate().filter(|&(index, kind)| {
            !kind.name.is_empty() && widths.classes.iter().any(|&(other, _)| other == index)
        });
        let by_kind = by_kind.map(|(_, kind)| Entry::line(kind.name.clone(), kind.hue.color(), 2.0, false));
        let edges: Vec<Entry> =
            if widths.classes.len() <= MOST_CLASSES { weights.collect() } else { by_kind.collect() };
        kinds.chain(edges).collect()
    }

    fn draw_vertex(&self, canvas: &mut Canvas, vertex: &GraphVertex, Spot { x, y, radius }: Spot) {
        let kind = &self.kinds[vertex.kind];
        if kind.round {
            canvas.disc((x, y), radius + 1.0, PAPER);
            canvas.disc((x, y), radius, kind.hue.color());
        } else {
            let square = |r: f64| Area { left: x - r, top: y - r, right: x + r, bottom: y + r };
            canvas.rect(square(radius * 0.9 + 1.0), PAPER);
            canvas.rect(square(radius * 0.9), kind.hue.color());
        }
        canvas.hint(format!("{} ({})", vertex.name, kind.name));
    }

    fn draw_tie(&self, canvas: &mut Canvas, line: &[Place], radius: f64, tie: &Tie, widths: &Widths) {
        let color = self.edge_kinds[tie.kind].hue.color().faded(80);
        let width = widths.width(tie.weight);
        if tie.ends.0 == tie.ends.1 {
            canvas.ring((line[0].0 + radius, line[0].1 - radius), radius, width, color);
            return;
        }
        canvas.path(line, width, color);
        canvas.hint(self.describe(tie));
        let last = line.len() - 1;
        match (tie.up, tie.down) {
            (_, 0) => draw_head(canvas, line[last - 1], line[last], radius, color),
            (0, _) => draw_head(canvas, line[1], line[0], radius, color),
            _ => {}
        }
    }

    fn describe(&self, tie: &Tie) -> String {
        let (a, b) = (&self.vertices[tie.ends.0].name, &self.vertices[tie.ends.1].name);
        let weight = self.weight.write(tie.weight);
        match (tie.up, tie.down) {
            (up, down) if up == down && up == 1 => format!("{a} – {b}: {weight} each way"),
            (up, down) if up == down => format!("{a} – {b}: {up} × {weight} each way"),
            (up, 0) => format!("{a} → {b}: {up} × {weight}"),
            (0, down) => format!("{b} → {a}: {down} × {weight}"),
            (up, down) => format!("{a} – {b}: {up} and {down} × {weight}"),
        }
    }
}

/// All edges between two vertices.
struct Tie {
    ends: (usize, usize),
    /// Edges from the first to the second.
    up: usize,
    /// Edges back.
    down: usize,
    /// Of the heaviest.
    kind: usize,
    weight: f64,
}

/// A name on the sheet, centred.
struct Name {
    text: String,
    at: Place,
    color: Color,
    below: bool,
}

impl Name {
    fn area(&self) -> Area {
        let ((x, y), half) = (self.at, text_width(&self.text, TICK_SIZE) / 2.0);
        Area { left: x - half, right: x + half, top: y - 6.0, bottom: y + 6.0 }
    }

    fn touches(&self, other: &Name) -> bool {
        let (a, b) = (self.area(), other.area());
        a.left < b.right + 4.0 && b.left < a.right + 4.0 && a.top < b.bottom && b.top < a.bottom
    }

    fn is_on_sheet(&self) -> bool {
        self.area().left >= 2.0 && self.area().right <= WIDE - 2.0
    }

    /// Edges pass under a name below its vertex.
    fn draw(&self, canvas: &mut Canvas, down: f64) {
        if self.below {
            let area = self.area();
            canvas.rect(Area { top: area.top + down, bottom: area.bottom + down, ..area }, PAPER.faded(75));
        }
        let (x, y) = self.at;
        canvas.text((x, y + down), Anchor::Middle, Font { color: self.color, ..TICK }, &self.text);
    }
}

/// Line widths for weights: by the logarithm, since links differ by orders of magnitude.
struct Widths {
    /// The different kinds and weights, ascending.
    classes: Vec<(usize, f64)>,
    lightest: f64,
    heaviest: f64,
    /// The width of the heaviest, in pixels.
    most: f64,
}

impl Widths {
    fn of(ties: &[Tie]) -> Widths {
        let mut classes: Vec<(usize, f64)> = ties.iter().map(|tie| (tie.kind, tie.weight)).collect();
        classes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        classes.dedup();
        let weights = || ties.iter().map(|tie| tie.weight);
        Widths {
            classes,
            lightest: weights().fold(f64::INFINITY, f64::min),
            heaviest: weights().fold(0.0, f64::max),
            most: match ties.len() {
                0..=60 => 4.0,
                61..=300 => 2.4,
                _ => 1.4,
            },
        }
    }

    fn part(&self, weight: f64) -> f64 {
        let part = (weight / self.lightest).ln() / (self.heaviest / self.lightest).ln();
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.3 }
    }

    fn width(&self, weight: f64) -> f64 {
        0.8 + (self.most - 0.8) * self.part(weight)
    }
}

fn draw_head(canvas: &mut Canvas, tail: Place, head: Place, radius: f64, color: Color) {
    let length = (head.0 - tail.0).hypot(head.1 - tail.1).max(0.01);
    let (x, y) = ((head.0 - tail.0) / length, (head.1 - tail.1) / length);
    let tip = (head.0 - radius * x, head.1 - radius * y);
    let back = (tip.0 - 7.0 * x, tip.1 - 7.0 * y);
    canvas.polygon(&[tip, (back.0 - 3.0 * y, back.1 + 3.0 * x), (back.0 + 3.0 * y, back.1 - 3.0 * x)], color);
}
