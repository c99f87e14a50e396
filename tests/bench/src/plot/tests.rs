use roxmltree::{Document, Node};

use super::canvas::text_width;
use super::*;
use crate::figures::Measure::{Size, Wall, Written};
use crate::figures::Run;
use crate::sample::{case, convert, reset, run, steady, work};

/// An SVG in which every text has its place on the paper and no two touch.
fn check(svg: &str) {
    let document = Document::parse(svg).unwrap();
    let root = document.root_element();
    let paper: Vec<f64> = root.attribute("viewBox").unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    let named = |name: &str| document.descendants().any(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)));
    assert!(named("title") && named("desc") && !named("script"));
    let texts: Vec<Node> = document.descendants().filter(|node| node.tag_name().name() == "text").collect();
    let boxes: Vec<_> = texts.iter().map(|node| extent(node)).collect();
    for ((left, top, right, bottom), text) in &boxes {
        assert!(*left >= 0.0 && *top >= 0.0 && *right <= paper[2] && *bottom <= paper[3], "{text} is cut off: {svg}");
    }
    for (index, (a, name)) in boxes.iter().enumerate() {
        for (b, other) in &boxes[..index] {
            let apart = a.0 >= b.2 || b.0 >= a.2 || a.1 >= b.3 || b.1 >= a.3;
            assert!(apart, "{name} and {other} touch: {svg}");
        }
    }
    for node in document.descendants().filter(Node::is_element) {
        for value in ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"] {
            let number = node.attribute(value).map_or(0.0, |text| text.parse::<f64>().unwrap());
            assert!((0.0..=paper[2].max(paper[3])).contains(&number), "{value} of {:?}: {number}", node.tag_name());
        }
    }
}

/// Left, top, right, bottom, and the text.
fn extent<'a>(node: &Node<'a, '_>) -> ((f64, f64, f64, f64), &'a str) {
    let number = |name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let (x, y, size, text) = (number("x"), number("y"), number("font-size"), node.text().unwrap());
    let font = [Font::Title, Font::Label, Font::Axis].into_iter().find(|font| font.size() == size).unwrap();
    let width = text_width(text, font);
    let left = match node.attribute("text-anchor").unwrap() {
        "start" => x,
        "middle" => x - width / 2.0,
        _ => x - width,
    };
    ((left, y - size * 0.75, left + width, y + size * 0.2), text)
}

fn texts(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    let found = document.descendants().filter(|node| node.tag_name().name() == "text").filter_map(|node| node.text());
    found.map(str::to_owned).collect()
}

/// How many marks are hollow.
fn hollow(svg: &str) -> usize {
    svg.matches("fill=\"#ffffff\" stroke=\"#").count()
}

fn sized(cases: &[(&str, f64)], runs: impl Fn(f64) -> Vec<Run>) -> Work {
    work("sized", cases.iter().map(|(label, size)| case(label, *size, runs(*size))).collect())
}

#[test]
fn plots_of_every_kind_are_sound() {
    let sizes = [("8 GiB", 8.0), ("64 GiB", 64.0)];
    let both = |values: &[u64]| vec![run("burnonce", &[(Wall, values)]), run("a peer", &[(Wall, values)])];
    let works = [
        convert(),
        reset(),
        steady(),
        sized(&sizes, |size| both(&[size as u64])),
        // Nothing differs: one value at one size.
        sized(&[("one", 1.0), ("the same", 1.0)], |_| both(&[7, 7])),
        // Zeros of both axes, and all else far from them.
        sized(&[("no file", 0.0), ("huge", 1e15)], |size| both(&[size as u64, size as u64 * 1000])),
        sized(&[("tiny", 1e-9), ("huge", 1e15)], |size| both(&[if size < 1.0 { 1 } else { u64::MAX }])),
        // At one of the sizes there is nothing.
        sized(
            &[("8 GiB", 8.0), ("9 GiB", 9.0), ("10 GiB", 10.0)],
            |size| if size == 9.0 { vec![] } else { both(&[5]) },
        ),
        // Twenty programs in one place.
        sized(&sizes, |_| (0..20).map(|index| run(&format!("program {index}"), &[(Wall, &[10])])).collect()),
        work("one", vec![case("only", 1.0, both(&[1, 2, 3]))]),
        work("one", vec![case("only", 1.0, both(&[u64::MAX]))]),
        work(
            "one",
            vec![case("only", 1.0, vec![run("a<b>&\"c\"", &[(Size, &[9])]), run("far", &[(Size, &[1 << 62])])])],
        ),
    ];
    for work in works {
        let svg = svg(&work).unwrap();
        check(&svg);
        assert_eq!(super::svg(&work), Some(svg), "the same report makes the same bytes");
    }
}

