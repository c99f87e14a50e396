//! What is drawn, as SVG. Pure: the same calls make the same bytes.

use std::fmt::Write;

use super::style::{Font, Style};

/// Where the given place of a text is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing that grows to the right and downwards with what is drawn.
#[derive(Debug, Default)]
pub struct Canvas {
    body: String,
    right: f64,
    bottom: f64,
}

/// Free around everything.
pub const MARGIN: f64 = 16.0;

/// A font's mean width, in its sizes; that of a wide one, since a reader's is not known here.
const WIDTH: f64 = 0.6;

/// How wide a text may be.
pub fn text_width(text: &str, font: Font) -> f64 {
    text.chars().count() as f64 * font.size() * WIDTH
}

/// As it may stand in the text of an element and in an attribute. What XML cannot have becomes U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// With one decimal, or none.
fn number(value: f64) -> String {
    let tenths = (value * 10.0).round() / 10.0;
    // Adding zero makes a zero of a negative one.
    format!("{}", tenths + 0.0)
}

impl Canvas {
    /// Text on one line; `y` is its base line.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, font: Font, text: &str) {
        let width = text_width(text, font);
        let (name, end) = match anchor {
            Anchor::Start => ("start", x + width),
            Anchor::Middle => ("middle", x + width / 2.0),
            Anchor::End => ("end", x),
        };
        self.reach(end, y);
        let (size, colour, weight) =
            (font.size(), font.colour(), if font.bold() { " font-weight=\"bold\"" } else { "" });
        _ = writeln!(
            self.body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"{name}\" font-size=\"{size}\" fill=\"{colour}\"{weight}>{}</text>",
            number(x),
            number(y),
            escape(text),
        );
    }

    /// A line of a width; `dashes` as the attribute of SVG, or nothing.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64, dashes: &str) {
        self.reach(from.0.max(to.0), from.1.max(to.1));
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        _ = writeln!(
            self.body,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"{}\"{dashes}/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1),
            number(width),
        );
    }

    /// A filled rectangle.
    pub fn bar(&mut self, corner: (f64, f64), width: f64, height: f64, colour: &str) {
        self.reach(corner.0 + width, corner.1 + height);
        _ = writeln!(
            self.body,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{colour}\"/>",
            number(corner.0),
            number(corner.1),
            number(width),
            number(height),
        );
    }

    /// The mark of a program; a hollow one is for zero.
    pub fn marker(&mut self, x: f64, y: f64, style: Style, hollow: bool) {
        self.reach(x, y);
        let corners = style.corners();
        let points: Vec<String> =
            corners.iter().map(|(right, down)| format!("{},{}", number(x + right), number(y + down))).collect();
        let (fill, stroke, width) =
            if hollow { ("#ffffff", style.colour(), "2") } else { (style.colour(), "#ffffff", "1") };
        let paint = format!("fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{width}\"");
        _ = if points.is_empty() {
            writeln!(self.body, "<circle cx=\"{}\" cy=\"{}\" r=\"5\" {paint}/>", number(x), number(y))
        } else {
            writeln!(self.body, "<polygon points=\"{}\" {paint}/>", points.join(" "))
        };
    }

    /// Makes room up to this place.
    pub fn reach(&mut self, x: f64, y: f64) {
        self.right = self.right.max(x);
        self.bottom = self.bottom.max(y);
    }

    /// The lowest that was drawn.
    pub fn bottom(&self) -> f64 {
        self.bottom
    }

    /// The whole file. The ground is white: a page in dark mode shows it as a sheet of paper.
    pub fn finish(self, title: &str, description: &str) -> String {
        let (width, height) = ((self.right + MARGIN).ceil(), (self.bottom + MARGIN).ceil());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" aria-labelledby=\"title description\" font-family=\"system-ui, sans-serif\">\n\
             <title id=\"title\">{}</title>\n\
             <desc id=\"description\">{}</desc>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\"/>\n\
             {}</svg>\n",
            escape(title),
            escape(description),
            self.body,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_decimal_at_most() {
        for (value, text) in [(0.0, "0"), (-0.04, "0"), (1.25, "1.3"), (100.0, "100"), (-3.12, "-3.1")] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b> & \"c\"\n\u{7}é"), "a&lt;b&gt; &amp; &quot;c&quot; \u{fffd}é");
    }

    #[test]
    fn the_paper_is_as_large_as_what_is_on_it() {
        let mut canvas = Canvas::default();
        canvas.text(10.0, 20.0, Anchor::Start, Font::Label, "abcde");
        canvas.line((0.0, 0.0), (5.0, 50.0), "#000000", 1.0, "2 2");
        assert_eq!(canvas.bottom(), 50.0);
        let svg = canvas.finish("A & B", "what is seen");
        let parsed = roxmltree::Document::parse(&svg).unwrap();
        // Five letters of 0.6 times 13, from 10 on, and the margin.
        assert_eq!(parsed.root_element().attribute("viewBox"), Some("0 0 65 66"));
        let texts: Vec<_> = parsed.descendants().filter(|node| node.is_text()).filter_map(|node| node.text()).collect();
        assert!(texts.contains(&"A & B") && texts.contains(&"what is seen") && texts.contains(&"abcde"), "{texts:?}");
    }
}
