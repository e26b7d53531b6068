//! Charts as SVG, written by hand: bars and lines, legible on a light and on a dark page.
//!
//! Invariant: what is drawn is what was measured; an axis of bars starts at zero.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
const BAR: f64 = 30.0;
const BAR_GAP: f64 = 14.0;
const BAR_LEFT: f64 = 130.0;

/// The same colour for the same gateway in every chart.
const COLOURS: [(&str, &str); 8] = [
    ("raw", "#8a8f98"),
    ("fleetcast", "#e8590c"),
    ("fleetcast-paced", "#f2a36b"),
    ("socketioxide", "#3b82c4"),
    ("node-fixed", "#2f9e63"),
    ("node-leaky", "#a855c7"),
    ("one replica", "#e8590c"),
    ("other replica", "#3b82c4"),
];

/// One gateway's points.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
enum Kind {
    Bars(Vec<(String, f64)>),
    Lines { lines: Vec<Line>, x_title: &'static str, y_title: &'static str },
}

/// A chart and the name of its file.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) file: &'static str,
    pub(crate) title: String,
    kind: Kind,
    is_log_y: bool,
    threshold: Option<f64>,
}

impl Chart {
    pub(crate) fn bars(file: &'static str, title: &str, bars: Vec<(String, f64)>) -> Self {
        Self { file, title: title.to_owned(), kind: Kind::Bars(bars), is_log_y: false, threshold: None }
    }

    pub(crate) fn lines(
        file: &'static str,
        title: &str,
        x_title: &'static str,
        y_title: &'static str,
        lines: Vec<Line>,
    ) -> Self {
        let kind = Kind::Lines { lines, x_title, y_title };
        Self { file, title: title.to_owned(), kind, is_log_y: false, threshold: None }
    }

    pub(crate) fn log_y(mut self) -> Self {
        self.is_log_y = true;
        self
    }

    /// A dashed line at a value of y.
    pub(crate) fn threshold(mut self, y: f64) -> Self {
        self.threshold = Some(y);
        self
    }

    pub(crate) fn to_svg(&self) -> String {
        let (height, body) = match &self.kind {
            Kind::Bars(bars) => bar_body(bars),
            Kind::Lines { lines, x_title, y_title } => (HEIGHT, self.line_body(lines, x_title, y_title)),
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n\
             <style>text{{font:13px system-ui,sans-serif;fill:#24292f}}.t{{font-size:15px;font-weight:600}}\
             .g{{stroke:#d0d7de;stroke-width:1}}.l{{fill:none;stroke-width:2}}.h{{stroke:#cf222e;stroke-dasharray:5 4}}\
             @media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.g{{stroke:#444c56}}}}</style>\n\
             <text class=\"t\" x=\"12\" y=\"24\">{title}</text>\n{body}</svg>\n",
            title = escape(&self.title),
        )
    }

    fn line_body(&self, lines: &[Line], x_title: &str, y_title: &str) -> String {
        let plane = Plane::around(lines, self.is_log_y, self.threshold);
        let mut svg = String::new();
        for tick in plane.y_ticks() {
            let y = plane.y(tick);
            add(
                &mut svg,
                &format!(
                    "<line class=\"g\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                    WIDTH - RIGHT
                ),
            );
            add(&mut svg, &text(LEFT - 8.0, y + 4.0, "end", &short(tick)));
        }
        for tick in ticks(plane.x_max) {
            add(&mut svg, &text(plane.x(tick), HEIGHT - BOTTOM + 20.0, "middle", &short(tick)));
        }
        add(&mut svg, &text((LEFT + WIDTH) / 2.0, HEIGHT - 8.0, "middle", x_title));
        add(&mut svg, &text(12.0, TOP - 2.0, "start", y_title));
        if let Some(y) = self.threshold.map(|value| plane.y(value)) {
            add(
                &mut svg,
                &format!(
                    "<line class=\"h\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                    WIDTH - RIGHT
                ),
            );
        }
        for (index, line) in lines.iter().enumerate() {
            let colour = colour(&line.name);
            let points: Vec<String> =
                line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", plane.x(*x), plane.y(*y))).collect();
            add(
                &mut svg,
                &format!("<polyline class=\"l\" stroke=\"{colour}\" points=\"{}\"/>", points.join(" ")),
            );
            let (x, y) = (LEFT + 14.0, TOP + 14.0 + 18.0 * index as f64);
            add(
                &mut svg,
                &format!("<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>", y - 6.0),
            );
            add(&mut svg, &text(x + 20.0, y, "start", &line.name));
        }
        svg
    }
}

/// Where values lie on the picture.
struct Plane {
    x_max: f64,
    y_min: f64,
    y_max: f64,
    is_log_y: bool,
}

impl Plane {
    fn around(lines: &[Line], is_log_y: bool, threshold: Option<f64>) -> Self {
        let points = || lines.iter().flat_map(|line| line.points.iter().copied());
        let x_max = points().map(|(x, _)| x).fold(1.0, f64::max);
        let y_max = points().map(|(_, y)| y).chain(threshold).fold(1.0, f64::max) * 1.08;
        let y_low =
            points().map(|(_, y)| y).chain(threshold).fold(f64::INFINITY, f64::min).clamp(0.01, y_max / 10.0);
        let y_min = if is_log_y { 10_f64.powf(y_low.log10().floor()) } else { 0.0 };
        Self { x_max, y_min, y_max, is_log_y }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.is_log_y {
            (value.max(self.y_min) / self.y_min).ln() / (self.y_max / self.y_min).ln()
        } else {
            value / self.y_max
        };
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP - 6.0)
    }

    fn y_ticks(&self) -> Vec<f64> {
        if !self.is_log_y {
            return ticks(self.y_max);
        }
        let decades = std::iter::successors(Some(self.y_min), |tick| Some(tick * 10.0));
        decades.take_while(|tick| *tick <= self.y_max).collect()
    }
}

fn bar_body(bars: &[(String, f64)]) -> (f64, String) {
    let highest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let room = WIDTH - BAR_LEFT - 90.0;
    let mut svg = String::new();
    for (index, (name, value)) in bars.iter().enumerate() {
        let y = TOP + index as f64 * (BAR + BAR_GAP);
        let width = (value / highest * room).max(1.0);
        add(&mut svg, &text(BAR_LEFT - 10.0, y + 20.0, "end", name));
        let colour = colour(name);
        add(
            &mut svg,
            &format!(
                "<rect x=\"{BAR_LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"{colour}\"/>"
            ),
        );
        add(&mut svg, &text(BAR_LEFT + width + 8.0, y + 20.0, "start", &short(*value)));
    }
    (TOP + bars.len() as f64 * (BAR + BAR_GAP) + 6.0, svg)
}

fn add(svg: &mut String, line: &str) {
    writeln!(svg, "{line}").expect("a String takes every write");
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(content))
}

/// About five round values up to `max`.
fn ticks(max: f64) -> Vec<f64> {
    let rough = max / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough).unwrap_or(rough);
    (0..=10).map(|index| f64::from(index) * step).take_while(|tick| *tick <= max * 1.001).collect()
}

fn short(value: f64) -> String {
    match value {
        v if v >= 10_000.0 && v % 1000.0 != 0.0 => format!("{:.1}k", v / 1000.0),
        v if v >= 10_000.0 => format!("{:.0}k", v / 1000.0),
        v if v >= 100.0 || v == v.trunc() => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn colour(name: &str) -> &'static str {
    COLOURS.iter().find(|(known, _)| *known == name).map_or("#b08900", |(_, colour)| colour)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
