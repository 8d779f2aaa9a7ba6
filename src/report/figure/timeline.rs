//! Who did what when: a lane for each stream, device or link, and time from left to right.

use crate::report::figure::blocks::{Block, Lanes, Picture};
use crate::report::figure::canvas::{Anchor, Area, Canvas, Font, Place, Svg, paint};
use crate::report::figure::frame::{
    EDGE, Entry, LABEL, Surround, TICK, WIDE, count, draw_x_axis, paint_sentence, widest,
};
use crate::report::figure::lettering::{LABEL_SIZE, TICK_SIZE, shortened, text_width};
use crate::report::figure::palette::{ALARM, AXIS, BAND, Color, GRID, Hue, INK};
use crate::report::figure::quantity::Quantity;
use crate::report::figure::ruler::{Axis, Room, Ruler};
use crate::units::SimTime;

/// Lanes over time, also called a Gantt chart.
///
/// A picture cannot hold a million spans, so those narrower than a pixel (or, when there are more than
/// `limit`, than a few pixels) are drawn together, and what still goes beyond the limit is left out,
/// shortest first. The picture says how many that were.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Above the lanes.
    pub title: String,
    /// The left edge. Time is counted from here.
    pub from: SimTime,
    /// The right edge.
    pub to: SimTime,
    /// From top to bottom. Neighbours with the same group stand together.
    pub lanes: Vec<TimelineLane>,
    /// In any order; what lies outside of the edges is cut off.
    pub spans: Vec<TimelineSpan>,
    /// Words over several spans: the micro-batch of a pass that is many kernels.
    pub captions: Vec<TimelineCaption>,
    /// What passed from lane to lane; drawn over the spans.
    pub arrows: Vec<TimelineArrow>,
    /// Moments that concern every lane (a failure, the end of a step), with their names.
    pub moments: Vec<(SimTime, String)>,
    /// Names of hues in the legend, where they are not those of their activity.
    pub names: Vec<(Hue, String)>,
    /// The most rectangles to draw.
    pub limit: usize,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineLane {
    /// Written once for neighbours that share it: a rank, a node. May be empty.
    pub group: String,
    /// Written beside the lane: a stream, a device. May be empty.
    pub name: String,
}

/// A lane was busy. Spans of one lane that overlap share its height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineSpan {
    /// The index of its lane.
    pub lane: usize,
    /// From when.
    pub start: SimTime,
    /// Until when; never before `start`.
    pub end: SimTime,
    /// With what.
    pub hue: Hue,
    /// Written within the span where it fits: the number of a micro-batch, the name of a task.
    pub label: String,
    /// Shown when the pointer rests on the span; its length is added.
    pub hint: String,
}

/// Words over a stretch of a lane, written where they fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineCaption {
    /// The index of the lane.
    pub lane: usize,
    /// From when.
    pub start: SimTime,
    /// Until when.
    pub end: SimTime,
    /// The colour of the spans below, to choose a readable ink.
    pub hue: Hue,
    /// The words.
    pub text: String,
}

/// Something passed from one lane to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineArrow {
    /// The index of the lane it left, and when.
    pub from: (usize, SimTime),
    /// The index of the lane it reached, and when.
    pub to: (usize, SimTime),
}

/// The limit of rectangles that keeps a picture below a megabyte and a half.
pub const TIMELINE_LIMIT: usize = 15_000;
const MOST_ARROWS: usize = 600;
/// Of more blocks, none has a tooltip.
const MOST_HINTS: usize = 4000;
/// Lanes together are about so high, as long as each is between the thinnest and the thickest.
const LANES_HEIGHT: f64 = 760.0;
const THINNEST: f64 = 5.0;
const THICKEST: f64 = 18.0;
const MOST_LANES: usize = 320;
const BETWEEN_LANES: f64 = 1.5;
const BETWEEN_GROUPS: f64 = 7.0;

