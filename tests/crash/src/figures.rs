//! What other parts of the proof came to: files with one JSON object per line.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The lines of `file`; none where it is not there.
pub fn read(file: &Path) -> Result<Vec<Value>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("{} has the line {line:?}", file.display())))
        .collect()
}

/// A table of the lines that have all of `columns`; none where there is no such line.
pub fn table(lines: &[Value], columns: &[&str]) -> Option<String> {
    let rows: Vec<_> = lines.iter().filter(|line| columns.iter().all(|column| !line[column].is_null())).collect();
    if rows.is_empty() {
        return None;
    }
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut table = row(columns.iter().map(|column| (*column).to_owned()).collect());
    table += &row(columns.iter().map(|_| "---".to_owned()).collect());
    for line in rows {
        // Strings without their quotes.
        let cell = |column: &&str| line[*column].as_str().map_or_else(|| line[*column].to_string(), str::to_owned);
        table += &row(columns.iter().map(cell).collect());
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_become_rows_of_the_table_that_they_are_for() {
        let lines =
            [json!({"what": "a", "calls": 7, "failures": 0}), json!({"what": "b", "executions": 9, "failures": 0})];
        let expected = "| what | calls |\n| --- | --- |\n| a | 7 |\n";
        assert_eq!(table(&lines, &["what", "calls"]).as_deref(), Some(expected));
        assert_eq!(table(&lines, &["what", "seconds"]), None);
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let file = std::env::temp_dir().join(format!("burnonce-crash-figures-{}", std::process::id()));
        assert_eq!(read(&file).unwrap(), Vec::<Value>::new());
        std::fs::write(&file, "{\"what\": \"a\"}\n\n{\"what\": \"b\"}\n").unwrap();
        assert_eq!(read(&file).unwrap().len(), 2);
        std::fs::write(&file, "what").unwrap();
        assert!(read(&file).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
