//! Which rectangles show the spans of a timeline: how many spans become few, and still tell the truth.

use std::collections::BTreeMap;

use crate::report::figure::palette::Hue;
use crate::report::figure::timeline::{Scale, TimelineSpan};

/// A rectangle to draw: one span, or several too narrow to be seen apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub lane: usize,
    /// Which part of the lane's height, when spans of the lane overlap.
    pub row: usize,
    /// Pixels.
    pub left: f64,
    /// Pixels.
    pub right: f64,
    pub hue: Hue,
    /// How many spans it stands for.
    pub spans: usize,
    /// The index of the first of them.
    pub first: usize,
}

/// What is drawn of the spans, and what is not.
pub(super) struct Picture {
    /// In the order of lanes and time.
    pub blocks: Vec<Block>,
    /// Narrower spans, in pixels, are drawn together.
    pub visible: f64,
    /// How many spans share their block with others.
    pub merged: usize,
    /// How many are left out because there would still be too many blocks.
    pub dropped: usize,
}

/// Spans by lane and time, with the rows in which they lie.
pub(super) struct Lanes<'s> {
    lanes: Vec<Vec<Laid<'s>>>,
}

/// A span with its index, and the row of its lane where it lies.
#[derive(Clone, Copy)]
struct Laid<'s> {
    span: &'s TimelineSpan,
    index: usize,
    row: usize,
}

/// What is drawn at all is drawn at least this wide.
const NARROWEST: f64 = 0.3;
/// More spans of a lane at one time lie on top of each other.
const MOST_ROWS: usize = 4;
/// Spans are merged up to this width before any is dropped.
const MOST_MERGED: f64 = 16.0;

impl<'s> Lanes<'s> {
    /// Sorts spans, given with their indices, into lanes.
    pub fn of(spans: impl Iterator<Item = (usize, &'s TimelineSpan)>, lanes: usize) -> Self {
        let mut by_lane: Vec<Vec<Laid>> = vec![Vec::new(); lanes];
        for (index, span) in spans {
            by_lane[span.lane].push(Laid { span, index, row: 0 });
        }
        for lane in &mut by_lane {
            lane.sort_by_key(|laid| (laid.span.start, laid.span.end, laid.index));
            lay_in_rows(lane);
        }
        Lanes { lanes: by_lane }
    }

    /// How many rows a lane needs so that its spans do not overlap; at least one.
    pub fn rows(&self, lane: usize) -> usize {
        self.lanes[lane].iter().map(|laid| laid.row + 1).max().unwrap_or(1)
    }

    /// Forgets all lanes but the first.
    pub fn keep(&mut self, lanes: usize) {
        self.lanes.truncate(lanes);
    }

    /// The blocks of all spans, at most `limit` of them.
    pub fn picture(&self, scale: Scale, limit: usize) -> Picture {
        let mut visible = 1.0;
        loop {
            let lanes = self.lanes.iter().enumerate();
            let blocks = lanes.flat_map(|(lane, spans)| lane_blocks(lane, spans, scale, visible)).collect();
            let mut picture = Picture { blocks, visible, merged: 0, dropped: 0 };
            if picture.blocks.len() > limit && visible < MOST_MERGED {
                visible *= 2.0;
                continue;
            }
            picture.drop_shortest(limit);
            picture.merged =
                picture.blocks.iter().filter(|block| block.spans > 1).map(|block| block.spans).sum();
            return picture;
        }
    }
}

impl Picture {
    /// Keeps the widest blocks; of equally wide ones the first.
    fn drop_shortest(&mut self, limit: usize) {
        if self.blocks.len() <= limit {
            return;
        }
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        let width = |index: usize| self.blocks[index].right - self.blocks[index].left;
        order.sort_by(|&a, &b| width(b).total_cmp(&width(a)).then(a.cmp(&b)));
        let mut kept = order[..limit].to_vec();
        kept.sort_unstable();
        self.dropped = order[limit..].iter().map(|&index| self.blocks[index].spans).sum();
        self.blocks = kept.into_iter().map(|index| self.blocks[index].clone()).collect();
    }
}

/// Gives each span the first row that is free when it starts.
fn lay_in_rows(sorted: &mut [Laid]) {
    let mut ends = Vec::new();
    for laid in sorted {
        let free = ends.iter().position(|&end| end <= laid.span.start);
        laid.row = free.unwrap_or(ends.len()).min(MOST_ROWS - 1);
        match ends.get_mut(laid.row) {
            Some(end) => *end = laid.span.end.max(*end),
            None => ends.push(laid.span.end),
        }
    }
}

/// One column of pixels in one row, full of narrow spans.
#[derive(Debug, Default)]
struct Column {
    left: f64,
    busy: BTreeMap<Hue, f64>,
    spans: usize,
    first: usize,
}

fn lane_blocks(lane: usize, spans: &[Laid], scale: Scale, visible: f64) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut columns: BTreeMap<(usize, i64), Column> = BTreeMap::new();
    for &Laid { span, index, row } in spans {
        let (left, right) = (scale.across(span.start), scale.across(span.end));
        if right - left >= visible {
            blocks.push(Block { lane, row, left, right, hue: span.hue, spans: 1, first: index });
            continue;
        }
        let column = columns.entry((row, (left / visible).floor() as i64)).or_insert_with(|| Column {
            left,
            first: index,
            ..Column::default()
        });
        *column.busy.entry(span.hue).or_default() += right - left;
        column.spans += 1;
    }
    let mut narrow: Vec<Block> = Vec::new();
    for ((row, _), column) in columns {
        let block = column.block(lane, row, visible);
        match narrow.last_mut() {
            // Neighbours of one colour without a gap between them.
            Some(last) if last.row == row && last.hue == block.hue && last.right >= block.left - 0.05 => {
                last.right = block.right;
                last.spans += block.spans;
            }
            _ => narrow.push(block),
        }
    }
    blocks.append(&mut narrow);
    blocks.sort_by(|a, b| a.row.cmp(&b.row).then(a.left.total_cmp(&b.left)).then(a.first.cmp(&b.first)));
    blocks
}