impl Timeline {
    /// A timeline from here to there, to be filled with lanes and spans.
    pub fn new(title: impl Into<String>, from: SimTime, to: SimTime) -> Self {
        Timeline {
            title: title.into(),
            from,
            to,
            lanes: Vec::new(),
            spans: Vec::new(),
            captions: Vec::new(),
            arrows: Vec::new(),
            moments: Vec::new(),
            names: Vec::new(),
            limit: TIMELINE_LIMIT,
        }
    }

    /// Draws it.
    ///
    /// # Panics
    /// When a span or an arrow names a lane that there is not.
    pub fn draw(&self) -> Svg {
        if self.lanes.is_empty() || self.to <= self.from {
            return paint_sentence(&self.title, "There is no time or no lane to draw.");
        }
        if !self.spans.iter().any(|span| self.shows(span)) {
            return paint_sentence(&self.title, "No span lies within the time shown.");
        }
        let shown = self.spans.iter().enumerate().filter(|(_, span)| self.shows(span));
        let mut lanes = Lanes::of(shown, self.lanes.len());
        let layout = Layout::of(self, &lanes);
        lanes.keep(layout.tops.len());
        let scale = Scale::new(self.from, self.to, layout.plot.left, layout.plot.width());
        let picture = lanes.picture(scale, self.limit);
        let arrows = self.drawable_arrows(layout.tops.len());
        let surround = Surround {
            title: &self.title,
            legend: self.legend(),
            notes: self.notes(&layout, &picture, arrows.len()),
        };
        let layout = layout.below(surround.above(WIDE));
        let axis = Axis::new(self.axis_label(), Quantity::Time);
        let seconds = self.to.since(self.from).seconds();
        let ruler = Ruler::fit(&axis, Some((0.0, seconds)), Room::Across(layout.plot.width()), 0.0);
        let height = layout.plot.bottom + 8.0 + TICK_SIZE + 6.0 + LABEL_SIZE + 8.0 + surround.below(WIDE);
        paint(WIDE, height, &self.title, |canvas| {
            surround.draw(canvas, WIDE, height);
            layout.draw_lanes(canvas, self);
            for (part, _) in &ruler.ticks {
                let x = layout.plot.left + layout.plot.width() * part;
                canvas.line((x, layout.plot.top), (x, layout.plot.bottom), 1.0, GRID);
            }
            let hints = picture.blocks.len() <= MOST_HINTS;
            for block in &picture.blocks {
                self.draw_block(canvas, &layout, block, hints);
            }
            for caption in self.captions.iter().filter(|caption| caption.lane < layout.tops.len()) {
                self.draw_caption(canvas, &layout, scale, caption);
            }
            for arrow in arrows.iter().take(MOST_ARROWS) {
                self.draw_arrow(canvas, &layout, scale, arrow);
            }
            self.draw_moments(canvas, &layout, scale);
            draw_x_axis(canvas, &ruler, layout.plot);
        })
    }

    fn shows(&self, span: &TimelineSpan) -> bool {
        assert!(span.lane < self.lanes.len(), "a span names lane {} of {}", span.lane, self.lanes.len());
        assert!(span.end >= span.start, "a span ends before it starts: {span:?}");
        span.end > self.from && span.start < self.to
    }

    fn axis_label(&self) -> String {
        match self.from {
            SimTime::ZERO => "time".into(),
            from => format!("time since {from}"),
        }
    }

    /// The hues that occur, in their own order, as far as they have a name; and what idle looks like.
    fn legend(&self) -> Vec<Entry> {
        let mut hues: Vec<Hue> =
            self.spans.iter().filter(|span| self.shows(span)).map(|span| span.hue).collect();
        hues.sort_unstable();
        hues.dedup();
        let named = hues.into_iter().filter_map(|hue| Some(Entry::fill(self.name_of(hue)?, hue.color())));
        named.chain([Entry::fill("idle", IDLE)]).collect()
    }

    fn name_of(&self, hue: Hue) -> Option<String> {
        let own = self.names.iter().find(|(named, _)| *named == hue).map(|(_, name)| name.clone());
        own.or_else(|| hue.name().map(str::to_owned))
    }

