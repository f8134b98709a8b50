//! Warns on stderr while events are lost to `--max-events-per-second`.

use std::io::IsTerminal;

use ipft_core::event::{Loss, LossKind};
use ipft_core::message;

/// Compares the losses of a running trace with those before.
pub(super) struct RateWarning {
    limit: u32,
    /// On a terminal the warning is repeated while events are lost. A file gets it once.
    is_terminal: bool,
    lost: u64,
}

impl RateWarning {
    pub(super) fn on_stderr(limit: u32) -> Self {
        RateWarning::new(limit, std::io::stderr().is_terminal())
    }

    fn new(limit: u32, is_terminal: bool) -> Self {
        RateWarning {
            limit,
            is_terminal,
            lost: 0,
        }
    }

    /// Warns if events were lost since the last call. The losses are those of the whole trace so far. To be called about
    /// once a second.
    pub(super) fn warn(&mut self, losses: &[Loss]) {
        if let Some(warning) = self.warning(losses) {
            if self.is_terminal {
                // The number of events so far may be on the line.
                message::rewrite_line("");
            }
            message!("{warning}");
        }
    }

    fn warning(&mut self, losses: &[Loss]) -> Option<String> {
        let limited = losses.iter().filter(|loss| loss.kind == LossKind::RateLimit);
        let lost = limited.map(|loss| loss.count).fold(0, u64::saturating_add);
        let before = std::mem::replace(&mut self.lost, lost);
        (lost > before && (self.is_terminal || before == 0)).then(|| {
            format!(
                "ipft: a CPU has more than {} events per second (--max-events-per-second); {lost} were lost so far",
                self.limit
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(count: u64) -> [Loss; 2] {
        [LossKind::BufferFull, LossKind::RateLimit].map(|kind| Loss {
            kind,
            cpu: Some(0),
            count: if kind == LossKind::RateLimit { count } else { 9 },
        })
    }

    #[test]
    fn a_terminal_is_warned_while_events_are_lost() {
        let mut warning = RateWarning::new(1000, true);
        let said: Vec<bool> = [0, 5, 5, 8, 8]
            .map(|count| warning.warning(&lost(count)).is_some())
            .into();
        assert_eq!(said, [false, true, false, true, false]);
    }

    #[test]
    fn a_file_is_warned_once() {
        let mut warning = RateWarning::new(1000, false);
        assert_eq!(warning.warning(&lost(0)), None);
        let said = warning.warning(&lost(5)).unwrap();
        assert!(
            said.contains("1000 events per second") && said.contains("; 5 were lost"),
            "{said}"
        );
        assert_eq!(warning.warning(&lost(8)), None);
    }
}
