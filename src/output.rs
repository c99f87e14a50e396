//! What commands print. `println!` and `eprintln!` panic where nobody reads any more (`burnonce plan | head`, a lost SSH connection), and
//! a panic in the midst of `maintain` would leave the image open.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// Prints `text` as it is on standard output. Nobody there to read it is no failure.
pub fn print(text: impl Display) {
    if let Err(error) = write!(std::io::stdout(), "{text}") {
        log::debug!("standard output: {error}");
    }
}

/// Tells the one who typed the command something, on standard error: a line with the program's name before it.
pub fn tell(text: impl Display) {
    if let Err(error) = writeln!(std::io::stderr(), "burnonce: {text}") {
        log::debug!("standard error: {error}");
    }
}

/// Asks on standard error, as it is: standard output may go into a file, and whoever is asked would not see the question.
pub fn ask(text: impl Display) {
    if let Err(error) = write!(std::io::stderr(), "{text}") {
        log::debug!("standard error: {error}");
    }
}

/// Text on one line, and free of what a terminal would obey: control characters, bytes that are no UTF-8 and the backslash itself become
/// escapes, `\n`, `\x1b`, `\\`.
pub fn escaped(text: impl AsRef<OsStr>) -> String {
    let mut shown = String::new();
    for chunk in text.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\r' => shown.push_str("\\r"),
                '\\' => shown.push_str("\\\\"),
                c if c.is_ascii_control() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c.is_control() || is_invisible(c) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => shown.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// Marks of Unicode that change the direction or the end of a line, and so could make a name look like another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_on_the_terminal() {
        for (name, shown) in [
            (&b"/a b"[..], "/a b"),
            ("/größe".as_bytes(), "/größe"),
            (b"/a\nA /b", "/a\\nA /b"),
            (b"/\x1b[31m\x7f", "/\\x1b[31m\\x7f"),
            (b"/\xff\xfe.x", "/\\xff\\xfe.x"),
            (b"/a\\n", "/a\\\\n"),
            ("/\u{9b}31m\u{202e}x".as_bytes(), "/\\u{9b}31m\\u{202e}x"),
        ] {
            assert_eq!(escaped(OsStr::from_bytes(name)), shown);
        }
    }
}
