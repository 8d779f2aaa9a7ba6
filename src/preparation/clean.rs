//! Text without what is no text: markup, control characters, letters written in more than one way.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// In which normal form letters are written (Unicode Standard Annex 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormalForm {
    /// As they are found.
    AsFound,
    /// Composed: one character where there is one.
    Nfc,
    /// Composed, and characters that only look different (ligatures, wide letters) made one.
    #[default]
    Nfkc,
}

/// How documents are cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cleaning {
    /// Whether tags, comments, scripts and styles are taken out and entities read.
    pub markup: bool,
    /// Whether control characters and invisible ones are taken out.
    pub controls: bool,
    /// The normal form.
    pub unicode: NormalForm,
    /// Whether runs of blanks become one, and lines and documents are trimmed.
    pub blanks: bool,
}

impl Default for Cleaning {
    fn default() -> Self {
        Cleaning { markup: true, controls: true, unicode: NormalForm::default(), blanks: true }
    }
}

impl Cleaning {
    /// The document, cleaned. Characters are taken out before letters are composed, so that what they
    /// kept apart is composed too.
    pub fn clean(&self, document: &str) -> String {
        let mut text = document.to_owned();
        if self.markup {
            text = html_escape::decode_html_entities(&without_markup(&text)).into_owned();
        }
        if self.controls {
            text.retain(|character| !is_invisible(character));
        }
        text = match self.unicode {
            NormalForm::AsFound => text,
            NormalForm::Nfc => text.nfc().collect(),
            NormalForm::Nfkc => text.nfkc().collect(),
        };
        if self.blanks {
            text = trimmed(&text);
        }
        text
    }
}

/// Control characters other than the ends of lines and tabs, and what has no width.
fn is_invisible(character: char) -> bool {
    let kept = matches!(character, '\n' | '\t');
    let zero_width = matches!(
        character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
    );
    (character.is_control() && !kept) || zero_width
}

/// Text between tags. A `<` that opens no tag (`a < b`) stays. Tags that end a block end a line too.
fn without_markup(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        kept.push_str(&rest[..open]);
        rest = &rest[open..];
        let Some(length) = markup_length(rest) else {
            kept.push('<');
            rest = &rest[1..];
            continue;
        };
        let name = tag_name(rest);
        if BLOCKS.contains(&name.as_str()) {
            kept.push('\n');
        }
        rest = &rest[length..];
    }
    kept.push_str(rest);
    kept
}

/// Tags after which text goes on in a new line.
const BLOCKS: [&str; 9] = ["p", "div", "br", "li", "tr", "h1", "h2", "h3", "section"];

/// Bytes of the tag, comment or element without text that `text` begins with, if it begins with one.
fn markup_length(text: &str) -> Option<usize> {
    if text.starts_with("<!--") {
        return Some(text.find("-->").map_or(text.len(), |end| end + 3));
    }
    let second = text[1..].chars().next()?;
    if !second.is_ascii_alphabetic() && !matches!(second, '/' | '!' | '?') {
        return None;
    }
    let end = text.find('>')? + 1;
    let name = tag_name(text);
    if second != '/' && (name == "script" || name == "style") {
        let close = format!("</{name}");
        let inside = &text[end..];
        let found = inside.to_ascii_lowercase().find(&close);
        return Some(found.map_or(text.len(), |at| {
            end + at + inside[at..].find('>').map_or(inside.len() - at, |close| close + 1)
        }));
    }
    Some(end)
}

fn tag_name(tag: &str) -> String {
    let name = tag.trim_start_matches(['<', '/']);
    let name = name.chars().take_while(char::is_ascii_alphanumeric);
    name.collect::<String>().to_ascii_lowercase()
}

/// One blank between words, no blanks around lines, at most one empty line between paragraphs.
fn trimmed(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut empty_lines = 0;
    for line in text.split('\n') {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else {
            empty_lines += 1;
            continue;
        };
        if !kept.is_empty() {
            kept.push_str(if empty_lines > 0 { "\n\n" } else { "\n" });
        }
        empty_lines = 0;
        kept.push_str(first);
        for word in words {
            kept.push(' ');
            kept.push_str(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(text: &str) -> String {
        Cleaning::default().clean(text)
    }

    #[test]
    fn markup_is_taken_out_and_entities_are_read() {
        assert_eq!(clean("<p>si <em>quis</em></p><p>a &lt; b &amp; c</p>"), "si quis\n\na < b & c");
        assert_eq!(clean("a<!-- <b> -->b <script>x = \"</b>\"</SCRIPT>c"), "ab c");
        assert_eq!(clean("1 < 2 and 3 > 2"), "1 < 2 and 3 > 2");
    }

    /// U+0065 U+0301 is é; U+FB01 is fi; a zero-width blank between letter and accent does not keep them
    /// apart; a bell is no text.
    #[test]
    fn letters_are_composed() {
        assert_eq!(clean("e\u{301} \u{fb01}nis e\u{200b}\u{301}\u{7}"), "é finis é");
        let nfc = Cleaning { unicode: NormalForm::Nfc, ..Cleaning::default() };
        assert_eq!(nfc.clean("e\u{301} \u{fb01}nis"), "é \u{fb01}nis");
    }

    #[test]
    fn blanks_are_made_one() {
        assert_eq!(clean("  a\t b \r\n\n\n\n c\n d  "), "a b\n\nc\nd");
        assert_eq!(clean(" \n "), "");
    }

    proptest! {
        /// Where markup is left alone (an entity may hide another), what is clean stays as it is.
        #[test]
        fn cleaning_twice_changes_nothing(text in "\\PC{0,40}[\\x00-\\x20\u{300}-\u{310}e\u{fb00}-\u{fb06}]{0,20}") {
            let cleaning = Cleaning { markup: false, ..Cleaning::default() };
            let once = cleaning.clean(&text);
            prop_assert_eq!(cleaning.clean(&once), once);
        }

        #[test]
        fn any_text_can_be_cleaned(text in any::<String>(), tail in "[<>/!a-z&;# -]{0,40}") {
            clean(&format!("{text}{tail}"));
        }
    }
}
