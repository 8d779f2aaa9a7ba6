//! The colours, the same in every figure.
//!
//! Computation is blue and green, communication orange, red and purple, and what is neither is brown
//! and grey. The colours of activities were spread apart in CIELAB as people with normal vision and
//! with each kind of dichromacy see them; a test holds them there. They differ in lightness too, so
//! print without colour still tells most of them apart.

use crate::trace::{Activity, MemoryUse};

/// A colour, and how much it covers what is under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Color {
    /// Of 255.
    pub red: u8,
    /// Of 255.
    pub green: u8,
    /// Of 255.
    pub blue: u8,
    /// Opacity in percent; 100 hides what is under it.
    pub percent: u8,
}

impl Color {
    /// The opaque colour `0xRRGGBB`.
    pub const fn hex(rgb: u32) -> Self {
        Color { red: (rgb >> 16) as u8, green: (rgb >> 8) as u8, blue: rgb as u8, percent: 100 }
    }

    /// The same colour, covering `percent` of what is under it.
    pub const fn faded(self, percent: u8) -> Self {
        Color { percent, ..self }
    }

    /// This colour with `share` (0 to 1) of another in it.
    pub(super) fn mixed(self, other: Color, share: f64) -> Self {
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
        Color {
            red: mix(self.red, other.red),
            green: mix(self.green, other.green),
            blue: mix(self.blue, other.blue),
            percent: self.percent,
        }
    }

