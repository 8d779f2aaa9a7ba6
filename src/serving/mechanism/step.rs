//! What happens at a replica: its policy is asked, a step begins, a step ends.

use crate::engine::EventClass;
use crate::ids::{ReplicaId, RequestId};
use crate::serving::generation::Part;
use crate::serving::mechanism::{Event, Role, Serving};
use crate::serving::view::{Phase, ServingView, Slice};
use crate::units::SimTime;

impl Serving<'_, '_> {
    /// Asks the policy of a replica, if a step could begin.
    pub(super) fn decide(&mut self, now: SimTime, replica: ReplicaId) {
        let site = &mut self.sites[replica];
        site.asked = false;
        // With one stage after another there is a step in flight for each; the next question comes
        // when one ends.
        if site.flight.len() == site.free_at.len() {
            return;
        }
        if site.free_at[0] > now {
            let at = site.free_at[0];
            return self.ask(at, replica);
        }
        let view = ServingView {
            now,
            requests: &self.plan.requests,
            waiting: &site.waiting,
            running: &site.running,
            pool: site.pool,
            progress: &self.progress,
        };
        let decision = site.policy.next_batch(&view);
        for &request in &decision.preempted {
            self.preempt(now, replica, request);
        }
        if decision.work.is_empty() {
            // What was given back can make room for what comes from another replica.
            return if decision.preempted.is_empty() {
                self.admit(now, replica)
            } else {
                self.ask(now, replica)
            };
        }
        self.begin(now, replica, &decision.work);
    }

    fn preempt(&mut self, now: SimTime, replica: ReplicaId, request: RequestId) {
        let name = self.plan.batching.name();
        let progress = &mut self.progress[request];
        assert!(progress.phase == Phase::Running, "`{name}` preempts {request}, which does not run");
        assert!(progress.in_flight == 0, "`{name}` preempts {request}, which is part of a step in flight");
        let held = u64::from(std::mem::take(&mut progress.held));
        let computed = std::mem::take(&mut progress.computed);
        let backlog = u64::from(progress.known.saturating_sub(computed));
        self.outcome.recomputed += u64::from(computed);
        self.outcome.requests[request].preemptions += 1;
        let site = &mut self.sites[replica];
        let at = site.running.iter().rposition(|&other| other == request);
        site.running
            .remove(at.unwrap_or_else(|| panic!("`{name}` preempts {request}, which runs elsewhere")));
        site.queued_tokens -= backlog;
        self.state.running -= 1;
        self.account(now, replica, |pool| pool.give(held));
        self.sites[replica].free.give(std::mem::take(&mut self.tables[request]));
        self.joined.1 -= 1;
        self.wait(replica, request, self.joined.1);
    }

    /// A step begins.
    fn begin(&mut self, now: SimTime, replica: ReplicaId, work: &[Slice]) {
        self.steps += 1;
        self.shape.clear();
        let mut parts = Vec::with_capacity(work.len());
        let mut taken = 0;
        for slice in work {
            let (blocks, yields) = self.take_part(now, replica, slice);
            taken += blocks;
            parts.push((slice.request, yields));
        }
        if taken > 0 {
            let name = self.plan.batching.name();
            self.account(now, replica, |pool| {
                assert!(pool.take(taken), "`{name}` takes {taken} blocks of {}", pool.free());
            });
        }
        self.compute(replica, work, &parts);
        let site = &mut self.sites[replica];
        assert!(
            site.running.len() <= site.policy.most_running() as usize,
            "`{}` lets {} requests run at once",
            site.policy.name(),
            site.running.len()
        );
        site.record.steps += 1;
        site.record.tokens += self.shape.tokens;
        let mut at = now;
        for (stage, free_at) in site.free_at.iter_mut().enumerate() {
            let time = self.cost.time(replica, stage, &self.shape);
            at = at.max(*free_at) + time.busy;
            *free_at = at;
            at += time.sending;
            if stage == 0 {
                site.record.busy += time.busy;
            }
        }
        site.flight.push_back(parts);
        let again = (site.flight.len() < site.free_at.len()).then_some(site.free_at[0]);
        self.queue.schedule(at, EventClass::Finish, Event::StepEnd(replica));
        if let Some(at) = again {
            self.ask(at, replica);
        }
    }

