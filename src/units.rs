//! Quantities with their units, exact where they count, and their written form.
//!
//! Moments and lengths of time are whole picoseconds; bytes, flops and tokens are whole numbers.
//! Only sums that mean something compile, and bytes become time in one place: [`Bytes`] `/`
//! [`Bandwidth`], which rounds up because nothing arrives before its last byte.
//!
//! Every quantity is written with its unit (`1.5 us`, `16 MiB`, `400 Gbit/s`, `989 TFLOP/s`) and
//! parses back from it; serde uses that written form, so YAML carries units too.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Picoseconds in one second.
pub const PICOS_PER_SECOND: u64 = 1_000_000_000_000;

/// A moment: whole picoseconds since the run began (u64 ps reach 213 days).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimTime(u64);

/// A length of time in whole picoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimDuration(u64);

impl SimTime {
    /// The moment at which every run begins.
    pub const ZERO: SimTime = SimTime(0);
    /// Later than every event.
    pub const MAX: SimTime = SimTime(u64::MAX);

    /// The moment `picos` picoseconds after the run began.
    #[inline]
    pub const fn from_picos(picos: u64) -> Self {
        SimTime(picos)
    }

    /// Whole picoseconds since the run began.
    #[inline]
    pub const fn picos(self) -> u64 {
        self.0
    }

    /// Seconds since the run began, for display and reports.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / PICOS_PER_SECOND as f64
    }

    /// The length from `earlier` to this moment; stops when `earlier` is later.
    #[inline]
    pub fn since(self, earlier: SimTime) -> SimDuration {
        SimDuration(self.0.checked_sub(earlier.0).unwrap_or_else(|| panic!("{earlier} is later than {self}")))
    }
}

impl SimDuration {
    /// No time at all.
    pub const ZERO: SimDuration = SimDuration(0);

    /// A length of `picos` picoseconds.
    #[inline]
    pub const fn from_picos(picos: u64) -> Self {
        SimDuration(picos)
    }

    /// A length of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        SimDuration(nanos * 1_000)
    }

    /// A length of `micros` microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        SimDuration(micros * 1_000_000)
    }

    /// A length in seconds, rounded up to the next picosecond.
    ///
    /// # Panics
    /// When `seconds` is negative, not a number or beyond 213 days.
    pub fn from_seconds(seconds: f64) -> Self {
        let picos = (seconds * PICOS_PER_SECOND as f64).ceil();
        assert!(
            picos >= 0.0 && picos < u64::MAX as f64,
            "{seconds} s is not a length of time that fits in 213 days"
        );
        SimDuration(picos as u64)
    }

    /// Whole picoseconds.
    #[inline]
    pub const fn picos(self) -> u64 {
        self.0
    }

    /// Seconds, for display and reports.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / PICOS_PER_SECOND as f64
    }

    /// This length times a factor ≥ 0, rounded up.
    pub fn scaled(self, factor: f64) -> Self {
        SimDuration::from_seconds(self.seconds() * factor)
    }

    /// The part of this length that goes beyond `other`.
    pub fn saturating_sub(self, other: Self) -> Self {
        SimDuration(self.0.saturating_sub(other.0))
    }
}

impl Add<SimDuration> for SimTime {
    type Output = SimTime;
    #[inline]
    fn add(self, length: SimDuration) -> SimTime {
        SimTime(
            self.0
                .checked_add(length.0)
                .unwrap_or_else(|| panic!("{self} + {length} is beyond the 213 days of simulated time")),
        )
    }
}

impl AddAssign<SimDuration> for SimTime {
    #[inline]
    fn add_assign(&mut self, length: SimDuration) {
        *self = *self + length;
    }
}

impl Add for SimDuration {
    type Output = SimDuration;
    #[inline]
    fn add(self, other: SimDuration) -> SimDuration {
        SimDuration(
            self.0.checked_add(other.0).unwrap_or_else(|| panic!("{self} + {other} is beyond 213 days")),
        )
    }
}

impl AddAssign for SimDuration {
    fn add_assign(&mut self, other: SimDuration) {
        *self = *self + other;
    }
}