impl Column {
    /// As wide as its spans together, in the colour that most of that time has.
    fn block(&self, lane: usize, row: usize, visible: f64) -> Block {
        let busy: f64 = self.busy.values().sum();
        let most = self.busy.iter().fold(
            (Hue::Idle, -1.0),
            |most, (&hue, &time)| {
                if time > most.1 { (hue, time) } else { most }
            },
        );
        // Spans that start in a column reach at most one column further.
        let right = self.left + busy.clamp(NARROWEST, 2.0 * visible);
        Block { lane, row, left: self.left, right, hue: most.0, spans: self.spans, first: self.first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{SimDuration, SimTime};

    fn span(start: u64, end: u64, hue: Hue) -> TimelineSpan {
        let at = |picos| SimTime::ZERO + SimDuration::from_picos(picos);
        TimelineSpan {
            lane: 0,
            start: at(start),
            end: at(end),
            hue,
            label: String::new(),
            hint: String::new(),
        }
    }

    fn picture(spans: &[TimelineSpan], limit: usize) -> Picture {
        let lanes = Lanes::of(spans.iter().enumerate(), 1);
        // 100 pixels for 1000 ps.
        lanes.picture(Scale::new(SimTime::ZERO, SimTime::from_picos(1000), 0.0, 100.0), limit)
    }

    /// Ten spans of 0.5 pixels with gaps of 0.5 pixels become ten blocks of one column each, half full;
    /// without gaps they become one block of 10 · 0.5 pixels.
    #[test]
    fn narrow_spans_are_drawn_as_long_as_they_are_together() {
        let apart: Vec<TimelineSpan> = (0..10).map(|i| span(10 * i + 2, 10 * i + 7, Hue::Compute)).collect();
        let drawn = picture(&apart, 100);
        let total: f64 = drawn.blocks.iter().map(|block| block.right - block.left).sum();
        assert_eq!((drawn.blocks.len(), drawn.merged), (10, 0));
        assert!((total - 5.0).abs() < 1e-9);
        let close: Vec<TimelineSpan> = (0..10).map(|i| span(5 * i, 5 * i + 5, Hue::Compute)).collect();
        let drawn = picture(&close, 100);
        assert_eq!((drawn.blocks.len(), drawn.merged), (1, 10));
        assert!((drawn.blocks[0].right - 5.0).abs() < 1e-9);
    }

    /// Within one pixel 6 ps of one hue and 3 ps of another: the pixel has the colour of the first.
    #[test]
    fn a_column_has_the_colour_of_most_of_its_time() {
        let spans = [span(0, 3, Hue::Series(0)), span(3, 9, Hue::Series(1))];
        let drawn = picture(&spans, 100);
        assert_eq!((drawn.blocks.len(), drawn.blocks[0].hue, drawn.merged), (1, Hue::Series(1), 2));
    }

    #[test]
    fn overlapping_spans_lie_in_rows_and_others_share_one() {
        let spans = [span(0, 500, Hue::Compute), span(100, 300, Hue::Compute), span(300, 900, Hue::Compute)];
        let lanes = Lanes::of(spans.iter().enumerate(), 1);
        assert_eq!(lanes.rows(0), 2);
        let rows: Vec<usize> = lanes.lanes[0].iter().map(|laid| laid.row).collect();
        assert_eq!(rows, [0, 1, 1]);
    }

    /// Every span is drawn, merged or counted; and never more blocks than the limit.
    #[test]
    fn no_span_is_lost_without_being_counted() {
        let spans: Vec<TimelineSpan> =
            (0..500).map(|i| span(2 * i, 2 * i + 1 + i % 40, Hue::Series(i as usize % 3))).collect();
        for limit in [1, 10, 100, 1000] {
            let drawn = picture(&spans, limit);
            assert!(drawn.blocks.len() <= limit);
            let shown: usize = drawn.blocks.iter().map(|block| block.spans).sum();
            assert_eq!(shown + drawn.dropped, spans.len());
        }
    }
}
