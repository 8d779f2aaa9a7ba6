//! Where every key of a YAML text stands.
//!
//! serde_yaml reads the values, but tells the place of its first mistake only. A parser with marks
//! goes over the same text and remembers where each key and value begins and ends, so that a mistake
//! found at any later moment can be shown in place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScanError, Span};

use crate::config::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::config::{KeyPath, Override};

/// Deeper nesting than any workload has; beyond it the text is refused rather than followed.
const DEEPEST: usize = 64;
/// More values than any workload has. With [`DEEPEST`] it bounds the work that a text can ask for.
const MOST_EVENTS: usize = 2_000_000;

/// Where every key stands.
#[derive(Debug, Clone)]
pub struct Locations {
    source: Arc<Source>,
    places: BTreeMap<KeyPath, Place>,
    overrides: Vec<(KeyPath, Arc<Source>)>,
}

#[derive(Debug, Clone)]
struct Place {
    /// The key that leads to the value; the value itself in a list.
    key: Range<usize>,
    value: Range<usize>,
}

impl Locations {
    /// Goes over a text.
    ///
    /// # Errors
    /// Where it is no YAML, or more than a workload can be: anchors and aliases (which can make a short
    /// text stand for gigabytes), endless nesting, several documents.
    pub fn of_text(source: Arc<Source>) -> Result<Self, Diagnostics> {
        let mut walk =
            Walk { text: &source.text, bytes: byte_offsets(&source.text), places: BTreeMap::new() };
        let refused = walk.document();
        let places = walk.places;
        match refused {
            Ok(()) => Ok(Locations { source, places, overrides: Vec::new() }),
            Err((message, help, range)) => {
                let mut mistakes = Diagnostics::new();
                let range = range.start.min(source.text.len())..range.end.min(source.text.len());
                mistakes.push(Diagnostic { place: Some((source, range)), message, help });
                Err(mistakes)
            }
        }
    }

    /// Remembers that a value was set on the command line, where its mistakes are shown then.
    pub fn overridden(&mut self, change: &Override) {
        let source = Source { name: "command line".into(), text: format!("--set {change}") };
        self.overrides.push((change.path().clone(), Arc::new(source)));
    }

    /// The text that was gone over.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Where the value at a path stands; where there is none, the nearest one around it.
    pub fn of(&self, path: &KeyPath) -> (Arc<Source>, Range<usize>) {
        self.find(path, |place| place.value.clone())
    }

    /// Where the key of a path stands.
    pub fn of_key(&self, path: &KeyPath) -> (Arc<Source>, Range<usize>) {
        self.find(path, |place| place.key.clone())
    }

    fn find(&self, path: &KeyPath, part: impl Fn(&Place) -> Range<usize>) -> (Arc<Source>, Range<usize>) {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            let set = self.overrides.iter().rev().find(|(set, _)| path.starts_with(set));
            if let Some((_, source)) = set {
                return (source.clone(), "--set ".len()..source.text.len());
            }
            if let Some(place) = self.places.get(&path) {
                // A whole map or list is shown by the key that leads to it.
                let range = part(place);
                let many_lines = self.source.text.get(range.clone()).is_some_and(|text| text.contains('\n'));
                let range = if many_lines { place.key.clone() } else { range };
                return (self.source.clone(), range);
            }
            at = path.parent();
        }
        let first_line = self.source.text.lines().next().map_or(0, str::len);
        (self.source.clone(), 0..first_line)
    }
}

/// What is wrong, what would do, and where.
type Refused = (String, String, Range<usize>);

struct Walk<'a> {
    text: &'a str,
    bytes: Vec<usize>,
    places: BTreeMap<KeyPath, Place>,
}

/// Byte offset of every character, and of the end: the parser counts characters.
fn byte_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

/// A map or a list that has begun.
struct Open {
    path: KeyPath,
    start: usize,
    key: Range<usize>,
    kind: Kind,
}