impl Sub for SimDuration {
    type Output = SimDuration;
    #[inline]
    fn sub(self, other: SimDuration) -> SimDuration {
        SimDuration(
            self.0.checked_sub(other.0).unwrap_or_else(|| panic!("{self} - {other} is less than nothing")),
        )
    }
}

impl SubAssign for SimDuration {
    fn sub_assign(&mut self, other: SimDuration) {
        *self = *self - other;
    }
}

impl Mul<u64> for SimDuration {
    type Output = SimDuration;
    fn mul(self, times: u64) -> SimDuration {
        SimDuration(
            self.0.checked_mul(times).unwrap_or_else(|| panic!("{self} x {times} is beyond 213 days")),
        )
    }
}

impl std::iter::Sum for SimDuration {
    fn sum<I: Iterator<Item = SimDuration>>(lengths: I) -> SimDuration {
        lengths.fold(SimDuration::ZERO, |total, length| total + length)
    }
}

/// A whole count with checked arithmetic that says what overflowed.
macro_rules! count {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing.
            pub const ZERO: $name = $name(0);

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The plain number as a float, for rates and reports.
            pub fn as_f64(self) -> f64 {
                self.0 as f64
            }
        }

        impl Add for $name {
            type Output = $name;
            fn add(self, other: $name) -> $name {
                $name(self.0.checked_add(other.0).expect(concat!("too many ", $unit)))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: $name) {
                *self = *self + other;
            }
        }

        impl Sub for $name {
            type Output = $name;
            fn sub(self, other: $name) -> $name {
                $name(self.0.checked_sub(other.0).expect(concat!("fewer than no ", $unit)))
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: $name) {
                *self = *self - other;
            }
        }

        impl Mul<u64> for $name {
            type Output = $name;
            fn mul(self, times: u64) -> $name {
                $name(self.0.checked_mul(times).expect(concat!("too many ", $unit)))
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = $name>>(counts: I) -> $name {
                counts.fold($name::ZERO, |total, count| total + count)
            }
        }
    };
}

count!(
    /// A number of bytes.
    Bytes,
    "bytes"
);
count!(
    /// A number of floating-point operations (a multiply-add counts two).
    Flops,
    "flops"
);
count!(
    /// A number of tokens.
    Tokens,
    "tokens"
);

impl Bytes {
    /// The smallest whole number of bytes that is at least `bytes`.
    pub fn from_f64(bytes: f64) -> Self {
        assert!(bytes >= 0.0 && bytes < u64::MAX as f64, "{bytes} is not a number of bytes");
        Bytes(bytes.ceil() as u64)
    }
}

/// A positive, finite rate.
macro_rules! rate {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            /// The rate per second.
            ///
            /// # Panics
            /// When it is not positive and finite; text is checked earlier, when it is parsed.
            pub fn per_second(rate: f64) -> Self {
                assert!(rate > 0.0 && rate.is_finite(), "a rate is positive and finite, not {rate}");
                $name(rate)
            }

            /// The plain number per second.
            pub const fn get(self) -> f64 {
                self.0
            }

            /// This rate times a positive factor.
            pub fn scaled(self, factor: f64) -> Self {
                $name::per_second(self.0 * factor)
            }
        }
    };
}

rate!(
    /// Bytes per second.
    Bandwidth
);
rate!(
    /// Floating-point operations per second.
    FlopRate
);
rate!(
    /// Watts.
    Power
);

/// Rounds up: nothing arrives before its last byte.
impl Div<Bandwidth> for Bytes {
    type Output = SimDuration;
    fn div(self, bandwidth: Bandwidth) -> SimDuration {
        let rate = bandwidth.0;
        // Whole rates below 2^64 are divided in integers, so 10^12 bytes at 1 B/s are exact.
        if rate.fract() == 0.0 && rate < u64::MAX as f64 {
            let picos = (u128::from(self.0) * u128::from(PICOS_PER_SECOND)).div_ceil(rate as u128);
            let picos = u64::try_from(picos)
                .unwrap_or_else(|_| panic!("{self} at {bandwidth} take longer than 213 days"));
            return SimDuration(picos);
        }
        SimDuration::from_seconds(self.as_f64() / rate)
    }
}

