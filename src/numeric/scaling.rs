//! Dynamic loss scaling: gradients are made large enough for half precision, and a step whose gradients have
//! overflowed is left out.
//!
//! Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2, with the constants of PyTorch's
//! `torch.amp.GradScaler` (2¹⁶ at first, halved after an overflow, doubled after 2000 steps without one).

const FIRST: f32 = 65_536.0;
const STEPS_TO_GROW: u32 = 2000;

/// The scale of the loss, step by step.
#[derive(Debug, Clone)]
pub(super) struct LossScaling {
    scale: f32,
    good: u32,
    overflowed: bool,
    skipped: u32,
}

impl Default for LossScaling {
    fn default() -> Self {
        LossScaling { scale: FIRST, good: 0, overflowed: false, skipped: 0 }
    }
}

impl LossScaling {
    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// How many steps have been left out.
    pub(super) fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Gradients have been found that are no finite numbers.
    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
    }

    /// Whether this step is left out.
    pub(super) fn skips(&self) -> bool {
        self.overflowed
    }

    /// A step has ended.
    pub(super) fn end_step(&mut self) {
        if self.overflowed {
            (self.scale, self.good) = (self.scale / 2.0, 0);
            self.skipped += 1;
        } else {
            self.good += 1;
            if self.good == STEPS_TO_GROW {
                (self.scale, self.good) = (self.scale * 2.0, 0);
            }
        }
        self.overflowed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_after_an_overflow_and_doubles_after_two_thousand_good_steps() {
        let mut scaling = LossScaling::default();
        scaling.overflow();
        assert!(scaling.skips());
        scaling.end_step();
        assert!(!scaling.skips());
        assert_eq!((scaling.scale(), scaling.skipped()), (32_768.0, 1));
        (0..1999).for_each(|_| scaling.end_step());
        assert_eq!(scaling.scale(), 32_768.0);
        scaling.end_step();
        assert_eq!(scaling.scale(), 65_536.0);
    }
}