    /// Arrows between lanes that are drawn, within the time shown.
    fn drawable_arrows(&self, lanes: usize) -> Vec<&TimelineArrow> {
        let within = |(lane, at): (usize, SimTime)| {
            assert!(lane < self.lanes.len(), "an arrow names lane {lane} of {}", self.lanes.len());
            lane < lanes && at >= self.from && at <= self.to
        };
        self.arrows.iter().filter(|arrow| within(arrow.from) && within(arrow.to)).collect()
    }

    fn notes(&self, layout: &Layout, picture: &Picture, arrows: usize) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(names) = layout.unwritten_lanes(self) {
            notes.push(format!("Lanes of each group, from the top: {names}."));
        }
        if layout.tops.len() < self.lanes.len() {
            let hidden = self.lanes.len() - layout.tops.len();
            notes.push(format!(
                "{} of {} not drawn: the last ones.",
                count(hidden, "lane"),
                self.lanes.len()
            ));
        }
        if picture.merged > 0 {
            let narrower = match picture.visible {
                1.0 => "a pixel".to_owned(),
                pixels => format!("{pixels} pixels"),
            };
            notes.push(format!(
                "{} narrower than {narrower}, drawn together: as long as they are in all, in the colour of most of them.",
                count(picture.merged, "span")
            ));
        }
        if picture.dropped > 0 {
            notes.push(format!("{} not drawn: the shortest ones.", count(picture.dropped, "span")));
        }
        if arrows > MOST_ARROWS {
            notes.push(format!("{} not drawn: the last ones.", count(arrows - MOST_ARROWS, "arrow")));
        }
        notes
    }

    fn draw_block(&self, canvas: &mut Canvas, layout: &Layout, block: &Block, hints: bool) {
        let height = layout.lane_height;
        let top = layout.tops[block.lane] + height * block.row as f64;
        // A hairline parts spans of one colour that follow each other.
        let hairline = if block.right - block.left >= 4.0 { 0.6 } else { 0.0 };
        let area = Area { left: block.left, right: block.right - hairline, top, bottom: top + height };
        let color = block.hue.color();
        canvas.rect(area, color);
        if hints {
            canvas.hint(self.describe(block));
        }
        let span = &self.spans[block.first];
        if block.spans > 1 {
            return;
        }
        write_within(canvas, area, color, &span.label);
    }

    fn draw_caption(&self, canvas: &mut Canvas, layout: &Layout, scale: Scale, caption: &TimelineCaption) {
        if caption.end > self.from && caption.start < self.to {
            let (left, right) = (scale.across(caption.start), scale.across(caption.end));
            let area =
                Area { left, right, top: layout.tops[caption.lane], bottom: layout.bottom(caption.lane) };
            write_within(canvas, area, caption.hue.color(), &caption.text);
        }
    }

    fn describe(&self, block: &Block) -> String {
        if block.spans > 1 {
            let name = self.name_of(block.hue).unwrap_or_else(|| "one of them".into());
            return format!("{}, mostly {name}", count(block.spans, "span"));
        }
        let span = &self.spans[block.first];
        let lasted = span.end.since(span.start);
        let hint = if span.hint.is_empty() { &span.label } else { &span.hint };
        if hint.is_empty() { lasted.to_string() } else { format!("{hint}: {lasted}") }
    }

    /// From the edge of one lane to the facing edge of the other, so that no label is crossed.
    fn draw_arrow(&self, canvas: &mut Canvas, layout: &Layout, scale: Scale, arrow: &TimelineArrow) {
        let edge = |(lane, at): (usize, SimTime), lower: bool| -> Place {
            (scale.across(at), if lower { layout.bottom(lane) } else { layout.tops[lane] })
        };
        let down = arrow.to.0 >= arrow.from.0;
        let (from, to) = (edge(arrow.from, down), edge(arrow.to, !down));
        let ink = INK.faded(50);
        canvas.line(from, to, 0.7, ink);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        if length > 6.0 {
            let (x, y) = ((to.0 - from.0) / length, (to.1 - from.1) / length);
            let back = (to.0 - 5.0 * x, to.1 - 5.0 * y);
            canvas.polygon(
                &[to, (back.0 - 2.2 * y, back.1 + 2.2 * x), (back.0 + 2.2 * y, back.1 - 2.2 * x)],
                ink,
            );
        }
    }

    fn draw_moments(&self, canvas: &mut Canvas, layout: &Layout, scale: Scale) {
        let Area { top, bottom, right, .. } = layout.plot;
        for (at, name) in self.moments.iter().filter(|(at, _)| (self.from..=self.to).contains(at)) {
            let x = scale.across(*at);
            canvas.dashes(&[(x, top), (x, bottom)], 1.4, ALARM);
            let font = Font { color: ALARM, ..TICK };
            let room = text_width(name, TICK_SIZE) + 6.0;
            let (x, anchor) =
                if x + room > right { (x - 4.0, Anchor::End) } else { (x + 4.0, Anchor::Start) };
            canvas.text((x, top - MOMENTS_HEIGHT / 2.0), anchor, font, name);
        }
    }
}

