//! The words of DOT.

use std::ops::Range;

use crate::tasks::readers::Malformed;

/// A word with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, a number or a quoted text; quoted words are never keywords.
    Word {
        text: String,
        quoted: bool,
    },
    /// One of `{ } [ ] ; , = :`, `->` or `--`.
    Sign(&'static str),
    End,
}

impl Token {
    /// What a reader sees of it.
    pub fn said(&self) -> String {
        match &self.kind {
            Kind::Word { text, .. } => format!("`{text}`"),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::End => "the end of the text".into(),
        }
    }
}

const SIGNS: [&str; 10] = ["->", "--", "{", "}", "[", "]", ";", ",", "=", ":"];

/// The words of a text, the end last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Malformed> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if let Some(length) = comment(text, at)? {
            at += length;
        } else if first == '"' {
            let token = quoted(text, at)?;
            at = token.span.end;
            tokens.push(token);
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token { kind: Kind::Sign(sign), span: at..at + sign.len() });
            at += sign.len();
        } else {
            let token = word(text, at)?;
            at = token.span.end;
            tokens.push(token);
        }
    }
    tokens.push(Token { kind: Kind::End, span: text.len()..text.len() });
    Ok(tokens)
}

/// The length of a comment that begins here.
fn comment(text: &str, at: usize) -> Result<Option<usize>, Malformed> {
    let rest = &text[at..];
    let line_begins = text[..at].rsplit('\n').next().is_none_or(|before| before.trim().is_empty());
    if rest.starts_with("//") || (rest.starts_with('#') && line_begins) {
        return Ok(Some(rest.find('\n').unwrap_or(rest.len())));
    }
    if !rest.starts_with("/*") {
        return Ok(None);
    }
    match rest.find("*/") {
        Some(end) => Ok(Some(end + 2)),
        None => Err(Malformed::at(at..at + 2, "expected `*/` at the end of this comment")),
    }
}

/// A text in quotes; of the escapes, `\"` is a quote and a backslash before a line's end joins lines.
fn quoted(text: &str, at: usize) -> Result<Token, Malformed> {
    let mut inner = String::new();
    let mut characters = text[at + 1..].char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        match (character, characters.peek().map(|(_, next)| *next)) {
            ('"', _) => {
                let span = at..at + 1 + place + 1;
                return Ok(Token { kind: Kind::Word { text: inner, quoted: true }, span });
            }
            ('\\', Some('"')) => {
                inner.push('"');
                characters.next();
            }
            ('\\', Some('\n')) => {
                characters.next();
            }
            _ => inner.push(character),
        }
    }
    Err(Malformed::at(at..at + 1, "expected `\"` at the end of this text"))
}

/// A name (letters, digits, underscores) or a number.
fn word(text: &str, at: usize) -> Result<Token, Malformed> {
    let rest = &text[at..];
    let number = rest.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let belongs = |(place, c): (usize, char)| {
        let sign = place == 0 && c == '-';
        if number { sign || c.is_ascii_digit() || c == '.' } else { c.is_alphanumeric() || c == '_' }
    };
    let length =
        rest.char_indices().find(|&(place, c)| !belongs((place, c))).map_or(rest.len(), |(end, _)| end);
    let found = &rest[..length];
    if length == 0 || (number && found.parse::<f64>().is_err()) {
        let end = at + length.max(rest.chars().next().map_or(0, char::len_utf8));
        let why = format!("expected a name, a number or a text in quotes, found `{}`", &text[at..end]);
        return Err(Malformed::at(at..end, why));
    }
    Ok(Token { kind: Kind::Word { text: found.to_owned(), quoted: false }, span: at..at + length })
}
