//! When a remote is looked at again. Pure but for the jitter.

use std::time::Duration;

/// The first pause after a failure; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause, whatever the interval is.
const LONGEST: Duration = Duration::from_mins(5);

/// The pause before the next look, after so many failures on end. `jitter` is any number: it spreads the looks of many
/// mcpds, that would otherwise come back in step.
pub(super) fn pause(interval: Duration, failures: u32, jitter: u8) -> Duration {
    if failures == 0 {
        return interval;
    }
    let most = (interval * 4).clamp(FIRST, LONGEST);
    let pause = FIRST.saturating_mul(1 << (failures - 1).min(16)).min(most);
    // Three quarters to five quarters of it.
    pause * (192 + u32::from(jitter) / 2) / 256
}

/// A number that differs from one mcpd to the next.
pub(super) fn jitter() -> u8 {
    let mut byte = [128];
    // Without randomness there is no jitter, and nothing worse.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let seconds = Duration::from_secs;
        let middle = |interval, failures| pause(seconds(interval), failures, 128);
        for (interval, failures, want) in [
            (30, 0, 30),
            (30, 1, 1),
            (30, 2, 2),
            (30, 5, 16),
            (30, 8, 120),
            (30, 1000, 120),
            (1, 9, 4),
            (3600, 20, 300),
        ] {
            assert_eq!(middle(interval, failures), seconds(want), "{interval} {failures}");
        }
        for jitter in 0..=u8::MAX {
            let pause = pause(seconds(30), 8, jitter);
            assert!(pause >= seconds(90) && pause <= seconds(150), "{pause:?}");
        }
    }
}
