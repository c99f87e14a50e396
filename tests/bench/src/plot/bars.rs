//! Horizontal bars, one for each program.

use super::canvas::{Anchor, Canvas, text_width};
use super::scale::{Scale, legible};
use super::style::{AXIS, Font, GRID, Style};
use super::{Panel, Series, heading};
use crate::quantity::show_ratio;
use crate::statistics::{Summary, ratio};

const WIDTH: f64 = 420.0;
const HEAD: f64 = 34.0;
const ROW: f64 = 30.0;
const BAR: f64 = 16.0;

/// Beyond this ratio of the greatest to the least, the small bars could not be told apart on a linear scale.
const WIDE: f64 = 50.0;

/// What the names need at the left.
pub fn left(panel: &Panel) -> f64 {
    panel.series.iter().map(|series| text_width(series.who, Font::Own)).fold(0.0, f64::max) + 12.0
}

/// Draws a panel below `top`; its bars begin at `left`.
pub fn draw(canvas: &mut Canvas, panel: &Panel, left: f64, top: f64) {
    let (ceiling, right) = (top + HEAD, left + WIDTH);
    let floor = ceiling + panel.series.len() as f64 * ROW;
    let scale = scale(panel, (left, right));
    heading(canvas, panel, scale.is_log(), top);
    let texts: Vec<String> = scale.ticks.iter().map(|tick| panel.measure.unit().show_tick(*tick)).collect();
    let place = |(tick, text): (&f64, &String)| (scale.at(*tick), text_width(text, Font::Axis));
    let shown = legible(&scale.ticks.iter().zip(&texts).map(place).collect::<Vec<_>>(), 6.0);
    for ((tick, text), shown) in scale.ticks.iter().zip(&texts).zip(shown) {
        let x = scale.at(*tick);
        canvas.line((x, ceiling), (x, floor), GRID, 1.0, "");
        if shown {
            canvas.text(x, floor + 18.0, Anchor::Middle, Font::Axis, text);
        }
    }
    for (index, series) in panel.series.iter().enumerate() {
        draw_row(canvas, panel, (Style(index), series), &scale, (left, ceiling + (index as f64 + 0.5) * ROW));
    }
    canvas.line((left, ceiling), (left, floor), AXIS, 1.0, "");
    canvas.line((left, floor), (right, floor), AXIS, 1.0, "");
}

fn scale(panel: &Panel, place: (f64, f64)) -> Scale {
    let values = panel.values();
    let positive = || values.iter().copied().filter(|value| *value > 0.0);
    let (least, greatest) = (positive().reduce(f64::min), positive().reduce(f64::max));
    match (least, greatest) {
        (Some(least), Some(greatest)) if greatest / least > WIDE => {
            // The shortest bar needs a length, too.
            let room: Vec<f64> = values.iter().copied().chain([least / 2.0]).collect();
            Scale::log(panel.measure.unit(), &room, place)
        }
        _ => Scale::linear(panel.measure.unit(), &values, place),
    }
}

fn draw_row(
    canvas: &mut Canvas,
    panel: &Panel,
    (style, series): (Style, &Series),
    scale: &Scale,
    (left, y): (f64, f64),
) {
    let font = if style == Style(0) { Font::Own } else { Font::Label };
    canvas.text(left - 10.0, y + 4.5, Anchor::End, font, series.who);
    let Some(Some(summary)) = series.points.first() else {
        canvas.text(left + 8.0, y + 4.5, Anchor::Start, Font::Axis, "not measured");
        return;
    };
    let Summary { median, min, max, .. } = *summary;
    let (low, middle, high) = (scale.at(min as f64), scale.at(median), scale.at(max as f64));
    if median > 0.0 {
        canvas.bar((left, y - BAR / 2.0), middle - left, BAR, style.colour());
    } else {
        canvas.marker(middle, y, style, true);
    }
    if min < max {
        for (from, to) in [((low, y), (high, y)), ((low, y - 5.0), (low, y + 5.0)), ((high, y - 5.0), (high, y + 5.0))]
        {
            // White around it, since most of it lies on the bar.
            canvas.line(from, to, "#ffffff", 3.5, "");
            canvas.line(from, to, "#1a1a1a", 1.5, "");
        }
    }
    canvas.text(middle.max(high) + 12.0, y + 4.5, Anchor::Start, Font::Label, &value(panel, style, summary));
}

/// The median, and behind that of a peer how many times burnonce's it is.
fn value(panel: &Panel, style: Style, summary: &Summary) -> String {
    let text = if summary.median > 0.0 { panel.measure.unit().show(summary.median) } else { "0".to_owned() };
    let own = panel.series.first().and_then(|series| series.points.first()).and_then(Option::as_ref);
    match own.and_then(|own| ratio(summary, own)) {
        Some(ratio) if style != Style(0) => format!("{text}, {}", show_ratio(ratio)),
        _ => text,
    }
}
