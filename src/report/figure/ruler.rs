//! Axes: which numbers an edge of the plot spans, and where its ticks stand.

use crate::report::figure::lettering::{TICK_SIZE, text_width};
use crate::report::figure::quantity::{Quantity, Unit, significant};

/// An axis as the caller wishes it; what is left open follows the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What is measured, without its unit.
    pub label: String,
    /// In what.
    pub quantity: Quantity,
    /// Equal ratios get equal lengths.
    pub logarithmic: bool,
    /// Zero is shown even where the data are far from it.
    pub from_zero: bool,
    /// Exactly this range, whatever the data.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis that follows the data.
    pub fn new(label: impl Into<String>, quantity: Quantity) -> Self {
        Axis { label: label.into(), quantity, logarithmic: false, from_zero: false, range: None }
    }

    /// The same axis with a logarithmic scale. Numbers that are not positive cannot be shown on it;
    /// figures say how many there were.
    pub fn logarithmic(self) -> Self {
        Axis { logarithmic: true, ..self }
    }

    /// The same axis, starting at (or passing through) zero.
    pub fn from_zero(self) -> Self {
        Axis { from_zero: true, ..self }
    }

    /// The same axis over exactly this range.
    ///
    /// # Panics
    /// Unless both ends are finite and the first is the smaller.
    pub fn between(self, from: f64, to: f64) -> Self {
        assert!(from < to && (to - from).is_finite(), "an axis cannot go from {from} to {to}");
        Axis { range: Some((from, to)), ..self }
    }

    /// Whether the axis can show this number at all.
    pub(super) fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.logarithmic || value > 0.0)
    }
}

/// How much room an axis has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Room {
    /// Pixels from left to right.
    Across(f64),
    /// Pixels from bottom to top.
    Up(f64),
}

/// An axis fitted to its data and its room.
#[derive(Debug, Clone)]
pub(super) struct Ruler {
    from: f64,
    to: f64,
    logarithmic: bool,
    /// Where along the axis (0 to 1), and what is written there.
    pub ticks: Vec<(f64, String)>,
    /// Where fainter lines help to read a logarithmic axis.
    pub minor: Vec<f64>,
    /// Label and unit.
    pub title: String,
}

impl Ruler {
    /// Fits an axis around data that reach from `data.0` to `data.1` (nothing: there are none).
    /// `margin` of the range is left free at both ends, unless the range is given.
    pub fn fit(axis: &Axis, data: Option<(f64, f64)>, room: Room, margin: f64) -> Ruler {
        let (from, to) = axis.range.unwrap_or_else(|| domain(axis, data, margin));
        let mut ruler = Ruler {
            from,
            to,
            logarithmic: axis.logarithmic,
            ticks: Vec::new(),
            minor: Vec::new(),
            title: String::new(),
        };
        let unit = axis.quantity.unit_for(from.abs().max(to.abs()));
        let mut unit_name = unit.name.as_str();
        let decades = (to / from).log10();
        if axis.logarithmic && (decades >= 1.5 || axis.quantity == Quantity::Bytes && decades >= 0.9) {
            ruler.ticks = logarithmic_ticks(&ruler, axis.quantity, room);
            ruler.minor = minor_lines(&ruler, axis.quantity);
            if let Quantity::Si(bare) = axis.quantity {
                unit_name = bare;
            } else {
                unit_name = "";
            }
        } else {
            ruler.ticks = linear_ticks(&ruler, &unit, room);
        }
        ruler.title = match (axis.label.as_str(), unit_name) {
            (label, "") => label.to_owned(),
            ("", unit) => unit.to_owned(),
            (label, unit) => format!("{label} ({unit})"),
        };
        ruler
    }

    /// Where along the axis a number stands, 0 to 1 within the range; nothing when it cannot be shown.
    pub fn part(&self, value: f64) -> Option<f64> {
        let part = if self.logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        part.is_finite().then_some(part)
    }

    /// The number at a part of the axis.
    pub fn value(&self, part: f64) -> f64 {
        if self.logarithmic {
            self.from * (self.to / self.from).powf(part)
        } else {
            self.from + (self.to - self.from) * part
        }
    }

    /// The widest tick label, in pixels.
    pub fn label_width(&self) -> f64 {
        self.ticks.iter().map(|(_, label)| text_width(label, TICK_SIZE)).fold(0.0, f64::max)
    }
}