/// Words in the middle of an area, in an ink that can be read on its colour; nothing where they do
/// not fit.
fn write_within(canvas: &mut Canvas, area: Area, color: Color, words: &str) {
    let size = TICK_SIZE.min(area.height() - 2.0);
    if size >= 8.0 && !words.is_empty() && text_width(words, size) + 3.0 <= area.width() {
        let font = Font { size, bold: false, color: color.ink_on() };
        canvas.text(area.middle(), Anchor::Middle, font, words);
    }
}

const IDLE: Color = Hue::Idle.color().faded(60);
const MOMENTS_HEIGHT: f64 = 16.0;

/// Time as pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: SimTime,
    to: SimTime,
    left: f64,
    width: f64,
}

impl Scale {
    /// From `left` on, `width` pixels for the time between these moments.
    pub fn new(from: SimTime, to: SimTime, left: f64, width: f64) -> Self {
        Scale { from, to, left, width }
    }

    /// Where a moment lies; the edge for what is beyond it.
    pub fn across(&self, at: SimTime) -> f64 {
        let at = at.clamp(self.from, self.to);
        self.left + self.width * at.since(self.from).seconds() / self.to.since(self.from).seconds()
    }
}

/// Where the lanes lie. Tops count from the top of the sheet.
struct Layout {
    plot: Area,
    /// The height of one row: of a lane on which no spans overlap.
    lane_height: f64,
    /// The upper edges of the lanes that are drawn.
    tops: Vec<f64>,
    /// How many rows each has.
    rows: Vec<usize>,
    /// Groups: their first lane, and the one after their last.
    groups: Vec<(usize, usize)>,
    group_room: f64,
    lane_room: f64,
}

impl Layout {
    fn of(timeline: &Timeline, spans: &Lanes) -> Layout {
        let lanes = &timeline.lanes;
        let groups = groups_of(lanes);
        let rows: Vec<usize> = (0..lanes.len()).map(|lane| spans.rows(lane)).collect();
        // Whole groups only, but at least a part of the first.
        let fits = |&end: &usize| rows[..end].iter().sum::<usize>() <= MOST_LANES;
        let drawn = groups.iter().map(|&(_, end)| end).filter(fits).max();
        let drawn = drawn.unwrap_or_else(|| (1..=lanes.len()).filter(fits).max().unwrap_or(1));
        let groups: Vec<(usize, usize)> = groups
            .into_iter()
            .filter(|&(first, _)| first < drawn)
            .map(|(first, end)| (first, end.min(drawn)))
            .collect();
        let together = rows[..drawn].iter().sum::<usize>();
        let lane_height = (LANES_HEIGHT / together as f64 - BETWEEN_LANES).clamp(THINNEST, THICKEST);
        let lane_names = lane_height >= TICK_SIZE - 1.0;
        let room = |widest: f64| if widest > 0.0 { widest.min(150.0) + 8.0 } else { 0.0 };
        let group_room =
            room(widest(lanes[..drawn].iter().map(|lane| lane.group.as_str()), LABEL_SIZE, true));
        let lane_room = match lane_names {
            true => room(widest(lanes[..drawn].iter().map(|lane| lane.name.as_str()), TICK_SIZE, false)),
            false => 0.0,
        };
        let moments = if timeline.moments.is_empty() { 0.0 } else { MOMENTS_HEIGHT };
        let mut tops = Vec::new();
        let mut y = moments;
        for &(first, end) in &groups {
            for &rows in &rows[first..end] {
                tops.push(y);
                y += lane_height * rows as f64 + BETWEEN_LANES;
            }
            y += BETWEEN_GROUPS - BETWEEN_LANES;
        }
        let left = EDGE + group_room + lane_room;
        let plot = Area { left, top: moments, right: WIDE - EDGE - 16.0, bottom: y - BETWEEN_GROUPS + 4.0 };
        Layout { plot, lane_height, tops, rows, groups, group_room, lane_room }
    }

