//! Which combinations of settings there are: what `compare` runs. It knows nothing of what a setting means;
//! the door turns each combination into a scenario.

/// A key and the values that it takes in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variation {
    /// The dotted key.
    pub key: String,
    /// Its values, as written.
    pub values: Vec<String>,
}

impl std::str::FromStr for Variation {
    type Err = String;

    /// Reads `key=a,b,c`. Commas within brackets belong to a value.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not of the form key=a,b, as in `parallel.schedule=gpipe,one_f_one_b`");
        let (key, list) = text.split_once('=').ok_or_else(wrong)?;
        let mut values = vec![String::new()];
        let mut depth = 0;
        for character in list.chars() {
            match character {
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' => depth -= 1,
                ',' if depth == 0 => {
                    values.push(String::new());
                    continue;
                }
                _ => {}
            }
            values.last_mut().expect("at least one value").push(character);
        }
        if key.is_empty() || values.iter().any(|value| value.trim().is_empty()) {
            return Err(wrong());
        }
        Ok(Variation { key: key.to_owned(), values })
    }
}

/// Every combination of one value a key, the last key changing fastest, as `key=value` settings.
pub fn combinations(variations: &[Variation]) -> Vec<Vec<String>> {
    variations.iter().fold(vec![Vec::new()], |combinations, variation| {
        let with = |settings: &Vec<String>| -> Vec<Vec<String>> {
            let settings = settings.clone();
            let setting = |value: &String| format!("{}={value}", variation.key);
            variation.values.iter().map(|value| [settings.clone(), vec![setting(value)]].concat()).collect()
        };
        combinations.iter().flat_map(with).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_of_them_in_order() {
        let read = |text: &str| text.parse::<Variation>().unwrap();
        let all = combinations(&[read("a=1,2"), read("b={x: [1,2]},y")]);
        assert_eq!(all, [["a=1", "b={x: [1,2]}"], ["a=1", "b=y"], ["a=2", "b={x: [1,2]}"], ["a=2", "b=y"]]);
        assert!("a".parse::<Variation>().is_err() && "a=,".parse::<Variation>().is_err());
    }
}
