//! What is wrong with the input, said to its author: where, what, why, and what would do.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::KeyPath;
use crate::config::marked::Locations;
use crate::hardware::Problem;

/// A text with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's path, or what else the text is (`--set …`).
    pub name: String,
    /// What it says.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where: the text and the bytes in it; nothing when there is no text to point at.
    pub place: Option<(Arc<Source>, Range<usize>)>,
    /// What is wrong, and why.
    pub message: String,
    /// What would do; may be empty.
    pub help: String,
}

/// Mistakes, all of a run's input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    mistakes: Vec<Diagnostic>,
}

impl Diagnostics {
    /// No mistakes.
    pub fn new() -> Self {
        Diagnostics::default()
    }

    /// One mistake with no text to point at.
    pub fn single(message: impl Into<String>, help: impl Into<String>) -> Self {
        let mut mistakes = Diagnostics::new();
        mistakes.push(Diagnostic { place: None, message: message.into(), help: help.into() });
        mistakes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The mistakes, in the order in which they stand in their texts.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.mistakes.iter()
    }

    /// Adds a mistake, unless it is there already.
    pub fn push(&mut self, mistake: Diagnostic) {
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Adds a mistake where a key stands, or the nearest key around it.
    pub fn at(
        &mut self,
        locations: &Locations,
        path: &KeyPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = Some(locations.of(path));
        self.push(Diagnostic { place, message: message.into(), help: help.into() });
    }

    /// Adds all mistakes of another list.
    pub fn extend(&mut self, other: Diagnostics) {
        other.mistakes.into_iter().for_each(|mistake| self.push(mistake));
    }

    /// Adds the problems of a topology written at `path`.
    pub fn problems(&mut self, locations: &Locations, path: &KeyPath, problems: Vec<Problem>) {
        for Problem { path: inner, message, help } in problems {
            let inner = inner.parse().unwrap_or_else(|_| KeyPath::top());
            self.at(locations, &inner.below(path), message, help.unwrap_or_default());
        }
    }

    /// Everything, as a compiler would say it.
    pub fn render(&self) -> String {
        let mut mistakes: Vec<&Diagnostic> = self.mistakes.iter().collect();
        mistakes.sort_by_key(|mistake| mistake.place.as_ref().map_or(0, |(_, range)| range.start));
        let mut text = String::new();
        for mistake in mistakes {
            text.push_str(&Renderer::plain().render(&[group(mistake)]));
            text.push_str("\n\n");
        }
        let count = self.mistakes.len();
        let mistakes = if count == 1 { "mistake" } else { "mistakes" };
        text.push_str(&format!("{count} {mistakes}; nothing was run or written\n"));
        text
    }
}

fn group(mistake: &Diagnostic) -> Group<'_> {
    let mut group = Group::with_title(Level::ERROR.primary_title(mistake.message.as_str()));
    if let Some((source, range)) = &mistake.place {
        let annotation = AnnotationKind::Primary.span(range.clone());
        let snippet = Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(annotation);
        group = group.element(snippet);
    }
    if !mistake.help.is_empty() {
        group = group.element(Level::HELP.message(mistake.help.as_str()));
    }
    group
}
