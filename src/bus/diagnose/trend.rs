//! A figure against its own past: what is bad for one line is usual for another.

/// A baseline counts after so many questions.
const BASELINE: u32 = 200;

/// A share or a duration against its own past: a quick mean and a slow one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trend {
    pub quick: f64,
    pub slow: f64,
    count: u32,
}

impl Trend {
    pub(super) fn add(&mut self, sample: f64, quick: f64, raised: bool) {
        self.count = self.count.saturating_add(1);
        if self.count == 1 {
            (self.quick, self.slow) = (sample, sample);
        }
        self.quick += (sample - self.quick) * quick;
        // While it is raised, the bad present must not become the good old past.
        if !raised {
            let slow = if self.count < BASELINE { 1.0 / f64::from(self.count) } else { 1.0 / 4096.0 };
            self.slow += (sample - self.slow) * slow;
        }
    }

    pub(super) fn has_a_past(&self) -> bool {
        self.count > BASELINE
    }
}