/// Rounds up to the next picosecond.
impl Div<FlopRate> for Flops {
    type Output = SimDuration;
    fn div(self, rate: FlopRate) -> SimDuration {
        SimDuration::from_seconds(self.as_f64() / rate.0)
    }
}

/// A whole number of cycles of some clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cycles(pub u64);

/// A clock of a device, a memory or a link.
///
/// Edges are computed from the cycle number, edge(n) = ⌊n·10¹²/f⌋ ps, so 1.98 GHz (505.05… ps)
/// never drifts as a truncated period would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Clock {
    hertz: u64,
}

impl Clock {
    /// A clock of `hertz` > 0 cycles per second.
    pub fn from_hertz(hertz: u64) -> Self {
        assert!(hertz > 0, "a clock ticks");
        Clock { hertz }
    }

    /// Cycles per second.
    pub const fn hertz(self) -> u64 {
        self.hertz
    }

    /// The moment of edge `cycle`.
    pub fn edge(self, cycle: Cycles) -> SimTime {
        let picos = u128::from(cycle.0) * u128::from(PICOS_PER_SECOND) / u128::from(self.hertz);
        SimTime(u64::try_from(picos).expect("a cycle within 213 days"))
    }

    /// The first edge at or after `moment`, as its cycle number.
    pub fn cycle_at_or_after(self, moment: SimTime) -> Cycles {
        // The least n with floor(n·10¹²/f) >= t is ceil(t·f/10¹²).
        let cycles = (u128::from(moment.0) * u128::from(self.hertz)).div_ceil(u128::from(PICOS_PER_SECOND));
        Cycles(u64::try_from(cycles).expect("a cycle number that fits"))
    }

    /// When `cycles` cycles end that begin on the first edge at or after `start`.
    pub fn after(self, start: SimTime, cycles: Cycles) -> SimTime {
        let first = self.cycle_at_or_after(start);
        self.edge(Cycles(first.0.checked_add(cycles.0).expect("a cycle number that fits")))
    }

    /// How long `cycles` cycles last from edge 0, rounded up to a picosecond.
    pub fn duration(self, cycles: Cycles) -> SimDuration {
        let picos = (u128::from(cycles.0) * u128::from(PICOS_PER_SECOND)).div_ceil(u128::from(self.hertz));
        SimDuration(u64::try_from(picos).expect("a length within 213 days"))
    }

    /// The cycles that begin within `length`, rounded up.
    pub fn cycles_in(self, length: SimDuration) -> Cycles {
        self.cycle_at_or_after(SimTime(length.0))
    }
}

// ---------------------------------------------------------------------------------------------
// The written form
// ---------------------------------------------------------------------------------------------

/// Why a written quantity was not understood; its text says what would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantityError(String);

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QuantityError {}

/// How a quantity is written: what it is called, its units by size, an example for the reader.
struct Written {
    what: &'static str,
    units: &'static [(&'static str, f64)],
    example: &'static str,
}

