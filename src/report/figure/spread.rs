//! Where the vertices of a graph lie on a sheet, how large they are, and how edges go around them.

use crate::report::figure::canvas::Place;
use crate::report::figure::frame::{EDGE, WIDE};

/// A vertex on the sheet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot {
    pub x: f64,
    pub y: f64,
    pub radius: f64,
}

const LARGEST: f64 = 17.0;
const SMALLEST: f64 = 1.5;
/// Free space to the left and the right, for half a name.
const INDENT: f64 = EDGE + 46.0;
/// Neighbours are no further apart than this.
const FURTHEST: f64 = 130.0;
/// Neighbours in a row are no closer than this, where the row has the room.
const CLOSEST: f64 = 34.0;
/// Rows of a layered graph are about so far apart.
const BETWEEN_ROWS: f64 = 115.0;
const HIGHEST: f64 = 640.0;

/// Spots for places in any unit (y upward): one scale for both directions, unless that would make a
/// strip or a tower. Crowded rows spread into the room beside them. Tops count from the highest spot.
pub(super) fn spots(places: &[(f64, f64)]) -> Vec<Spot> {
    let places: Vec<(f64, f64)> = places.iter().map(|&(x, y)| (finite(x), finite(y))).collect();
    let (left, wide) = reach(places.iter().map(|place| place.0));
    let (bottom, high) = reach(places.iter().map(|place| place.1));
    let room = WIDE - 2.0 * INDENT;
    let step = if wide > 0.0 { (room / wide).min(FURTHEST) } else { 0.0 };
    let indent = INDENT + (room - wide * step) / 2.0;
    let rows = rows_of(&places);
    let least = (BETWEEN_ROWS * (rows.len() - 1) as f64).min(0.8 * HIGHEST);
    let natural = high * if wide > 0.0 { step } else { FURTHEST };
    let height = if high > 0.0 { natural.clamp(least, HIGHEST) } else { 0.0 };
    let mut spots: Vec<Spot> = places
        .iter()
        .map(|&(x, y)| {
            let down = if high > 0.0 { 1.0 - (y - bottom) / high } else { 0.0 };
            Spot { x: indent + (x - left) * step, y: down * height, radius: 0.0 }
        })
        .collect();
    for row in &rows {
        spread(&mut spots, row);
    }
    size(&mut spots, &rows);
    spots
}

/// The vertices of each height from left to right, highest first.
pub(super) fn rows_of(places: &[(f64, f64)]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| {
        let ((ax, ay), (bx, by)) = (places[a], places[b]);
        by.total_cmp(&ay).then(ax.total_cmp(&bx)).then(a.cmp(&b))
    });
    order.chunk_by(|&a, &b| places[a].1 == places[b].1).map(<[usize]>::to_vec).collect()
}

/// Moves the spots of a row apart by as little as possible (least squares), keeping their order.
fn spread(spots: &mut [Spot], row: &[usize]) {
    let gap = CLOSEST.min((WIDE - 2.0 * INDENT) / (row.len() as f64 - 1.0).max(1.0));
    // With x - index * gap the condition is "not descending": pool adjacent violators. A pool is the sum of
    // its members' wishes and their number.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (index, &vertex) in row.iter().enumerate() {
        pools.push((spots[vertex].x - index as f64 * gap, 1));
        while let [.., (a, m), (b, n)] = pools.as_slice()
            && a / *m as f64 > b / *n as f64
        {
            let pooled = (a + b, m + n);
            pools.truncate(pools.len() - 2);
            pools.push(pooled);
        }
    }
    let wishes = pools.into_iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / count as f64, count));
    let moved: Vec<f64> = wishes.enumerate().map(|(index, wish)| wish + index as f64 * gap).collect();
    // Pushed over an edge, the row moves back as a whole; it is never wider than the room.
    let (first, last) = (moved[0], moved[moved.len() - 1]);
    let back = (INDENT - first).max(0.0) - (last - (WIDE - INDENT)).max(0.0);
    for (&vertex, x) in row.iter().zip(moved) {
        spots[vertex].x = x + back;
    }
}