/// The range around the data, never empty.
fn domain(axis: &Axis, data: Option<(f64, f64)>, margin: f64) -> (f64, f64) {
    if axis.logarithmic {
        let (low, high) = data.filter(|&(low, high)| low > 0.0 && high.is_finite()).unwrap_or((1.0, 10.0));
        let widened = if low < high { (low, high) } else { (low / 2.0, high * 2.0) };
        let ratio = (widened.1 / widened.0).powf(margin);
        return (widened.0 / ratio, widened.1 * ratio);
    }
    let (mut low, mut high) = data.unwrap_or((0.0, 1.0));
    if axis.from_zero {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    if low == high {
        // One number: some room on both sides; or from nothing to it where zero is wanted.
        let around = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        (low, high) = if axis.from_zero { (0.0, 1.0) } else { (low - around, high + around) };
    }
    let free = (high - low) * margin;
    let at_zero = |end: f64| axis.from_zero && end == 0.0;
    (if at_zero(low) { 0.0 } else { low - free }, if at_zero(high) { 0.0 } else { high + free })
}

/// As many ticks at 1, 2 or 5 times a power of ten as have room.
fn linear_ticks(ruler: &Ruler, unit: &Unit, room: Room) -> Vec<(f64, String)> {
    let most = match room {
        Room::Across(pixels) => (pixels / 60.0).clamp(2.0, 14.0) as usize,
        Room::Up(pixels) => (pixels / 34.0).clamp(2.0, 10.0) as usize,
    };
    for count in (1..=most).rev() {
        let ticks = round_ticks(ruler, unit, count);
        if ticks.len() >= 2 && have_room(&ticks, room) {
            return ticks;
        }
    }
    round_ticks(ruler, unit, most).into_iter().take(1).collect()
}

/// Ticks no closer than the range divided by `count`.
fn round_ticks(ruler: &Ruler, unit: &Unit, count: usize) -> Vec<(f64, String)> {
    let (from, to) = (ruler.from / unit.factor, ruler.to / unit.factor);
    let least = (to - from) / count as f64;
    let decade = 10_f64.powf(least.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * decade).into_iter().find(|&step| step >= least * (1.0 - 1e-9));
    let step = step.expect("ten decades hold any number of their decade");
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    // A little beyond the ends, so that rounding does not lose the tick on the corner.
    let first = (from / step - 1e-6).ceil() as i64;
    let last = (to / step + 1e-6).floor() as i64;
    (first..=last)
        .filter_map(|index| {
            let value = index as f64 * step * unit.factor;
            Some((ruler.part(value)?.clamp(0.0, 1.0), unit.tick(value, decimals)))
        })
        .collect()
}

/// Powers of ten (of two for bytes, of 1000 for time's units all the same), thinned to fit.
fn logarithmic_ticks(ruler: &Ruler, quantity: Quantity, room: Room) -> Vec<(f64, String)> {
    let base = base_of(quantity);
    let exponent = |value: f64| value.log10() / base.log10();
    let (first, last) =
        ((exponent(ruler.from) - 1e-6).ceil() as i32, (exponent(ruler.to) + 1e-6).floor() as i32);
    if let Some(ticks) = subdivided_ticks(ruler, quantity, room) {
        return ticks;
    }
    for stride in 1.. {
        let exponents = (first..=last).filter(|e| e.rem_euclid(stride) == 0);
        let ticks: Vec<(f64, String)> = exponents
            .filter_map(|e| {
                let value = base.powi(e);
                Some((ruler.part(value)?.clamp(0.0, 1.0), logarithmic_label(quantity, value)))
            })
            .collect();
        if ticks.len() <= 1 || have_room(&ticks, room) {
            return ticks;
        }
    }
    unreachable!("a stride as long as the axis leaves one tick")
}

/// Ticks at 1, 2 and 5 (or 1 and 3) times the powers of ten, on axes of few decades that have the room.
fn subdivided_ticks(ruler: &Ruler, quantity: Quantity, room: Room) -> Option<Vec<(f64, String)>> {
    let (first, last) = (ruler.from.log10().floor() as i32, ruler.to.log10().floor() as i32);
    if quantity == Quantity::Bytes || last - first > 3 {
        return None;
    }
    [[1.0, 2.0, 5.0].as_slice(), &[1.0, 3.0]].into_iter().find_map(|steps| {
        let values = (first..=last).flat_map(|e| steps.iter().map(move |m| m * 10_f64.powi(e)));
        let ticks: Vec<(f64, String)> = values
            .filter_map(|value| Some((ruler.part(value)?, logarithmic_label(quantity, value))))
            .filter(|(part, _)| (-1e-6..=1.0 + 1e-6).contains(part))
            .map(|(part, label)| (part.clamp(0.0, 1.0), label))
            .collect();
        (ticks.len() >= 3 && have_room(&ticks, room)).then_some(ticks)
    })
}

fn base_of(quantity: Quantity) -> f64 {
    if quantity == Quantity::Bytes { 2.0 } else { 10.0 }
}

/// The number with its unit; SI units stand beside the axis, and only their prefix here.
fn logarithmic_label(quantity: Quantity, value: f64) -> String {
    match quantity {
        Quantity::Si(_) => {
            let unit = Quantity::Si("").unit_for(value);
            format!("{}{}", significant(value / unit.factor, 3), unit.name)
        }
        _ => quantity.write(value),
    }
}

/// Lines at 2 to 9 times the powers of ten, where decades are wide enough.
fn minor_lines(ruler: &Ruler, quantity: Quantity) -> Vec<f64> {
    let decades = (ruler.to / ruler.from).log10();
    if quantity == Quantity::Bytes || decades > 8.0 {
        return Vec::new();
    }
    let (first, last) = (ruler.from.log10().floor() as i32, ruler.to.log10().floor() as i32);
    (first..=last)
        .flat_map(|e| (2..=9).map(move |m| f64::from(m) * 10_f64.powi(e)))
        .filter_map(|value| ruler.part(value).filter(|part| (0.0..=1.0).contains(part)))
        .collect()
}

/// Whether no two labels touch.
fn have_room(ticks: &[(f64, String)], room: Room) -> bool {
    ticks.windows(2).all(|pair| {
        let apart = pair[1].0 - pair[0].0;
        match room {
            Room::Across(pixels) => {
                let half = |label: &str| text_width(label, TICK_SIZE) / 2.0;
                apart * pixels >= half(&pair[0].1) + half(&pair[1].1) + 12.0
            }
            Room::Up(pixels) => apart * pixels >= TICK_SIZE * 1.6,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, from: f64, to: f64, room: Room) -> Vec<String> {
        Ruler::fit(&axis, Some((from, to)), room, 0.0).ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_in_one_unit() {
        let time = Axis::new("time", Quantity::Time);
        assert_eq!(labels(time.clone(), 0.0, 0.0105, Room::Across(400.0)), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(Ruler::fit(&time, Some((0.0, 0.0105)), Room::Across(400.0), 0.0).title, "time (ms)");
        let bytes = Axis::new("memory", Quantity::Bytes);
        assert_eq!(labels(bytes, 0.0, 80.0 * 1073741824.0, Room::Up(160.0)), ["0", "20", "40", "60", "80"]);
        let number = Axis::new("requests", Quantity::Number);
        assert_eq!(labels(number, 0.0, 40_000.0, Room::Up(160.0)), ["0", "10k", "20k", "30k", "40k"]);
    }

    #[test]
    fn logarithmic_ticks_carry_their_unit_and_thin_out() {
        let bytes = Axis::new("message", Quantity::Bytes).logarithmic();
        assert_eq!(
            labels(bytes, 8.0, 1073741824.0, Room::Across(700.0)),
            ["8 B", "64 B", "512 B", "4 KiB", "32 KiB", "256 KiB", "2 MiB", "16 MiB", "128 MiB", "1 GiB"]
        );
        let time = Axis::new("time", Quantity::Time).logarithmic();
        assert_eq!(
            labels(time.clone(), 1e-6, 1e-2, Room::Up(150.0)),
            ["1 us", "10 us", "100 us", "1 ms", "10 ms"]
        );
        assert_eq!(labels(time, 3e-4, 1e-2, Room::Up(300.0)), ["500 us", "1 ms", "2 ms", "5 ms", "10 ms"]);
    }

    #[test]
    fn an_axis_is_never_empty() {
        for data in [None, Some((0.0, 0.0)), Some((5.0, 5.0)), Some((-3.0, -3.0)), Some((1e-30, 1e-30))] {
            for axis in [
                Axis::new("", Quantity::Number),
                Axis::new("", Quantity::Number).from_zero(),
                Axis::new("", Quantity::Time).logarithmic(),
            ] {
                let ruler = Ruler::fit(&axis, data, Room::Up(200.0), 0.05);
                assert!(ruler.part(ruler.value(0.5)).is_some_and(|part| (part - 0.5).abs() < 1e-6));
            }
        }
    }

    proptest::proptest! {
        /// Whatever the data: ticks within the axis, in order, labels different and apart.
        #[test]
        fn ticks_never_overlap(
            from in -1e6_f64..1e6, exponent in -9_f64..9.0, pixels in 80_f64..1000.0, logarithmic: bool,
        ) {
            let axis = Axis { logarithmic, ..Axis::new("", Quantity::Number) };
            let from = if logarithmic { from.abs() + 1e-6 } else { from };
            let to = from + 10_f64.powf(exponent);
            proptest::prop_assume!(to > from * (1.0 + 1e-9));
            for room in [Room::Across(pixels), Room::Up(pixels)] {
                let ruler = Ruler::fit(&axis, Some((from, to)), room, 0.03);
                proptest::prop_assert!(ruler.ticks.iter().all(|(part, _)| (0.0..=1.0).contains(part)));
                proptest::prop_assert!(have_room(&ruler.ticks, room));
                for pair in ruler.ticks.windows(2) {
                    proptest::prop_assert!(pair[0].0 < pair[1].0);
                    proptest::prop_assert!(pair[0].1 != pair[1].1, "{:?}", ruler.ticks);
                }
            }
        }
    }
}