const TIME: Written = Written {
    what: "a length of time",
    units: &[
        ("ps", 1e-12),
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("min", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
    ],
    example: "1.5 us",
};
const BYTES: Written = Written {
    what: "a number of bytes",
    units: &[
        ("B", 1.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("PB", 1e15),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ],
    example: "16 MiB",
};
const BANDWIDTH: Written = Written {
    what: "a bandwidth",
    units: &[
        ("B/s", 1.0),
        ("kB/s", 1e3),
        ("MB/s", 1e6),
        ("GB/s", 1e9),
        ("TB/s", 1e12),
        ("KiB/s", 1024.0),
        ("MiB/s", 1_048_576.0),
        ("GiB/s", 1_073_741_824.0),
        ("bit/s", 0.125),
        ("Mbit/s", 0.125e6),
        ("Gbit/s", 0.125e9),
        ("Tbit/s", 0.125e12),
        ("Gb/s", 0.125e9),
        ("Gbps", 0.125e9),
    ],
    example: "400 Gbit/s",
};
const FLOP_RATE: Written = Written {
    what: "a flop rate",
    units: &[
        ("FLOP/s", 1.0),
        ("MFLOP/s", 1e6),
        ("GFLOP/s", 1e9),
        ("TFLOP/s", 1e12),
        ("PFLOP/s", 1e15),
        ("GFLOPS", 1e9),
        ("TFLOPS", 1e12),
        ("PFLOPS", 1e15),
        ("TOP/s", 1e12),
    ],
    example: "989 TFLOP/s",
};
const FLOPS: Written = Written {
    what: "a number of flops",
    units: &[("FLOP", 1.0), ("kFLOP", 1e3), ("MFLOP", 1e6), ("GFLOP", 1e9), ("TFLOP", 1e12), ("PFLOP", 1e15)],
    example: "2.5 GFLOP",
};
const CLOCK: Written = Written {
    what: "a clock frequency",
    units: &[("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9)],
    example: "1830 MHz",
};

const POWER: Written =
    Written { what: "a power", units: &[("W", 1.0), ("kW", 1e3), ("MW", 1e6)], example: "700 W" };

impl Written {
    /// Reads `number unit`, with or without a space between.
    fn read(&self, text: &str) -> Result<f64, QuantityError> {
        let text = text.trim();
        let end = text
            .char_indices()
            .find(|&(at, c)| {
                let exponent = (c == 'e' || c == 'E')
                    && text[at + 1..].starts_with(|n: char| n.is_ascii_digit() || n == '-' || n == '+');
                let sign_of_exponent = (c == '-' || c == '+') && at > 0 && text[..at].ends_with(['e', 'E']);
                !(c.is_ascii_digit()
                    || c == '.'
                    || c == '_'
                    || exponent
                    || sign_of_exponent
                    || (at == 0 && c == '-'))
            })
            .map_or(text.len(), |(at, _)| at);
        let (number, unit) = (text[..end].replace('_', ""), text[end..].trim());
        let value: f64 = number.parse().map_err(|_| self.expected(text))?;
        if value < 0.0 {
            return Err(QuantityError(format!("{} cannot be negative, but `{text}` is", self.what)));
        }
        if unit.is_empty() && value == 0.0 {
            return Ok(0.0);
        }
        let scale = self
            .units
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, scale)| *scale)
            .ok_or_else(|| self.wrong_unit(text, unit))?;
        Ok(value * scale)
    }

    fn expected(&self, text: &str) -> QuantityError {
        QuantityError(format!("expected {} like `{}`, got `{text}`", self.what, self.example))
    }

    fn wrong_unit(&self, text: &str, unit: &str) -> QuantityError {
        let known: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        let known = known.join(", ");
        if unit.is_empty() {
            return QuantityError(format!(
                "`{text}` has no unit: expected {} like `{}` (units: {known})",
                self.what, self.example
            ));
        }
        QuantityError(format!(
            "`{unit}` is not a unit of {}: expected one of {known}, as in `{}`",
            self.what, self.example
        ))
    }

    /// Writes `value` with the largest of `names` that keeps the number at or above 1.
    fn write(&self, f: &mut fmt::Formatter<'_>, value: f64, names: &[&str]) -> fmt::Result {
        let scale_of = |name: &str| self.units.iter().find(|(n, _)| *n == name).expect("a listed unit").1;
        let name = names.iter().rev().find(|name| value >= scale_of(name)).unwrap_or(&names[0]);
        let number = value / scale_of(name);
        let digits = format!("{number:.3}");
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        f.pad(&format!("{digits} {name}"))
    }
}

impl FromStr for SimDuration {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let seconds = TIME.read(text)?;
        // Rounded to the nearest picosecond: `1.5 us` is meant exactly, whatever binary makes of it.
        let picos = (seconds * PICOS_PER_SECOND as f64).round();
        if picos >= u64::MAX as f64 {
            return Err(QuantityError(format!("`{text}` is longer than the 213 days a run can last")));
        }
        Ok(SimDuration(picos as u64))
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let bytes = BYTES.read(text)?;
        if bytes >= u64::MAX as f64 {
            return Err(QuantityError(format!("`{text}` is more than 16 EiB")));
        }
        Ok(Bytes(bytes.round() as u64))
    }
}

impl FromStr for Flops {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let flops = FLOPS.read(text)?;
        if flops >= u64::MAX as f64 {
            return Err(QuantityError(format!("`{text}` is more flops than fit in 64 bits")));
        }
        Ok(Flops(flops.round() as u64))
    }
}

