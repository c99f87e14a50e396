//! The plots of a work, as SVG: lines over the size where it has several cases, bars where it has one. Pure.

mod bars;
mod canvas;
mod lines;
mod scale;
mod style;
mod ticks;

use canvas::{Canvas, MARGIN};
use style::Font;

use crate::figures::{Measure, Work};
use crate::statistics::{Summary, measures, programs, result};

/// What a reader wants to see, where it was measured; else what was.
const PLOTTED: [Measure; 2] = [Measure::Wall, Measure::Written];

/// Free between two panels.
const BETWEEN: f64 = 28.0;

/// One measure of all programs and cases.
struct Panel<'a> {
    measure: Measure,
    /// Label and size of the cases, by size.
    cases: Vec<(&'a str, f64)>,
    series: Vec<Series<'a>>,
}

/// What one program took, a point for each case of the panel.
struct Series<'a> {
    who: &'a str,
    points: Vec<Option<Summary>>,
}

impl Panel<'_> {
    /// Everything that has a place on the axis of values.
    fn values(&self) -> Vec<f64> {
        let points = self.series.iter().flat_map(|series| &series.points).flatten();
        points.flat_map(|point| [point.min as f64, point.median, point.max as f64]).collect()
    }
}

/// The measures that the plot of a work shows. Where all is zero there is nothing to see.
fn plotted(work: &Work) -> Vec<Measure> {
    let seen: Vec<Measure> = measures(work).into_iter().filter(|measure| has_values(work, *measure)).collect();
    let wanted: Vec<Measure> = PLOTTED.into_iter().filter(|measure| seen.contains(measure)).collect();
    if wanted.is_empty() { seen.into_iter().take(1).collect() } else { wanted }
}

fn has_values(work: &Work, measure: Measure) -> bool {
    let samples = work.cases.iter().flat_map(|case| &case.runs).flat_map(|run| &run.samples);
    samples.filter_map(|sample| sample.get(&measure)).any(|value| *value > 0)
}

fn panel(work: &Work, measure: Measure) -> Panel<'_> {
    let mut cases: Vec<_> = work.cases.iter().collect();
    cases.sort_by(|a, b| a.size.total_cmp(&b.size));
    let series = programs(work)
        .into_iter()
        .map(|who| Series { who, points: cases.iter().map(|case| result(case, who, measure)).collect() })
        .collect();
    Panel { measure, cases: cases.iter().map(|case| (case.label.as_str(), case.size)).collect(), series }
}

/// The plot of a work as an SVG file; `None` where there is nothing to draw.
pub fn svg(work: &Work) -> Option<String> {
    let title = alternative(work)?;
    let panels: Vec<Panel> = plotted(work).into_iter().map(|measure| panel(work, measure)).collect();
    let mut canvas = Canvas::default();
    let left = panels.iter().map(|panel| if several(work) { lines::left(panel) } else { bars::left(panel) });
    let left = left.fold(0.0, f64::max) + MARGIN;
    let mut top = MARGIN;
    for panel in &panels {
        if several(work) {
            lines::draw(&mut canvas, panel, left, top);
        } else {
            bars::draw(&mut canvas, panel, left, top);
        }
        top = canvas.bottom() + BETWEEN;
    }
    let description: Vec<String> = panels.iter().map(describe).collect();
    Some(canvas.finish(&title, &description.join(" ")))
}

/// What the plot shows, in place of it: `Convert: wall-clock time and bytes written, from 8 GiB to 1 TiB`; `None` where there is none.
pub fn alternative(work: &Work) -> Option<String> {
    let measures = plotted(work);
    let what: Vec<&str> = measures.iter().map(|measure| measure.title()).collect();
    let cases = panel(work, *measures.first()?).cases;
    let range = match (cases.first(), cases.last()) {
        (Some(first), Some(last)) if several(work) => format!(", from {} to {}", first.0, last.0),
        _ => String::new(),
    };
    Some(format!("{}: {}{range}", work.title, what.join(" and ")))
}

fn several(work: &Work) -> bool {
    work.cases.len() > 1
}

/// All medians, for who does not see the plot.
fn describe(panel: &Panel) -> String {
    let Panel { measure, cases, series } = panel;
    let programs: Vec<String> = series
        .iter()
        .map(|Series { who, points }| {
            let found = cases.iter().zip(points).filter_map(|((label, _), point)| {
                let value = measure.unit().show(point.as_ref()?.median);
                Some(if cases.len() > 1 { format!("{value} at {label}") } else { value })
            });
            let found: Vec<String> = found.collect();
            format!("{who} {}", if found.is_empty() { "not measured".to_owned() } else { found.join(", ") })
        })
        .collect();
    format!("Medians of {}: {}.", measure.title(), programs.join("; "))
}

/// The heading of a panel.
fn heading(canvas: &mut Canvas, panel: &Panel, log: bool, top: f64) {
    let scale = if log { " (logarithmic scale)" } else { "" };
    let text = format!("{}{scale}; less is better", capital(panel.measure.title()));
    canvas.text(MARGIN, top + Font::Title.size(), canvas::Anchor::Start, Font::Title, &text);
}

/// As at the beginning of a sentence.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
