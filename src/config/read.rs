//! From a text to a typed value, with every mistake of the text at once.
//!
//! serde stops at its first mistake. So a mistake is noted, what is wrong is taken out of the tree,
//! and reading is tried again, until it succeeds or nothing can be taken out. What is then missing
//! because it was taken out is not reported a second time.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::KeyPath;
use crate::config::diagnostic::{Diagnostics, Source};
use crate::config::key_path::Segment;
use crate::config::marked::Locations;

/// A change to a file from the command line: `key=value`, the value in YAML.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    path: KeyPath,
    value: Value,
    text: String,
}

impl Override {
    /// What is changed.
    pub fn path(&self) -> &KeyPath {
        &self.path
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not of the form key=value, as in `training.steps=20`"))?;
        let yaml: serde_yaml::Value =
            serde_yaml::from_str(value).map_err(|why| format!("`{value}` is not YAML: {why}"))?;
        Ok(Override { path: key.trim().parse()?, value: plain(yaml), text: text.to_owned() })
    }
}

/// Reads a text as a `T`, with changes.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn read<T: DeserializeOwned>(
    source: Source,
    changes: &[Override],
) -> Result<(T, Locations), Diagnostics> {
    let (tree, locations) = Tree::parse(source, changes)?;
    Ok((tree.into_typed(&locations)?, locations))
}

/// A text that is keys and values, changes made, not yet held against any type.
#[derive(Debug, Clone)]
pub struct Tree(Value);

impl Tree {
    /// Parses a text and changes it.
    ///
    /// # Errors
    /// When it is not YAML, holds no keys, or cannot be changed so.
    pub fn parse(source: Source, changes: &[Override]) -> Result<(Tree, Locations), Diagnostics> {
        let source = Arc::new(source);
        let mut locations = Locations::of_text(source.clone())?;
        let yaml = serde_yaml::from_str(&source.text).map_err(|error| located(&source, &error))?;
        let mut tree = plain(yaml);
        if !tree.is_object() {
            let what = if tree.is_null() { "nothing" } else { "a list or a single value" };
            let message = format!("expected keys and values, as in `name: my_run`; the file holds {what}");
            let mut mistakes = Diagnostics::new();
            mistakes.at(&locations, &KeyPath::top(), message, "");
            return Err(mistakes);
        }
        for change in changes {
            if let Err(why) = set(&mut tree, change.path.segments(), change.value.clone()) {
                return Err(Diagnostics::single(format!("--set {change}: {why}"), ""));
            }
            locations.overridden(change);
        }
        Ok((Tree(tree), locations))
    }

    /// Whether it has this key at the top.
    pub fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some()
    }

    /// Only those keys at the top that are wanted.
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Tree {
        let mut tree = self.clone();
        if let Value::Object(map) = &mut tree.0 {
            map.retain(|key, _| wanted(key));
        }
        tree
    }

    /// Sets a key of a key at the top where neither it nor `instead` is there.
    pub fn default(&mut self, key: &str, inner: &str, instead: &str, value: &str) {
        if let Some(Value::Object(map)) = self.0.get_mut(key)
            && !map.contains_key(inner)
            && !map.contains_key(instead)
        {
            map.insert(inner.to_owned(), Value::String(value.to_owned()));
        }
    }

    /// Reads it as a `T`.
    ///
    /// # Errors
    /// Every mistake, each where it stands.
    pub fn into_typed<T: DeserializeOwned>(self, locations: &Locations) -> Result<T, Diagnostics> {
        let mut tree = self.0;
        let mut mistakes = Diagnostics::new();
        let mut removed = BTreeSet::new();
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(tree.clone()) {
                Ok(value) if mistakes.is_empty() => return Ok(value),
                Ok(_) => return Err(mistakes),
                Err(error) => error,
            };
            let at = path_of(error.path());
            let mistake = Mistake::of(&error.inner().to_string(), at);
            mistake.tell(locations, &removed, &mut mistakes);
            let path = mistake.remove_at();
            if path.segments().is_empty() || !remove(&mut tree, path.segments()) {
                return Err(mistakes);
            }
            removed.insert(path);
        }
    }
}

/// The same tree without YAML's tags. From it an enum is read as the map of one key that people
/// write (`schedule: {interleaved: …}`), where serde_yaml asks for a tag (`!interleaved`), which is taken
/// as that key.
fn plain(yaml: serde_yaml::Value) -> Value {
    match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::Number(number) => {
            let whole = number.as_u64().map(Value::from).or_else(|| number.as_i64().map(Value::from));
            // What JSON has no number for (.inf, .nan) stays text, which no number is read from.
            let fraction = || number.as_f64().and_then(serde_json::Number::from_f64).map(Value::Number);
            whole.or_else(fraction).unwrap_or_else(|| Value::String(number.to_string()))
        }
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Sequence(items) => Value::Array(items.into_iter().map(plain).collect()),
        serde_yaml::Value::Mapping(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key_text(key), plain(value))).collect())
        }
        serde_yaml::Value::Tagged(tagged) => {
            let name = tagged.tag.to_string().trim_start_matches('!').to_owned();
            match plain(tagged.value) {
                Value::Null => Value::String(name),
                value => Value::Object(Map::from_iter([(name, value)])),
            }
        }
    }
}