/// A rate must be more than nothing: a link without bandwidth never delivers.
fn positive(written: &Written, text: &str) -> Result<f64, QuantityError> {
    let rate = written.read(text)?;
    if rate > 0.0 && rate.is_finite() {
        Ok(rate)
    } else {
        Err(QuantityError(format!("{} must be positive, but `{text}` is not", written.what)))
    }
}

impl FromStr for Bandwidth {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        positive(&BANDWIDTH, text).map(Bandwidth)
    }
}

impl FromStr for FlopRate {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        positive(&FLOP_RATE, text).map(FlopRate)
    }
}

impl FromStr for Power {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        positive(&POWER, text).map(Power)
    }
}

impl FromStr for Clock {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let hertz = positive(&CLOCK, text)?.round();
        if !(1.0..1e15).contains(&hertz) {
            return Err(QuantityError(format!("`{text}` is not a clock between 1 Hz and 1 PHz")));
        }
        Ok(Clock { hertz: hertz as u64 })
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&SimDuration(self.0), f)
    }
}

impl fmt::Display for SimDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TIME.write(f, self.seconds(), &["ps", "ns", "us", "ms", "s"])
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BYTES.write(f, self.as_f64(), &["B", "KiB", "MiB", "GiB", "TiB"])
    }
}

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FLOPS.write(f, self.as_f64(), &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"])
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} tokens", self.0))
    }
}

impl fmt::Display for Cycles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} cycles", self.0))
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BANDWIDTH.write(f, self.0, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
    }
}

impl fmt::Display for FlopRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FLOP_RATE.write(f, self.0, &["FLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"])
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        POWER.write(f, self.0, &["W", "kW", "MW"])
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CLOCK.write(f, self.hertz as f64, &["Hz", "kHz", "MHz", "GHz"])
    }
}

/// Quantities travel through serde in their written form.
macro_rules! serde_as_written {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = String;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a quantity with its unit")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
                        Ok(text.to_owned())
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
                        Ok(number.to_string())
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
                        Ok(number.to_string())
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
                        Ok(number.to_string())
                    }
                }
                from.deserialize_any(Text)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.to_string())
            }
        }
    )*};
}

