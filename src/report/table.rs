//! Aligned text for a terminal: one look for every command. Cells are laid out by `comfy-table`.

use comfy_table::{CellAlignment, Table, presets};

/// Facts with their names, under a title: `name  value` lines, then notes.
pub fn facts(title: &str, rows: &[(String, String)], notes: &[String]) -> String {
    let mut table = plain();
    for (name, value) in rows {
        table.add_row([name, value]);
    }
    let notes = notes.iter().map(|note| format!("  note: {note}\n"));
    format!("{title}\n{}{}", indented(&table), notes.collect::<String>())
}

/// Rows under a heading; numbers (every column but the first) end at one edge.
pub fn grid<H: ToString>(heading: &[H], rows: &[Vec<String>]) -> String {
    let mut table = plain();
    table.add_row(heading.iter().map(ToString::to_string));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    indented(&table)
}

/// Rows of words, every column from its left edge.
pub fn words(rows: &[Vec<String>]) -> String {
    let mut table = plain();
    for row in rows {
        table.add_row(row);
    }
    indented(&table)
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns two spaces apart, no lines.
fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn indented(table: &Table) -> String {
    // The style pads every cell by one space on both sides: columns are two apart, lines one in.
    let lines = table.to_string();
    lines.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_and_words_begin_at_one_edge() {
        let rows = [vec!["ring".to_owned(), "9.5".to_owned()], vec!["tree".into(), "12.25".into()]];
        assert_eq!(grid(&["by", "time"], &rows), "  by     time\n  ring    9.5\n  tree  12.25\n");
        assert_eq!(words(&rows), "  ring  9.5\n  tree  12.25\n");
    }

    #[test]
    fn facts_stand_under_their_title() {
        let rows = [("a".to_owned(), "1 µs".to_owned()), ("long".to_owned(), String::new())];
        assert_eq!(facts("title", &rows, &["so".into()]), "title\n  a     1 µs\n  long\n  note: so\n");
    }

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!([7, 1234, 1_234_567].map(grouped), ["7", "1,234", "1,234,567"]);
    }
}
