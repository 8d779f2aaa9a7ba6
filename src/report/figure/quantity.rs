//! What numbers along an axis are, and how they are written.

/// What a number measures; it decides the unit and the ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// A plain number.
    Number,
    /// A share of one, shown in percent.
    Percent,
    /// Seconds, shown in ps to days.
    Time,
    /// Bytes, shown in binary multiples.
    Bytes,
    /// Anything that takes SI prefixes, in this unit: `FLOP/s`, `B/s`, `tokens/s`, `FLOP/B`.
    Si(&'static str),
}

/// A multiple in which numbers are written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    /// Divides the number.
    pub factor: f64,
    /// Stands behind every number, without a blank.
    pub suffix: String,
    /// Stands once, beside the axis; or behind a number that stands alone.
    pub name: String,
}

const TIME: [(&str, f64); 8] = [
    ("ps", 1e-12),
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("days", 86400.0),
];
const BYTES: [(&str, f64); 6] = [
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1048576.0),
    ("GiB", 1073741824.0),
    ("TiB", 1099511627776.0),
    ("PiB", 1125899906842624.0),
];
const PREFIXES: [(&str, f64); 8] =
    [("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];
const GREAT_PREFIXES: [(&str, f64); 2] = [("P", 1e15), ("E", 1e18)];

impl Quantity {
    /// The unit in which a number of this size reads best.
    pub(super) fn unit_for(self, magnitude: f64) -> Unit {
        let named = |(name, factor): (&str, f64)| Unit { factor, suffix: String::new(), name: name.into() };
        match self {
            Quantity::Percent => named(("%", 0.01)),
            Quantity::Time => {
                // 100 s read better than 1.67 min; 100 min better than 1.67 h; 60 h better than 2.5 days.
                let units = TIME.into_iter().rev();
                let reads_well = |&(name, factor): &(&str, f64)| match name {
                    "min" => magnitude >= 300.0,
                    "h" => magnitude >= 3.0 * 3600.0,
                    "days" => magnitude >= 4.0 * 86400.0,
                    _ => magnitude >= factor,
                };
                named(units.clone().find(reads_well).unwrap_or(if magnitude > 0.0 {
                    TIME[0]
                } else {
                    TIME[4]
                }))
            }
            Quantity::Bytes => named(largest(&BYTES, magnitude).unwrap_or(BYTES[0])),
            Quantity::Si(unit) => {
                let (prefix, factor) = largest(&GREAT_PREFIXES, magnitude)
                    .or_else(|| largest(&PREFIXES, magnitude))
                    .unwrap_or(("", 1.0));
                Unit { factor, suffix: String::new(), name: format!("{prefix}{unit}") }
            }
            Quantity::Number if magnitude >= 10_000.0 => {
                let (prefix, factor) = largest(&GREAT_PREFIXES, magnitude)
                    .or_else(|| largest(&PREFIXES, magnitude))
                    .expect("at least a thousand");
                Unit { factor, suffix: prefix.into(), name: String::new() }
            }
            Quantity::Number if magnitude > 0.0 && magnitude < 1e-3 => {
                let exponent = magnitude.log10().floor() as i32;
                Unit { factor: 10_f64.powi(exponent), suffix: format!("e{exponent}"), name: String::new() }
            }
            Quantity::Number => named(("", 1.0)),
        }
    }

    /// The number with its unit, to three significant digits (four for plain numbers).
    ///
    /// ```
    /// use trainyard::report::figure::Quantity;
    ///
    /// assert_eq!(Quantity::Time.write(0.001_534), "1.53 ms");
    /// assert_eq!(Quantity::Bytes.write(3.0 * 1024.0 * 1024.0), "3 MiB");
    /// assert_eq!(Quantity::Percent.write(0.4567), "45.7 %");
    /// ```
    pub fn write(self, value: f64) -> String {
        if !value.is_finite() {
            return format!("{value}");
        }
        let unit = self.unit_for(value.abs());
        let digits = if self == Quantity::Number { 4 } else { 3 };
        let number = significant(value / unit.factor, digits);
        match unit.name.as_str() {
            "" => format!("{number}{}", unit.suffix),
            name => format!("{number}{} {name}", unit.suffix),
        }
    }
}

impl Unit {
    /// The number in this unit, with so many decimals.
    pub(super) fn tick(&self, value: f64, decimals: usize) -> String {
        let number = fixed(value / self.factor, decimals);
        if number == "0" { number } else { format!("{number}{}", self.suffix) }
    }
}

/// The largest unit that is not larger than the number.
fn largest(units: &[(&'static str, f64)], magnitude: f64) -> Option<(&'static str, f64)> {
    // A little less, so that 0.9999999 ms of rounding is still a millisecond.
    units.iter().rev().copied().find(|&(_, factor)| magnitude >= factor * (1.0 - 1e-9))
}

/// So many decimals, and no negative zero.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') { "0".into() } else { text }
}

/// So many significant digits, without trailing zeros behind the point.
pub(super) fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let decimals = (digits - 1 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = fixed(value, decimals);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_unit_that_reads_best() {
        let written = |quantity: Quantity, values: &[f64]| {
            values.iter().map(|&value| quantity.write(value)).collect::<Vec<_>>()
        };
        assert_eq!(
            written(Quantity::Time, &[0.0, 2e-12, 1.5e-6, 0.25, 100.0, 600.0, 50_000.0, 864_000.0]),
            ["0 s", "2 ps", "1.5 us", "250 ms", "100 s", "10 min", "13.9 h", "10 days"]
        );
        assert_eq!(
            written(Quantity::Bytes, &[0.0, 512.0, 1536.0, 85e9]),
            ["0 B", "512 B", "1.5 KiB", "79.2 GiB"]
        );
        assert_eq!(
            written(Quantity::Si("FLOP/s"), &[0.0, 989e12, 1.2e15]),
            ["0 FLOP/s", "989 TFLOP/s", "1.2 PFLOP/s"]
        );
        assert_eq!(
            written(Quantity::Number, &[0.0, 2.5, -1234.0, 69_448.0, 3e-4, f64::NAN]),
            ["0", "2.5", "-1234", "69.45k", "3e-4", "NaN"]
        );
    }
}
