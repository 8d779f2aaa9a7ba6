//! Where a value stands in a file: `training.optimizer.adamw.learning_rate`, `links[3].to`.

use std::fmt;
use std::str::FromStr;

/// A step into a map or a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a map.
    Key(String),
    /// A place in a list.
    Index(usize),
}

/// The steps from the top of a file to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// The top of a file.
    pub fn top() -> Self {
        KeyPath::default()
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// One step further, into a map.
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// One step further, into a list.
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// One step further.
    pub fn with(&self, segment: Segment) -> Self {
        KeyPath(self.0.iter().cloned().chain([segment]).collect())
    }

    /// One step back; nothing at the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(KeyPath(rest.to_vec()))
    }

    /// This path below another.
    pub fn below(&self, outer: &KeyPath) -> Self {
        KeyPath(outer.0.iter().chain(&self.0).cloned().collect())
    }

    /// Whether this path is `other` or below it.
    pub fn starts_with(&self, other: &KeyPath) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if at == 0 => write!(f, "{key}")?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl FromStr for KeyPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut path = KeyPath::top();
        for part in text.split('.') {
            let (key, rest) = part.split_at(part.find('[').unwrap_or(part.len()));
            if key.is_empty() && (rest.is_empty() || path != KeyPath::top()) {
                return Err(format!("`{text}` is not a dotted key like `training.steps`"));
            }
            if !key.is_empty() {
                path = path.key(key);
            }
            for index in rest.split_terminator(']') {
                let index = index.strip_prefix('[').and_then(|digits| digits.parse().ok());
                let index = index.ok_or_else(|| format!("`{text}` is not a key like `links[2].to`"))?;
                path = path.index(index);
            }
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_and_read_alike() {
        for text in ["a", "training.optimizer.adamw", "links[2].to", "a[0][1].b"] {
            assert_eq!(text.parse::<KeyPath>().unwrap().to_string(), text);
        }
        for text in ["", "a..b", "a[x]", ".a"] {
            assert!(text.parse::<KeyPath>().is_err(), "{text:?}");
        }
    }
}