serde_as_written!(SimDuration, Bytes, Flops, Bandwidth, FlopRate, Clock, Power);

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 bytes at 2 B/s are 1.5 s; 1 byte at 3 B/s is 333 333 333 333.3 ps, which rounds up.
    #[test]
    fn bytes_become_time_rounding_up() {
        assert_eq!(Bytes(3) / Bandwidth::per_second(2.0), SimDuration::from_picos(1_500_000_000_000));
        assert_eq!(Bytes(1) / Bandwidth::per_second(3.0), SimDuration::from_picos(333_333_333_334));
    }

    /// PHYSICS §1: a truncated period of 877 MHz drifts by 220 ppm; edges must not drift at all.
    #[test]
    fn clock_edges_never_drift() {
        let clock = Clock::from_hertz(877_000_000);
        assert_eq!(clock.edge(Cycles(877_000_000)), SimTime::from_picos(PICOS_PER_SECOND));
        for cycle in [1, 2, 3, 1_000_003, 876_999_999] {
            let edge = clock.edge(Cycles(cycle));
            assert_eq!(clock.cycle_at_or_after(edge), Cycles(cycle));
            assert_eq!(clock.cycle_at_or_after(edge + SimDuration::from_picos(1)), Cycles(cycle + 1));
        }
    }

    /// PHYSICS §1: at 1830 MHz a period is 546.448… ps; cut to 546 it loses 820 ppm, which is 819 672 ns
    /// in a second: 1.83·10⁹ cycles of 546 ps are 0.99918 s.
    #[test]
    fn a_day_of_cycles_ends_on_the_picosecond() {
        let clock = Clock::from_hertz(1_830_000_000);
        let day = 86_400 * 1_830_000_000;
        assert_eq!(clock.edge(Cycles(day)), SimTime::from_picos(86_400 * PICOS_PER_SECOND));
        assert_eq!([0, 1, 2, 3].map(|n| clock.edge(Cycles(n)).picos()), [0, 546, 1_092, 1_639]);
    }

    /// Ready between edges 1 (546 ps) and 2 (1092 ps): starts on edge 2 and ends three edges later, at
    /// ⌊5·10¹²/1.83·10⁹⌋ = 2732 ps. Ready on an edge: starts at once.
    #[test]
    fn what_becomes_ready_between_edges_starts_on_the_next() {
        let clock = Clock::from_hertz(1_830_000_000);
        assert_eq!(clock.after(SimTime::from_picos(547), Cycles(3)), SimTime::from_picos(2_732));
        assert_eq!(clock.after(SimTime::from_picos(1_092), Cycles(3)), SimTime::from_picos(2_732));
        assert_eq!(clock.after(SimTime::from_picos(1_093), Cycles(0)), SimTime::from_picos(1_639));
    }

    proptest::proptest! {
        /// The edge before the first at or after t is before t; and `k` cycles after an edge are its
        /// `k`-th successor, however they are split.
        #[test]
        fn edges_are_found_exactly(hertz in 1_u64..5_000_000_000, t in 0_u64..1 << 60, k in 0_u64..1_000_000) {
            let (clock, t) = (Clock::from_hertz(hertz), SimTime::from_picos(t));
            let cycle = clock.cycle_at_or_after(t);
            proptest::prop_assert!(clock.edge(cycle) >= t);
            proptest::prop_assert!(cycle.0 == 0 || clock.edge(Cycles(cycle.0 - 1)) < t);
            // 2^62 ps are 53 days: slow clocks do not get through `k` cycles in simulated time.
            if k * PICOS_PER_SECOND / hertz < 1 << 62 {
                let halfway = clock.after(t, Cycles(k / 2));
                proptest::prop_assert_eq!(clock.after(halfway, Cycles(k - k / 2)), clock.after(t, Cycles(k)));
            }
        }
    }

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!("1.5 us".parse(), Ok(SimDuration::from_picos(1_500_000)));
        assert_eq!("16 MiB".parse(), Ok(Bytes(16 << 20)));
        assert_eq!("1e3kB".parse(), Ok(Bytes(1_000_000)));
        assert_eq!("400 Gbit/s".parse(), Ok(Bandwidth::per_second(50e9)));
        assert_eq!("989 TFLOP/s".parse(), Ok(FlopRate::per_second(989e12)));
        assert_eq!("1830 MHz".parse(), Ok(Clock::from_hertz(1_830_000_000)));
    }

    #[test]
    fn wrong_units_name_what_would_do() {
        let error = "5 GB".parse::<Bandwidth>().unwrap_err().to_string();
        assert!(error.contains("`GB` is not a unit of a bandwidth") && error.contains("GB/s"), "{error}");
        let error = "-5 GB/s".parse::<Bandwidth>().unwrap_err().to_string();
        assert!(error.contains("cannot be negative"), "{error}");
        let error = "5".parse::<SimDuration>().unwrap_err().to_string();
        assert!(error.contains("has no unit"), "{error}");
        assert!("0 GB/s".parse::<Bandwidth>().is_err());
    }

    #[test]
    fn quantities_are_written_in_a_readable_unit() {
        assert_eq!(SimDuration::from_picos(1_500_000).to_string(), "1.5 us");
        assert_eq!(Bytes(16 << 20).to_string(), "16 MiB");
        assert_eq!(Bandwidth::per_second(50e9).to_string(), "50 GB/s");
        assert_eq!(SimTime::ZERO.to_string(), "0 ps");
    }
}
