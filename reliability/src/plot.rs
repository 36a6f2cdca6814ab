//! Draws what a soak has measured.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::soak::{MEASURES, Sample};

const COLORS: [RGBColor; MEASURES.len()] = [
    RGBColor(0x4e, 0x79, 0xa7),
    RGBColor(0xf2, 0x8e, 0x2b),
    RGBColor(0x59, 0xa1, 0x4f),
    RGBColor(0xb0, 0x7a, 0xa1),
];

/// Everything over time, as a multiple of its own median.
pub(crate) fn soak(path: &Path, samples: &[Sample]) -> Result<(), Box<dyn Error>> {
    let last = samples.last().map_or(1.0, |sample| sample.seconds);
    let root = SVGBackend::new(path, (760, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Churn, each as a multiple of its median",
            ("sans-serif", 20),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..last, 0.0..2.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .draw()?;
    for (measure, color) in MEASURES.iter().zip(COLORS) {
        let median = float(measure.median(samples));
        let points = samples.iter().map(|sample| {
            let value = float((measure.of)(&sample.reading));
            (sample.seconds, (value / median).min(2.0))
        });
        let path = PathElement::new(points.collect::<Vec<_>>(), color.stroke_width(2));
        chart
            .draw_series([path])?
            .label(format!("{}, median {median}", measure.name))
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

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn float(number: u64) -> f64 {
    number as f64
}
