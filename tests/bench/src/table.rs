//! A table in Markdown that reads well as plain text, too. Pure.

/// How the text of a column stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// The table, with a line break at its end. The head says how many columns there are; what a row lacks is left empty.
pub fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = head.iter().map(|(title, _)| cell(title)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let width = |column: usize| {
        let texts = rows.iter().chain([&titles]).filter_map(|row| row.get(column));
        texts.map(|text| text.chars().count()).max().unwrap_or(0).max(4)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let columns = || head.iter().map(|(_, align)| *align).zip(widths.iter().copied());
    let line = |row: &Vec<String>| {
        let text = |column: usize| row.get(column).map_or("", String::as_str);
        let cells: Vec<String> = columns()
            .enumerate()
            .map(|(column, (align, width))| match align {
                Align::Left => format!("{:<width$}", text(column)),
                Align::Right => format!("{:>width$}", text(column)),
            })
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<String> = columns()
        .map(|(align, width)| match align {
            Align::Left => "-".repeat(width),
            Align::Right => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    let body: String = rows.iter().map(line).collect();
    format!("{}| {} |\n{body}", line(&titles), rule.join(" | "))
}

/// Text that neither ends its cell nor its row.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1.23 µs".to_owned()], vec!["long | name".to_owned(), "—".to_owned()]];
        assert_eq!(
            table(&[("size", Align::Left), ("who\nit is", Align::Right)], &rows),
            "\
| size         | who it is |
| ------------ | --------: |
| a            |   1.23 µs |
| long \\| name |         — |
"
        );
    }

    #[test]
    fn a_row_that_is_too_short_is_filled() {
        assert_eq!(
            table(&[("a", Align::Left), ("b", Align::Left)], &[vec!["x".to_owned()]]),
            "| a    | b    |\n| ---- | ---- |\n| x    |      |\n"
        );
    }
}