enum Kind {
    /// A map, and the key whose value is next.
    Map(Option<(KeyPath, Range<usize>)>),
    /// A list, and how many items it has had.
    List(usize),
}

impl Walk<'_> {
    fn document(&mut self) -> Result<(), Refused> {
        let parser = Parser::new_from_str(self.text);
        let mut open: Vec<Open> = Vec::new();
        let mut documents = 0;
        for (count, event) in parser.enumerate() {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let range = self.range(&span);
            if count > MOST_EVENTS {
                return Err(refused("this text has more values than any workload", "", range));
            }
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(refused(
                            "a second document begins here",
                            "keep one document a file",
                            range,
                        ));
                    }
                }
                Event::Alias(_) => {
                    return Err(refused("aliases are not read here", "write the value out", range));
                }
                Event::Scalar(text, _, anchor, _) => {
                    no_anchor(anchor, &range)?;
                    self.scalar(&mut open, &text, range);
                }
                Event::MappingStart(anchor, _) => {
                    no_anchor(anchor, &range)?;
                    self.begin(&mut open, range, Kind::Map(None))?;
                }
                Event::SequenceStart(anchor, _) => {
                    no_anchor(anchor, &range)?;
                    self.begin(&mut open, range, Kind::List(0))?;
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    let ended = open.pop().expect("what ends has begun");
                    let value = ended.start..range.end.max(ended.start);
                    self.places.insert(ended.path, Place { key: ended.key, value });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A key, or a value.
    fn scalar(&mut self, open: &mut [Open], text: &str, range: Range<usize>) {
        if let Some(Open { path, kind: Kind::Map(next @ None), .. }) = open.last_mut() {
            *next = Some((path.key(text), range));
            return;
        }
        let (path, key) = self.place(open, &range);
        self.places.insert(path, Place { key, value: range });
    }

    fn begin(&mut self, open: &mut Vec<Open>, range: Range<usize>, kind: Kind) -> Result<(), Refused> {
        if open.len() >= DEEPEST {
            let message = format!("this is nested more than {DEEPEST} deep");
            return Err(refused(&message, "no workload is", range));
        }
        if let Some(Open { kind: Kind::Map(None), .. }) = open.last() {
            return Err(refused("a key is a word, not a map or a list", "", range));
        }
        let (path, key) = self.place(open, &range);
        open.push(Open { path, start: range.start, key, kind });
        Ok(())
    }

    /// Where the value that begins now belongs.
    fn place(&self, open: &mut [Open], range: &Range<usize>) -> (KeyPath, Range<usize>) {
        match open.last_mut() {
            None => (KeyPath::top(), range.clone()),
            Some(Open { kind: Kind::Map(next), .. }) => next.take().expect("a key before its value"),
            Some(Open { path, kind: Kind::List(count), .. }) => {
                *count += 1;
                (path.index(*count - 1), range.clone())
            }
        }
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let at = |index: usize| self.bytes[index.min(self.bytes.len() - 1)];
        at(span.start.index())..at(span.end.index()).max(at(span.start.index()))
    }

    fn syntax(&self, error: &ScanError) -> Refused {
        let at = self.bytes[error.marker().index().min(self.bytes.len() - 1)];
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let help = if self.text[line_start..].starts_with([' ', '\t'])
            && self.text[line_start..].trim_start_matches(' ').starts_with('\t')
        {
            "indent with spaces, not tabs"
        } else {
            "check the indentation and the brackets, quotes and colons up to here"
        };
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        refused(&format!("this is not YAML: {}", error.info()), help, at..end)
    }
}

fn no_anchor(anchor: usize, range: &Range<usize>) -> Result<(), Refused> {
    if anchor == 0 {
        return Ok(());
    }
    Err(refused("anchors are not read here", "write the value out", range.clone()))
}

fn refused(message: &str, help: &str, range: Range<usize>) -> Refused {
    (message.to_owned(), help.to_owned(), range)
}