    /// Relative luminance, 0 to 1 (WCAG 2.2).
    fn luminance(self) -> f64 {
        let [r, g, b] = [self.red, self.green, self.blue].map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// Ink or paper, whichever is easier to read on this colour (by WCAG's contrast ratio).
    pub(super) fn ink_on(self) -> Color {
        let contrast = |other: Color| {
            let (a, b) = (self.luminance(), other.luminance());
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        if contrast(INK) >= contrast(PAPER) { INK } else { PAPER }
    }
}

/// sRGB's transfer function, undone (IEC 61966-2-1).
fn linear(channel: u8) -> f64 {
    let c = f64::from(channel) / 255.0;
    if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hue {
    /// Computation of every kind together.
    Compute,
    /// What a lane is busy with.
    Activity(Activity),
    /// What memory is used for.
    Memory(MemoryUse),
    /// Nothing: a bubble, an idle device, free space.
    Idle,
    /// What is there for comparison and must not catch the eye.
    Muted,
    /// The n-th of things that have no colour of their own; the colours repeat after ten.
    Series(usize),
}

impl Hue {
    /// Its colour.
    pub const fn color(self) -> Color {
        match self {
            Hue::Compute => FORWARD,
            Hue::Activity(activity) => activity_color(activity),
            Hue::Memory(usage) => memory_color(usage),
            Hue::Idle => Color::hex(0xE6E9ED),
            Hue::Muted => Color::hex(0xA9B2BC),
            Hue::Series(index) => SERIES[index % SERIES.len()],
        }
    }

    /// What a legend calls it; one of a series has no name of its own.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Hue::Compute => Some("compute"),
            Hue::Activity(activity) => Some(activity.name()),
            Hue::Memory(usage) => Some(usage.name()),
            Hue::Idle => Some("idle"),
            Hue::Muted | Hue::Series(_) => None,
        }
    }
}

const FORWARD: Color = Color::hex(0x429DE9);
const BACKWARD: Color = Color::hex(0x0F58BD);
const OPTIMIZER: Color = Color::hex(0x0B8954);

/// Activities that never meet in one figure share colours: those of training, and those of the other
/// trades.
const fn activity_color(activity: Activity) -> Color {
    match activity {
        Activity::Forward | Activity::Task | Activity::Decode | Activity::Job => FORWARD,
        Activity::Backward | Activity::Prefill => BACKWARD,
        Activity::BackwardInput => Color::hex(0x275855),
        Activity::BackwardWeight => Color::hex(0xA7E5A3),
        Activity::Recompute => Color::hex(0xDBB9EF),
        Activity::Optimizer => OPTIMIZER,
        Activity::TensorComm => Color::hex(0xF7AA1E),
        Activity::DataComm => Color::hex(0xC74B05),
        Activity::PipelineComm => Color::hex(0xAC599E),
        Activity::ExpertComm => Color::hex(0x540555),
        Activity::ContextComm => Color::hex(0xEFD470),
        Activity::HostComm => Color::hex(0x871EFF),
        Activity::Input => Color::hex(0x633410),
        Activity::Other => Color::hex(0x7BA798),
    }
}

const fn memory_color(usage: MemoryUse) -> Color {
    match usage {
        MemoryUse::Parameters => BACKWARD,
        MemoryUse::Gradients => Color::hex(0xC74B05),
        MemoryUse::Optimizer => OPTIMIZER,
        MemoryUse::Activations => Color::hex(0x7CC4F5),
        MemoryUse::Buffers => Color::hex(0xF7AA1E),
    }
}

/// For lines and points on paper: dark enough for a thin line. The first seven rest on the colours
/// of Okabe and Ito, "Color Universal Design", 2008.
const SERIES: [Color; 10] = [
    Color::hex(0x0072B2),
    Color::hex(0xD55E00),
    Color::hex(0x009E73),
    Color::hex(0xB5478A),
    Color::hex(0xE69F00),
    Color::hex(0x4FA8DC),
    Color::hex(0x3B3B3B),
    Color::hex(0x7A5C2E),
    Color::hex(0x6A51A3),
    Color::hex(0x8FA31E),
];

/// What figures are drawn on. It stays light on a dark page, since the colours are chosen for it.
pub(super) const PAPER: Color = Color::hex(0xFFFFFF);
/// Titles and labels.
pub(super) const INK: Color = Color::hex(0x1F2328);
/// Ticks, units and notes.
pub(super) const PALE_INK: Color = Color::hex(0x59636E);
/// The lines of axes.
pub(super) const AXIS: Color = Color::hex(0x8C959F);
/// Grid lines, and the lines between lanes.
pub(super) const GRID: Color = Color::hex(0xE4E7EB);
/// Every other group of lanes.
pub(super) const BAND: Color = Color::hex(0xF6F8FA);
/// Limits, failures, and what must not be missed.
pub(super) const ALARM: Color = Color::hex(0xC1121F);

/// Light to dark for little to much, 0 to 1: monotone in lightness, so it survives print.
pub(super) fn heat(share: f64) -> Color {
    const STOPS: [Color; 6] = [
        Color::hex(0xF7F4E9),
        Color::hex(0xF6D98B),
        Color::hex(0xF0A045),
        Color::hex(0xD65A31),
        Color::hex(0x96274B),
        Color::hex(0x3B0F48),
    ];
    let at = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let stop = (at as usize).min(STOPS.len() - 2);
    STOPS[stop].mixed(STOPS[stop + 1], at - stop as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIELAB under D65 (CIE 15).
    fn lab([r, g, b]: [f64; 3]) -> [f64; 3] {
        let x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047;
        let y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b;
        let z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883;
        let f = |t: f64| if t > 216.0 / 24389.0 { t.cbrt() } else { (24389.0 / 27.0 * t + 16.0) / 116.0 };
        [116.0 * f(y) - 16.0, 500.0 * (f(x) - f(y)), 200.0 * (f(y) - f(z))]
    }

    /// Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
    /// Deficiency", IEEE TVCG 2009, table 1, severity 1.0; in linear RGB.
    const VISIONS: [(&str, [[f64; 3]; 3]); 4] = [
        ("normal", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protanopia",
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
        ),
        (
            "deuteranopia",
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
        ),
        (
            "tritanopia",
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ),
    ];

    fn seen(color: Color, vision: &[[f64; 3]; 3]) -> [f64; 3] {
        let rgb = [color.red, color.green, color.blue].map(linear);
        lab(vision.map(|row| row.iter().zip(rgb).map(|(m, c)| m * c).sum::<f64>().clamp(0.0, 1.0)))
    }

    fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    /// A difference of 2.3 in CIELAB is just noticeable; 15 is plain at a glance.
    #[test]
    fn activities_of_training_are_told_apart_by_every_eye() {
        let hues: Vec<Hue> = Activity::ALL[..13]
            .iter()
            .map(|&activity| Hue::Activity(activity))
            .chain([Hue::Activity(Activity::Other), Hue::Idle])
            .collect();
        for (name, vision) in VISIONS {
            for (index, &a) in hues.iter().enumerate() {
                for &b in &hues[index + 1..] {
                    let apart = distance(seen(a.color(), &vision), seen(b.color(), &vision));
                    assert!(apart > 15.0, "{a:?} and {b:?} are {apart:.1} apart with {name} vision");
                }
            }
        }
    }

    #[test]
    fn memory_uses_are_told_apart_by_every_eye() {
        for (name, vision) in VISIONS {
            for a in MemoryUse::ALL {
                for b in MemoryUse::ALL.into_iter().filter(|&b| b > a) {
                    let [a_seen, b_seen] = [a, b].map(|usage| seen(Hue::Memory(usage).color(), &vision));
                    let apart = distance(a_seen, b_seen);
                    assert!(apart > 15.0, "{a:?} and {b:?} are {apart:.1} apart with {name} vision");
                }
            }
        }
    }

    #[test]
    fn labels_are_readable_on_every_colour() {
        let hues = Activity::ALL.map(Hue::Activity).into_iter().chain((0..10).map(Hue::Series));
        for hue in hues {
            let (paint, ink) = (hue.color().luminance(), hue.color().ink_on().luminance());
            let contrast = (paint.max(ink) + 0.05) / (paint.min(ink) + 0.05);
            assert!(contrast > 4.0, "{hue:?}: contrast {contrast:.2}");
        }
    }

    #[test]
    fn more_heat_is_darker() {
        let shades: Vec<f64> = (0..=100)
            .map(|percent| {
                lab([heat(f64::from(percent) / 100.0)].map(|c| [c.red, c.green, c.blue].map(linear))[0])[0]
            })
            .collect();
        assert!(shades.windows(2).all(|pair| pair[1] < pair[0] + 0.01), "{shades:?}");
    }
}
