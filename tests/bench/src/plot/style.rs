//! Colours, marks and letters. The colours are those of Okabe and Ito (<https://jfly.uni-koeln.de/color/>), which people who see
//! some colours alike can tell apart; the marks tell them apart without any.

/// How a program is drawn, in the order of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style(pub usize);

/// Blue, vermillion, bluish green, reddish purple, orange, sky blue, black.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// Corners of the marks, from their middle; a circle has none.
const MARKS: [&[(f64, f64)]; 5] = [
    &[],
    &[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)],
    &[(0.0, -6.0), (6.0, 4.5), (-6.0, 4.5)],
    &[(0.0, -6.5), (6.5, 0.0), (0.0, 6.5), (-6.5, 0.0)],
    &[(0.0, 6.0), (6.0, -4.5), (-6.0, -4.5)],
];

impl Style {
    /// As `#0072b2`.
    pub fn colour(self) -> &'static str {
        COLOURS[self.0 % COLOURS.len()]
    }

    /// Corners of its mark, from the middle of it; a circle has none.
    pub fn corners(self) -> &'static [(f64, f64)] {
        MARKS[self.0 % MARKS.len()]
    }

    /// Burnonce's line is the thick one.
    pub fn width(self) -> f64 {
        if self.0 == 0 { 3.0 } else { 1.8 }
    }
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Font {
    Title,
    Label,
    /// The name of burnonce.
    Own,
    Axis,
}

impl Font {
    /// In the units of the drawing.
    pub fn size(self) -> f64 {
        match self {
            Font::Title => 15.0,
            Font::Label | Font::Own => 13.0,
            Font::Axis => 12.0,
        }
    }

    /// Of its letters.
    pub fn colour(self) -> &'static str {
        match self {
            Font::Axis => "#4d4d4d",
            Font::Title | Font::Label | Font::Own => "#1a1a1a",
        }
    }

    /// Whether its letters are bold.
    pub fn bold(self) -> bool {
        matches!(self, Font::Title | Font::Own)
    }
}

/// The lines of a grid.
pub const GRID: &str = "#dddddd";

/// The lines of an axis.
pub const AXIS: &str = "#808080";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_many_programs_look_alike() {
        let looks = |index: usize| (Style(index).colour(), Style(index).corners().to_vec());
        for (a, b) in (0..35).flat_map(|a| (0..a).map(move |b| (a, b))) {
            assert_ne!(looks(a), looks(b), "{a} and {b}");
        }
    }
}