    /// The same layout, so many pixels lower.
    fn below(mut self, above: f64) -> Layout {
        let down = above + 4.0;
        self.plot.top += down;
        self.plot.bottom += down;
        self.tops.iter_mut().for_each(|top| *top += down);
        self
    }

    fn bottom(&self, lane: usize) -> f64 {
        self.tops[lane] + self.lane_height * self.rows[lane] as f64
    }

    /// Names of the lanes when they are too thin to be written beside them, and all groups have the same.
    fn unwritten_lanes(&self, timeline: &Timeline) -> Option<String> {
        let names = |&(first, end): &(usize, usize)| -> Vec<&str> {
            timeline.lanes[first..end].iter().map(|lane| lane.name.as_str()).collect()
        };
        let first = names(self.groups.first()?);
        let same = self.groups.iter().all(|group| names(group) == first);
        let unwritten = self.lane_room == 0.0 && first.iter().any(|name| !name.is_empty());
        (unwritten && same && first.len() <= 12).then(|| first.join(", "))
    }

    /// Grounds and names of groups and lanes.
    fn draw_lanes(&self, canvas: &mut Canvas, timeline: &Timeline) {
        let mut written_until = f64::NEG_INFINITY;
        for (index, &(first, end)) in self.groups.iter().enumerate() {
            let (top, bottom) = (self.tops[first], self.bottom(end - 1));
            if index % 2 == 0 && self.groups.len() > 1 {
                let pad = BETWEEN_GROUPS / 2.0 - 0.5;
                let right = self.plot.right;
                canvas.rect(Area { left: EDGE - 4.0, top: top - pad, right, bottom: bottom + pad }, BAND);
            }
            let middle = (top + bottom) / 2.0;
            if self.group_room > 0.0 && middle - LABEL_SIZE / 2.0 >= written_until {
                let name = shortened(&timeline.lanes[first].group, LABEL_SIZE * 1.12, self.group_room - 6.0);
                canvas.text((EDGE, middle), Anchor::Start, Font { bold: true, ..LABEL }, &name);
                written_until = middle + LABEL_SIZE * 0.6;
            }
        }
        for (lane, &top) in self.tops.iter().enumerate() {
            let area = Area { top, bottom: self.bottom(lane), ..self.plot };
            canvas.rect(area, IDLE);
            if self.lane_room > 0.0 {
                let name = shortened(&timeline.lanes[lane].name, TICK_SIZE, self.lane_room - 6.0);
                canvas.text((self.plot.left - 6.0, area.middle().1), Anchor::End, TICK, &name);
            }
        }
        canvas.line((self.plot.left, self.plot.top), (self.plot.left, self.plot.bottom), 1.0, AXIS);
    }
}

/// Neighbours with the same group.
fn groups_of(lanes: &[TimelineLane]) -> Vec<(usize, usize)> {
    let mut first = 0;
    let together = lanes.chunk_by(|a, b| a.group == b.group);
    let bounds = together.map(|group| {
        let bounds = (first, first + group.len());
        first = bounds.1;
        bounds
    });
    bounds.collect()
}
