//! Draws what the tables say.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Drawn = Result<(), Box<dyn Error>>;

const COLORS: [RGBColor; 3] = [
    RGBColor(0x4e, 0x79, 0xa7),
    RGBColor(0xf2, 0x8e, 0x2b),
    RGBColor(0x59, 0xa1, 0x4f),
];
const WIDTH: i32 = 760;
/// Where bars begin, and how long the longest may be.
const LEFT: i32 = 180;
const LONGEST: i32 = 460;
const THICK: i32 = 14;

/// Some bars of the same thing, one for each series.
pub(crate) struct Bars<'a> {
    pub(crate) label: &'a str,
    /// Of each series: the number, and how it is written.
    pub(crate) values: Vec<Option<(f64, String)>>,
}

/// Draws bars, and a line where `mark` is; what is longer than `most` is cut, and its number says so.
pub(crate) fn bars(
    path: &Path,
    title: &str,
    series: &[&str],
    [mark, most]: [f64; 2],
    groups: &[Bars<'_>],
) -> Drawn {
    let step = THICK * i32::try_from(series.len())? + 10;
    let height = 70 + step * i32::try_from(groups.len())?;
    let root =
        SVGBackend::new(path, (WIDTH.cast_unsigned(), height.cast_unsigned())).into_drawing_area();
    root.fill(&WHITE)?;
    let font = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    let centre = |horizontal| Pos::new(horizontal, VPos::Center);
    root.draw(&Text::new(title, (10, 10), font(20)))?;
    for ((number, name), color) in (0..).zip(series).zip(COLORS) {
        let left = LEFT + 90 * number;
        root.draw(&Rectangle::new(
            [(left, 38), (left + 12, 50)],
            color.filled(),
        ))?;
        let style = font(15).pos(centre(HPos::Left));
        root.draw(&Text::new(*name, (left + 18, 44), style))?;
    }
    for (number, group) in (0..).zip(groups) {
        let top = 62 + step * number;
        let middle = top + (step - 10) / 2;
        let style = font(16).pos(centre(HPos::Right));
        root.draw(&Text::new(group.label, (LEFT - 8, middle), style))?;
        for ((number, value), color) in (0..).zip(&group.values).zip(COLORS) {
            let Some((value, text)) = value else { continue };
            let (top, cut) = (top + THICK * number, *value > most);
            let right = LEFT + length(*value, most);
            root.draw(&Rectangle::new(
                [(LEFT, top), (right, top + THICK - 2)],
                color.filled(),
            ))?;
            let text = if cut {
                format!("… {text}")
            } else {
                text.clone()
            };
            let style = font(15).pos(centre(HPos::Left));
            root.draw(&Text::new(text, (right + 6, top + THICK / 2), style))?;
        }
    }
    let mark = LEFT + length(mark, most);
    let line = [(mark, 58), (mark, height - 16)];
    root.draw(&PathElement::new(line, BLACK.stroke_width(1)))?;
    root.present()?;
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "at most the longest")]
fn length(value: f64, most: f64) -> i32 {
    (f64::from(LONGEST) * (value.max(0.0) / most).min(1.0)) as i32
}

/// One line: who, and its points.
pub(crate) type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// Draws lines over a logarithmic axis of that base.
pub(crate) fn lines(
    path: &Path,
    title: &str,
    axes: [&str; 2],
    base: f64,
    lines: &[Line<'_>],
) -> Drawn {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points().map(|point| point.0).fold(0.0, f64::max);
    let most = points().map(|point| point.1).fold(0.0, f64::max);
    let root = SVGBackend::new(path, (WIDTH.cast_unsigned(), 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((first..last).log_scale().base(base), 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(axes[0])
        .y_desc(axes[1])
        .x_label_formatter(&|count| format!("{count}"))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for ((name, points), color) in lines.iter().zip(COLORS) {
        let path = PathElement::new(points.clone(), color.stroke_width(2));
        chart
            .draw_series([path])?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
