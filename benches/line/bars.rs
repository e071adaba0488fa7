//! Figures beside their bars.

use std::fmt::Display;

/// How many bars there were, and how many were met.
#[derive(Debug, Default)]
pub struct Bars {
    met: usize,
    of: usize,
}

impl Bars {
    /// The figure, its bar, and whether it was met.
    pub fn at_most(&mut self, figure: f64, bar: f64) -> String {
        let word = self.judge(figure <= bar);
        format!("{figure:.4} (≤ {bar:.2}) {word}")
    }

    pub fn at_least(&mut self, percent: f64, bar: f64) -> String {
        let word = self.judge(percent >= bar);
        format!("{percent:.2} % (≥ {bar:.0} %) {word}")
    }

    pub fn none(&mut self, count: u64) -> String {
        let word = self.judge(count == 0);
        format!("{count} (0) {word}")
    }

    pub fn no_more(&mut self, count: impl Into<i64> + Display + Copy, bar: i64) -> String {
        let word = self.judge(count.into() <= bar);
        format!("{count} (≤ {bar}) {word}")
    }

    /// What could not be measured counts as missed.
    pub fn missed(&mut self, bars: usize) {
        self.of += bars;
    }

    fn judge(&mut self, met: bool) -> &'static str {
        self.of += 1;
        self.met += usize::from(met);
        if met { "ok" } else { "MISSED" }
    }

    pub fn summary(&self) -> String {
        format!("bars met: {} of {}", self.met, self.of)
    }
}

/// The cycle of a whole line against its limit.
pub fn cycle_bar(baud: u32) -> f64 {
    match baud {
        0..=19_200 => 1.01,
        19_201..=38_400 => 1.02,
        _ => 1.03,
    }
}