/// A key as text, whatever it was written as (`8: …`, `true: …`).
fn key_text(key: serde_yaml::Value) -> String {
    match plain(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn path_of(path: &serde_path_to_error::Path) -> KeyPath {
    use serde_path_to_error::Segment as At;
    path.iter().fold(KeyPath::top(), |path, segment| match segment {
        At::Seq { index } => path.index(*index),
        At::Map { key } => path.key(key.clone()),
        At::Enum { variant } => path.key(variant.clone()),
        At::Unknown => path,
    })
}

/// Changes a value in a tree, making the maps on the way.
fn set(tree: &mut Value, path: &[Segment], value: Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        *tree = value;
        return Ok(());
    };
    match first {
        Segment::Key(key) => {
            // A bare name (`schedule: gpipe`) gives way to a map that sets its parameters.
            if tree.is_null() || tree.as_str() == Some(key) {
                *tree = Value::Object(Map::new());
            }
            let nothing = || format!("`{key}` would be a key of something that has none");
            let map = tree.as_object_mut().ok_or_else(nothing)?;
            set(map.entry(key.clone()).or_insert(Value::Null), rest, value)
        }
        Segment::Index(index) => {
            let list = tree.as_array_mut().ok_or("an index needs a list")?;
            let length = list.len();
            let item = list.get_mut(*index).ok_or_else(|| format!("the list has {length} items"))?;
            set(item, rest, value)
        }
    }
}

/// Takes a value out of a tree; whether it was there.
fn remove(tree: &mut Value, path: &[Segment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match (first, tree) {
        (Segment::Key(key), Value::Object(map)) if rest.is_empty() => map.shift_remove(key).is_some(),
        (Segment::Key(key), Value::Object(map)) => map.get_mut(key).is_some_and(|value| remove(value, rest)),
        (Segment::Index(index), Value::Array(list)) if rest.is_empty() => {
            let there = *index < list.len();
            if there {
                list.remove(*index);
            }
            there
        }
        (Segment::Index(index), Value::Array(list)) => {
            list.get_mut(*index).is_some_and(|value| remove(value, rest))
        }
        _ => false,
    }
}

/// A mistake as serde says it, taken apart.
enum Mistake {
    UnknownKey { path: KeyPath, key: String, known: Vec<String> },
    UnknownName { path: KeyPath, name: String, known: Vec<String> },
    Missing { path: KeyPath, key: String },
    Other { path: KeyPath, message: String },
}

impl Mistake {
    fn of(message: &str, path: KeyPath) -> Mistake {
        let quoted: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let (first, known) = (quoted.first().cloned().unwrap_or_default(), quoted.iter().skip(1).cloned());
        if message.starts_with("unknown field") {
            return Mistake::UnknownKey { path: owner(path, &first), key: first, known: known.collect() };
        }
        if message.starts_with("unknown variant") {
            return Mistake::UnknownName { path: owner(path, &first), name: first, known: known.collect() };
        }
        if message.starts_with("missing field") {
            return Mistake::Missing { path, key: first };
        }
        Mistake::Other { path, message: message.to_owned() }
    }

    /// What is taken out of the tree before the next try.
    fn remove_at(&self) -> KeyPath {
        match self {
            Mistake::UnknownKey { path, key, .. } => path.key(key.clone()),
            // What lacks a key cannot be read at all.
            Mistake::Missing { path, .. }
            | Mistake::UnknownName { path, .. }
            | Mistake::Other { path, .. } => path.clone(),
        }
    }

    fn tell(&self, locations: &Locations, removed: &BTreeSet<KeyPath>, mistakes: &mut Diagnostics) {
        match self {
            Mistake::UnknownKey { path, key, known } => {
                let (source, range) = locations.of_key(&path.key(key.clone()));
                let help = did_you_mean(key, known, "the keys here are");
                mistakes.push(super::diagnostic::Diagnostic {
                    place: Some((source, range)),
                    message: format!("unknown key `{key}`"),
                    help,
                });
            }
            Mistake::UnknownName { path, name, known } => {
                let help = did_you_mean(name, known, "these would do:");
                mistakes.at(locations, path, format!("there is no `{name}`"), help);
            }
            Mistake::Missing { path, key } => {
                let ours =
                    removed.iter().any(|gone| gone.starts_with(&path.key(key.clone())) || gone == path);
                if !ours {
                    let within =
                        if path.segments().is_empty() { String::new() } else { format!(" in `{path}`") };
                    mistakes.at(locations, path, format!("`{key}` is missing{within}"), "");
                }
            }
            Mistake::Other { path, message } => {
                let what = if path.segments().is_empty() { String::new() } else { format!("`{path}`: ") };
                mistakes.at(locations, path, format!("{what}{message}"), "");
            }
        }
    }
}

/// serde names an unknown key with the path of the map it is in, or with its own.
fn owner(path: KeyPath, name: &str) -> KeyPath {
    match path.segments().last() {
        Some(Segment::Key(last)) if last == name => path.parent().unwrap_or_default(),
        _ => path,
    }
}

/// The nearest of the known words, and all of them.
pub fn did_you_mean(word: &str, known: &[String], introduction: &str) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() * 2 / 5));
    let all = if known.is_empty() { String::new() } else { format!("{introduction} {}", known.join(", ")) };
    match nearest {
        Some((_, candidate)) if known.len() > 1 => format!("did you mean `{candidate}`? {all}"),
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => all,
    }
}

/// A mistake that serde_yaml found itself (a key given twice, for one).
fn located(source: &Arc<Source>, error: &serde_yaml::Error) -> Diagnostics {
    let mut mistakes = Diagnostics::new();
    let at = error.location().map_or(0, |location| location.index().min(source.text.len()));
    let at = (0..=at).rev().find(|&at| source.text.is_char_boundary(at)).unwrap_or(0);
    let end = source.text[at..].find('\n').map_or(source.text.len(), |newline| at + newline);
    mistakes.push(super::diagnostic::Diagnostic {
        place: Some((source.clone(), at..end)),
        message: error.to_string(),
        help: String::new(),
    });
    mistakes
}
