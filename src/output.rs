//! What commands print. `println!` and `eprintln!` panic where nobody reads any more (`burnonce plan | head`, a lost SSH connection), and
//! a panic in the midst of `maintain` would leave the image open.

use std::fmt::Display;
use std::io::Write;

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