    /// Computes the step that begins, where anything is computed.
    fn compute(&mut self, replica: ReplicaId, work: &[Slice], parts: &[(RequestId, bool)]) {
        let Some(answers) = &mut self.answers else { return };
        let part = |(slice, &(request, yields)): (&Slice, &(RequestId, bool))| Part {
            request,
            first: self.progress[request].computed - slice.tokens,
            tokens: slice.tokens,
            yields,
            table: &self.tables[request],
        };
        let parts: Vec<Part> = work.iter().zip(parts).map(part).collect();
        answers.begin(replica, &parts);
    }

    /// Makes a request part of the step that begins: the blocks that it takes, and whether it gets a
    /// token.
    fn take_part(&mut self, now: SimTime, replica: ReplicaId, slice: &Slice) -> (u64, bool) {
        let Slice { request, tokens, blocks } = *slice;
        let progress = &mut self.progress[request];
        let site = &mut self.sites[replica];
        let name = self.plan.batching.name();
        let known = self.plan.requests[request].prompt + progress.generated;
        assert!(progress.step != self.steps, "`{name}` makes {request} part of a step twice");
        assert!(
            (1..=known - progress.computed).contains(&tokens),
            "`{name}` computes {tokens} tokens of {request}, which has {} pending",
            known - progress.computed
        );
        if progress.phase == Phase::Waiting {
            let left = site.waiting.remove(&progress.place);
            assert!(left == Some(request), "`{name}` admits {request}, which waits elsewhere");
            progress.phase = Phase::Running;
            site.running.push(request);
            self.state.waiting -= 1;
            self.state.running += 1;
            let record = &mut self.outcome.requests[request];
            if progress.generated == 0 && record.preemptions == 0 {
                record.start = now;
            }
        }
        assert!(progress.phase == Phase::Running, "`{name}` computes {request}, which does not run");
        let before = progress.computed;
        progress.computed += tokens;
        let room = u64::from(blocks) * u64::from(site.pool.block());
        assert!(
            u64::from(progress.computed) <= room && blocks >= progress.held,
            "`{name}` gives {request} {blocks} blocks for {} tokens; it has {}",
            progress.computed,
            progress.held
        );
        let taken = u64::from(blocks - progress.held);
        progress.held = blocks;
        site.free.extend(&mut self.tables[request], blocks);
        progress.in_flight += 1;
        progress.step = self.steps;
        site.queued_tokens -= u64::from(progress.computed.min(progress.known) - before.min(progress.known));
        let yields = progress.computed == known;
        self.shape.add(tokens, progress.computed, yields);
        (taken, yields)
    }

    /// The oldest step of a replica ends: tokens are handed out, and whoever has its last leaves.
    pub(super) fn end_step(&mut self, now: SimTime, replica: ReplicaId) {
        let parts = self.sites[replica].flight.pop_front().expect("a step in flight ends");
        if let Some(answers) = &mut self.answers {
            answers.finish(replica);
        }
        let mut given = 0;
        let mut leaving = Vec::new();
        let mut gap = (0, 0);
        for (request, yields) in parts {
            let progress = &mut self.progress[request];
            progress.in_flight -= 1;
            if !yields {
                continue;
            }
            progress.generated += 1;
            let last = std::mem::replace(&mut self.last_token[request], now);
            if progress.generated == 1 {
                self.outcome.requests[request].first_token = now;
            } else {
                // Most of a step's requests were part of the step before.
                let length = now.since(last).picos();
                if gap.0 != length {
                    self.outcome.gaps.extend((gap.1 > 0).then_some(gap));
                    gap = (length, 0);
                }
                gap.1 += 1;
            }
            if progress.generated == progress.goal {
                progress.phase = Phase::Outside;
                if progress.generated == self.plan.requests[request].output {
                    given += u64::from(std::mem::take(&mut progress.held));
                    self.sites[replica].free.give(std::mem::take(&mut self.tables[request]));
                    self.outcome.requests[request].finish = now;
                    self.done += 1;
                } else {
                    leaving.push(request);
                }
                self.state.running -= 1;
                self.sites[replica].outstanding -= 1;
            }
        }
        self.outcome.gaps.extend((gap.1 > 0).then_some(gap));
        if given > 0 || !leaving.is_empty() {
            let progress = &self.progress;
            self.sites[replica].running.retain(|&request| progress[request].phase == Phase::Running);
            self.account(now, replica, |pool| pool.give(given));
        }
        for request in leaving {
            self.hand_over(now, replica, request);
        }
        if self.sites[replica].role == Role::Decode {
            self.admit(now, replica);
        }
        self.ask(now, replica);
    }
}
