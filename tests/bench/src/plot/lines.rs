//! Lines over the size, both axes logarithmic.

use super::canvas::{Anchor, Canvas, text_width};
use super::scale::{Scale, legible, spread};
use super::style::{AXIS, Font, GRID, Style};
use super::{Panel, Series, heading};
use crate::statistics::Summary;

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 260.0;

/// Below the heading.
const HEAD: f64 = 34.0;

/// Free between the frame and the points at both sides.
const INSET: f64 = 36.0;

/// Between the marks of two programs at one size, which would lie upon each other where both took the same, and how much all of them
/// may be apart.
const STAGGER: (f64, f64) = (5.0, 24.0);

/// Between two labels of programs.
const LABEL_GAP: f64 = 18.0;

/// What the ticks need at the left.
pub fn left(panel: &Panel) -> f64 {
    let unit = panel.measure.unit();
    let ticks = Scale::log(unit, &panel.values(), (1.0, 0.0)).ticks;
    ticks.iter().map(|tick| text_width(&unit.show_tick(*tick), Font::Axis)).fold(0.0, f64::max) + 8.0
}

/// Draws a panel below `top`; its axis of values is at `left`.
pub fn draw(canvas: &mut Canvas, panel: &Panel, left: f64, top: f64) {
    let height = HEIGHT.max(panel.series.len() as f64 * LABEL_GAP);
    let (ceiling, floor, right) = (top + HEAD, top + HEAD + height, left + WIDTH);
    let values = Scale::log(panel.measure.unit(), &panel.values(), (floor, ceiling));
    let sizes: Vec<f64> = panel.cases.iter().map(|(_, size)| *size).collect();
    let sizes = Scale::exact(&sizes, (left + INSET, right - INSET));
    heading(canvas, panel, true, top);
    draw_values(canvas, panel, &values, (left, right));
    draw_sizes(canvas, panel, &sizes, (ceiling, floor));
    canvas.line((left, ceiling), (left, floor), AXIS, 1.0, "");
    canvas.line((left, floor), (right, floor), AXIS, 1.0, "");
    canvas.text((left + right) / 2.0, floor + 38.0, Anchor::Middle, Font::Axis, "size (logarithmic scale)");
    // Burnonce comes last, so that nothing lies over it.
    for (index, series) in panel.series.iter().enumerate().rev() {
        draw_series(canvas, series, Style(index), &places(panel, index, &sizes), &values);
    }
    draw_names(canvas, panel, (&sizes, &values), right, (ceiling, floor));
}

/// Where the points of a program are from left to right.
fn places(panel: &Panel, index: usize, sizes: &Scale) -> Vec<f64> {
    let others = panel.series.len().saturating_sub(1) as f64;
    let aside = (index as f64 - others / 2.0) * STAGGER.0.min(STAGGER.1 / others.max(1.0));
    panel.cases.iter().map(|(_, size)| sizes.at(*size) + aside).collect()
}

fn draw_values(canvas: &mut Canvas, panel: &Panel, scale: &Scale, (left, right): (f64, f64)) {
    for tick in &scale.ticks {
        let y = scale.at(*tick);
        canvas.line((left, y), (right, y), GRID, 1.0, "");
        canvas.text(left - 8.0, y + 4.0, Anchor::End, Font::Axis, &panel.measure.unit().show_tick(*tick));
    }
}

fn draw_sizes(canvas: &mut Canvas, panel: &Panel, scale: &Scale, (ceiling, floor): (f64, f64)) {
    let place = |(label, size): &(&str, f64)| (scale.at(*size), text_width(label, Font::Axis));
    let shown = legible(&panel.cases.iter().map(place).collect::<Vec<_>>(), 8.0);
    for ((label, size), shown) in panel.cases.iter().zip(shown) {
        let x = scale.at(*size);
        canvas.line((x, ceiling), (x, floor), GRID, 1.0, "");
        canvas.line((x, floor), (x, floor + 4.0), AXIS, 1.0, "");
        if shown {
            canvas.text(x, floor + 18.0, Anchor::Middle, Font::Axis, label);
        }
    }
}

fn draw_series(canvas: &mut Canvas, series: &Series, style: Style, places: &[f64], values: &Scale) {
    for (index, pair) in series.points.windows(2).enumerate() {
        if let (Some(from), Some(to)) = (&pair[0], &pair[1]) {
            // There is no way to zero on a logarithmic scale: the slope of such a line says nothing.
            let dashes = if from.median > 0.0 && to.median > 0.0 { "" } else { "3 4" };
            let (from, to) = ((places[index], values.at(from.median)), (places[index + 1], values.at(to.median)));
            canvas.line(from, to, style.colour(), style.width(), dashes);
        }
    }
    for (index, point) in series.points.iter().enumerate() {
        if let Some(Summary { median, min, max, .. }) = *point {
            let (x, low, high) = (places[index], values.at(min as f64), values.at(max as f64));
            if min < max {
                canvas.line((x, low), (x, high), style.colour(), 1.5, "");
                canvas.line((x - 4.0, low), (x + 4.0, low), style.colour(), 1.5, "");
                canvas.line((x - 4.0, high), (x + 4.0, high), style.colour(), 1.5, "");
            }
            canvas.marker(x, values.at(median), style, median == 0.0);
        }
    }
}

/// The name of each program at the end of its line: no legend to look up.
fn draw_names(canvas: &mut Canvas, panel: &Panel, scales: (&Scale, &Scale), right: f64, (ceiling, floor): (f64, f64)) {
    let (sizes, values) = scales;
    let ends = panel.series.iter().enumerate().filter_map(|(index, series)| {
        let (case, last) =
            series.points.iter().enumerate().filter_map(|(case, point)| Some((case, point.as_ref()?))).next_back()?;
        Some((Style(index), series.who, places(panel, index, sizes)[case], values.at(last.median)))
    });
    let ends: Vec<(Style, &str, f64, f64)> = ends.collect();
    let wanted: Vec<f64> = ends.iter().map(|(_, _, _, y)| *y).collect();
    let places = spread(&wanted, LABEL_GAP, ceiling + 8.0, floor);
    for ((style, who, x, y), place) in ends.into_iter().zip(places) {
        canvas.line((x + 9.0, y), (right + 8.0, place), style.colour(), 0.8, "2 3");
        canvas.marker(right + 16.0, place, style, false);
        let font = if style == Style(0) { Font::Own } else { Font::Label };
        canvas.text(right + 27.0, place + 4.5, Anchor::Start, font, who);
    }
}
