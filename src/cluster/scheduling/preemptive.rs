//! Jobs run in order of priority, at the cost of those with less.

use std::collections::VecDeque;

use crate::cluster::ClusterView;
use crate::cluster::view::Draft;
use crate::ids::JobId;

/// A job with its priority: the smaller key goes first.
pub(super) type Ranked<K> = (K, JobId);

/// Goes through the running and the waiting jobs in order of priority, both given in that order, and
/// lets each run for which there is room, stopping those of less priority from the last one on.
///
/// At equal keys what runs goes before what waits. A job is left out when it does not fit even so;
/// with `strict` everything after it is left as it is. A job that was stopped goes on where it was if
/// its turn comes and its devices are still there.
pub(super) fn by_priority<'v, K: Ord>(
    view: &'v ClusterView<'v>,
    running: &[Ranked<K>],
    waiting: impl Iterator<Item = Ranked<K>>,
    strict: bool,
) -> Draft<'v> {
    let mut draft = view.draft();
    // Those that run and whose turn has not come, the first to be stopped at the end.
    let mut victims: VecDeque<JobId> = running.iter().map(|(_, job)| *job).collect();
    let mut running = running.iter().peekable();
    let mut waiting = waiting.peekable();
    loop {
        let turn_of_running = match (running.peek(), waiting.peek()) {
            (Some((run, _)), Some((wait, _))) => run <= wait,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return draft,
        };
        if turn_of_running {
            let &(_, job) = running.next().expect("it was peeked at");
            if victims.front() == Some(&job) {
                victims.pop_front();
            } else {
                draft.start(job);
            }
            continue;
        }
        if victims.is_empty() && draft.is_full() {
            return draft;
        }
        let (_, job) = waiting.next().expect("it was peeked at");
        if !draft.start(job) && !draft.start_instead(job, &mut victims) && strict {
            return draft;
        }
    }
}