#[test]
fn what_is_not_there_or_all_zero_has_no_plot() {
    for runs in [vec![], vec![run("burnonce", &[])], vec![run("burnonce", &[(Wall, &[0, 0]), (Written, &[0])])]] {
        assert_eq!(svg(&work("none", vec![case("only", 1.0, runs.clone())])), None);
        assert_eq!(svg(&work("none", vec![case("a", 1.0, runs.clone()), case("b", 2.0, runs)])), None);
    }
    assert_eq!(svg(&work("none", vec![])), None);
}

#[test]
fn time_and_bytes_written_are_plotted_and_else_what_there_is() {
    assert_eq!(plotted(&convert()), [Wall, Written]);
    let sizes = work("size", vec![case("package", 1.0, vec![run("burnonce", &[(Size, &[9])])])]);
    assert_eq!(plotted(&sizes), [Size]);
}

#[test]
fn lines_are_named_at_their_ends_and_sizes_by_the_cases() {
    let texts = texts(&svg(&convert()).unwrap());
    for expected in
        ["burnonce", "sfdisk and mkfs.ext4", "8 GiB", "1024 GiB", "Bytes written (logarithmic scale); less is better"]
    {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
    }
}

#[test]
fn a_bar_says_its_value_and_how_many_times_burnonces_that_is() {
    let runs =
        vec![run("burnonce", &[(Wall, &[10_000_000])]), run("slow", &[(Wall, &[310_000_000])]), run("absent", &[])];
    let texts = texts(&svg(&work("one", vec![case("only", 1.0, runs)])).unwrap());
    for expected in ["10 ms", "310 ms, 31×", "not measured", "Wall-clock time; less is better"] {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
    }
}

#[test]
fn bars_of_a_wide_range_have_a_logarithmic_scale() {
    for (greatest, log) in [(500, false), (501, true)] {
        let runs = vec![run("burnonce", &[(Wall, &[10])]), run("slow", &[(Wall, &[greatest])])];
        let svg = svg(&work("one", vec![case("only", 1.0, runs)])).unwrap();
        assert_eq!(svg.contains("logarithmic"), log, "{greatest}");
        // The least has a bar that is seen.
        let document = Document::parse(&svg).unwrap();
        let bars =
            document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect"))).skip(1);
        let widths: Vec<f64> = bars.map(|bar| bar.attribute("width").unwrap().parse().unwrap()).collect();
        assert!(widths.len() == 2 && widths.iter().all(|width| *width > 4.0), "{widths:?}");
    }
}

#[test]
fn zero_is_a_hollow_mark_and_said() {
    let bars = svg(&steady()).unwrap();
    assert_eq!(hollow(&bars), 1);
    assert!(texts(&bars).contains(&"0".to_owned()));
    let lines = sized(&[("a", 1.0), ("b", 2.0)], |_| vec![run("burnonce", &[(Wall, &[0])]), run("b", &[(Wall, &[5])])]);
    let lines = svg(&lines).unwrap();
    assert_eq!(hollow(&lines), 2);
    assert!(texts(&lines).contains(&"0".to_owned()));
}

#[test]
fn the_alternative_text_says_what_is_plotted() {
    assert_eq!(
        alternative(&convert()).as_deref(),
        Some("Converting a card: wall-clock time and bytes written, from 8 GiB to 1024 GiB")
    );
    assert_eq!(capital("écart"), "Écart");
    assert_eq!(capital(""), "");
}
