//! How wide text is, guessed on the safe side, and its sizes.

/// Titles of figures, in pixels.
pub(super) const TITLE_SIZE: f64 = 14.0;
/// Labels of axes, legends and lanes.
pub(super) const LABEL_SIZE: f64 = 12.0;
/// Ticks, and text within marks.
pub(super) const TICK_SIZE: f64 = 11.0;
/// Notes below the plot.
pub(super) const NOTE_SIZE: f64 = 11.0;

/// Advance widths of the printable ASCII characters in hundredths of the font size, as DejaVu Sans
/// has them: the widest of the sans-serif fonts that readers are likely to have.
const ADVANCES: [u8; 95] = [
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 78, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64,
    62, 74, 69, 99, 69, 62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98,
    64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84,
];

/// The width of a text in pixels. Characters beyond ASCII count as a full square.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let hundredths: u32 = text
        .chars()
        .map(|c| match c {
            ' '..='~' => u32::from(ADVANCES[c as usize - 32]),
            _ => 100,
        })
        .sum();
    f64::from(hundredths) / 100.0 * size
}

/// The width of bold text, which is a tenth wider.
pub(super) fn bold_width(text: &str, size: f64) -> f64 {
    text_width(text, size) * 1.12
}

/// The text, cut with an ellipsis where it would be wider than `room`.
pub(super) fn shortened(text: &str, size: f64, room: f64) -> String {
    // A hair more than the room, for names that were measured to make it.
    if text_width(text, size) <= room + 0.01 {
        return text.to_owned();
    }
    let ellipsis = text_width("…", size);
    let mut kept = String::new();
    let mut width = ellipsis;
    for c in text.chars() {
        width += text_width(c.encode_utf8(&mut [0; 4]), size);
        if width > room {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// The text in lines no wider than `room`, broken at blanks; longer words are cut.
pub(super) fn wrapped(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shortened(word, size, room);
        match lines.last_mut() {
            Some(line)
                if text_width(line, size) + text_width(" ", size) + text_width(&word, size) <= room =>
            {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_and_broken() {
        assert_eq!(shortened("forward", 10.0, 100.0), "forward");
        let cut = shortened("a very long label", 10.0, 60.0);
        assert!(cut.ends_with('…') && text_width(&cut, 10.0) <= 60.0, "{cut}");
        let lines = wrapped("one two three four five six", 10.0, 60.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| text_width(line, 10.0) <= 60.0), "{lines:?}");
        assert_eq!(lines.join(" "), "one two three four five six");
    }
}
