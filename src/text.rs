//! Text as a terminal takes it: lines that fit, and plain characters. Pure.

/// The line in pieces of at most `width` columns, parted between words; a word that is longer stays whole. A line that fits keeps
/// its spaces.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    if line.len() <= width {
        return vec![line.to_owned()];
    }
    let mut pieces: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match pieces.last_mut() {
            Some(piece) if piece.len() + 1 + word.len() <= width => {
                piece.push(' ');
                piece.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces
}

/// A sentence, which lacks its full stop, behind a mark such as a number; further lines begin below the first. At most `width` columns.
pub fn paragraph(mark: &str, sentence: &str, width: usize) -> String {
    let lines = wrap(&format!("{sentence}."), width.saturating_sub(mark.len()));
    format!("{mark}{}", lines.join(&format!("\n{}", " ".repeat(mark.len()))))
}

/// The text in printable ASCII: a serial terminal may know nothing else, and a label on a foreign card may hold anything, escape
/// sequences too. Typographic characters become their plain forms, all others `?`.
pub fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' => plain.push(character),
            '\u{2026}' => plain.push_str("..."),
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{b7}' => plain.push('-'),
            '\u{2018}'..='\u{201b}' => plain.push('\''),
            '\u{201c}'..='\u{201f}' => plain.push('"'),
            '\u{2192}' => plain.push_str("->"),
            '\u{d7}' => plain.push('x'),
            '\u{b5}' | '\u{3bc}' => plain.push('u'),
            '\t' | '\u{a0}' | '\u{2009}' | '\u{202f}' => plain.push(' '),
            _ => plain.push('?'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words() {
        for (text, width, pieces) in [
            ("", 10, vec![""]),
            ("a b", 10, vec!["a b"]),
            ("  keeps  its  spaces ", 30, vec!["  keeps  its  spaces "]),
            ("one two three", 7, vec!["one two", "three"]),
            ("one two three", 8, vec!["one two", "three"]),
            ("/a/path/that/is/longer than", 10, vec!["/a/path/that/is/longer", "than"]),
            ("exactly te", 10, vec!["exactly te"]),
        ] {
            assert_eq!(wrap(text, width), pieces, "{text:?}");
        }
    }

    #[test]
    fn a_paragraph_stays_behind_its_mark() {
        assert_eq!(paragraph(" 1. ", "one two three", 11), " 1. one two\n    three.");
        assert_eq!(paragraph("", "one two", 80), "one two.");
    }

    #[test]
    fn text_becomes_printable_ascii() {
        for (text, plain) in [
            ("plain \\ ~", "plain \\ ~"),
            ("a \u{2026} b \u{2013} c \u{2192} d", "a ... b - c -> d"),
            ("\u{2018}x\u{2019} \u{201c}y\u{201d} 3\u{a0}GiB 2\u{d7}2", "'x' \"y\" 3 GiB 2x2"),
            ("\u{1b}]0;title\u{7}\t\r\u{7f}\u{9b}31m", "?]0;title? ???31m"),
            ("\u{fc}\u{65e5}\u{1f600}", "???"),
        ] {
            assert_eq!(ascii(text), plain);
        }
    }
}