/// Vertices fill a third of the space to the nearest neighbour of their row.
fn size(spots: &mut [Spot], rows: &[Vec<usize>]) {
    let nearest = |spots: &[Spot], index: usize| {
        let here = spots[index];
        let others = spots.iter().enumerate().filter(|&(other, _)| other != index).map(|(_, spot)| spot);
        others
            .map(|spot| (spot.x - here.x).hypot(spot.y - here.y))
            .filter(|&d| d > 0.01)
            .fold(f64::INFINITY, f64::min)
    };
    for row in rows {
        let least = row.iter().map(|&vertex| nearest(spots, vertex)).fold(f64::INFINITY, f64::min);
        for &vertex in row {
            spots[vertex].radius = (least * 0.34).clamp(SMALLEST, LARGEST);
        }
    }
}

/// A straight line; or, along a row or a column, an arc where it would run through another vertex: a
/// parabola just high enough to pass it, on the side where that takes less.
pub(super) fn line(from: Spot, to: Spot, spots: &[Spot]) -> Vec<Place> {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy);
    let straight = vec![(from.x, from.y), (to.x, to.y)];
    if length < 0.01 || dx.abs() > 1.0 && dy.abs() > 1.0 {
        return straight;
    }
    // How far along the line a vertex lies, how far to its left, and how large it is.
    let about = |spot: &Spot| {
        let along = ((spot.x - from.x) * dx + (spot.y - from.y) * dy) / (length * length);
        (along, ((spot.x - from.x) * dy - (spot.y - from.y) * dx) / length, spot.radius)
    };
    let in_the_way: Vec<(f64, f64, f64)> = spots
        .iter()
        .map(about)
        .filter(|&(along, off, radius)| along > 0.02 && along < 0.98 && off.abs() < radius * 1.1)
        .collect();
    if in_the_way.is_empty() {
        return straight;
    }
    let height = |side: f64| {
        let needed = |&(along, off, radius): &(f64, f64, f64)| {
            (1.7 * radius + side * off) / (4.0 * along * (1.0 - along))
        };
        side * in_the_way.iter().map(needed).fold(0.0, f64::max).min(60.0)
    };
    // Of equals the upper one, as seen on the page.
    let (one, other) = if dx < 0.0 { (height(-1.0), height(1.0)) } else { (height(1.0), height(-1.0)) };
    let high = if one.abs() <= other.abs() + 0.01 { one } else { other };
    let arc = (0..=24).map(|step| {
        let t = f64::from(step) / 24.0;
        let out = 4.0 * t * (1.0 - t) * high;
        (from.x + dx * t + out * dy / length, from.y + dy * t - out * dx / length)
    });
    arc.collect()
}

/// From where, and how far.
fn reach(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high - low) } else { (0.0, 0.0) }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixteen vertices above a row of 128 get 34 pixels each instead of 7.
    #[test]
    fn crowded_rows_spread_into_the_room_beside_them() {
        let below = (0..128).map(|x| (f64::from(x), 0.0));
        let above = (56..72).map(|x| (f64::from(x), 1.0));
        let places: Vec<(f64, f64)> = below.chain(above).collect();
        let spots = spots(&places);
        for pair in spots[128..].windows(2) {
            assert!((pair[1].x - pair[0].x - CLOSEST).abs() < 1e-6);
        }
        let middle = |spots: &[Spot]| spots.iter().map(|spot| spot.x).sum::<f64>() / spots.len() as f64;
        assert!((middle(&spots[128..]) - middle(&spots[..128])).abs() < 1.0);
        assert!(spots.iter().all(|spot| spot.x >= INDENT - 0.01 && spot.x <= WIDE - INDENT + 0.01));
        assert!(spots[128].radius > spots[0].radius);
    }

    #[test]
    fn an_edge_along_a_row_passes_around_those_between() {
        let places: Vec<(f64, f64)> = (0..5).map(|x| (f64::from(x), 0.0)).collect();
        let spots = spots(&places);
        assert_eq!(line(spots[0], spots[1], &spots).len(), 2);
        let arc = line(spots[0], spots[4], &spots);
        for spot in &spots[1..4] {
            let clear = arc.iter().all(|&(x, y)| (x - spot.x).hypot(y - spot.y) > spot.radius);
            assert!(clear, "{arc:?} touches {spot:?}");
        }
    }
}
