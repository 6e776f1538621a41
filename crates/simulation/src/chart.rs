//! Line charts as SVG text.
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
const TICKS: u32 = 5;
/// Okabe and Ito's colours, which the colour-blind can tell apart.
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// Lines over one pair of axes, both from zero.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What goes to the right.
    pub across: &'static str,
    /// What goes up.
    pub up: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The chart as a picture.
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let furthest = points().map(|(x, _)| *x).fold(0.0, f64::max).max(1e-9);
        let highest = points().map(|(_, y)| *y).fold(0.0, f64::max).max(1e-9) * 1.05;
        let x = |value: f64| LEFT + value / furthest * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / highest * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            self.title
        );
        for tick in 0..=TICKS {
            let part = f64::from(tick) / f64::from(TICKS);
            let (at_x, at_y) = (x(part * furthest), y(part * highest));
            text(&mut svg, (at_x, HEIGHT - BOTTOM + 16.0), "middle", &short(part * furthest));
            text(&mut svg, (LEFT - 6.0, at_y + 4.0), "end", &short(part * highest));
            rule(&mut svg, (LEFT, at_y), (WIDTH - RIGHT, at_y));
        }
        text(&mut svg, ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0), "middle", self.across);
        text(&mut svg, (LEFT, TOP - 6.0), "end", self.up);
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let mut path = String::new();
            for (across, up) in &line.points {
                // Writing to a string cannot fail.
                let _ = write!(path, "{:.1},{:.1} ", x(*across), y(*up));
            }
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                path.trim_end()
            );
            let at = TOP + 16.0 * (index as f64 + 1.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"3\" fill=\"{colour}\"/>",
                WIDTH - RIGHT + 10.0,
                at - 5.0
            );
            text(&mut svg, (WIDTH - RIGHT + 28.0, at), "start", &line.name);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn rule(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>");
}

fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
