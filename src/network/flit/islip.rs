//! iSLIP: outputs grant, inputs accept, each from where it last left off.
//!
//! McKeown, "The iSLIP Scheduling Algorithm for Input-Queued Switches", IEEE/ACM ToN 7(2), 1999.
//! Pointers move past what was accepted in the first round alone, which keeps them from moving
//! together.

/// Who goes next, by port.
#[derive(Debug, Default)]
pub(super) struct Pointers(Vec<u32>);

impl Pointers {
    pub(super) fn new(ports: usize) -> Self {
        Pointers(vec![0; ports])
    }

    pub(super) fn get(&self, port: u32) -> u32 {
        self.0[port as usize]
    }

    pub(super) fn set(&mut self, port: u32, next: u32) {
        self.0[port as usize] = next;
    }
}

/// A matching of inputs with outputs that ask for each other.
#[derive(Debug)]
pub(super) struct Islip {
    grant: Pointers,
    accept: Pointers,
    /// By port: the last call in which it was matched.
    input_matched: Vec<u64>,
    output_matched: Vec<u64>,
    calls: u64,
    granted: Vec<(u32, u32)>,
}

impl Islip {
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        Islip {
            grant: Pointers::new(outputs),
            accept: Pointers::new(inputs),
            input_matched: vec![0; inputs],
            output_matched: vec![0; outputs],
            calls: 0,
            granted: Vec::new(),
        }
    }

    /// Matches requests `(output, input)`, which are in order and distinct; calls `matched` for each
    /// pair.
    pub(super) fn allocate(
        &mut self,
        requests: &[(u32, u32)],
        rounds: u32,
        mut matched: impl FnMut(u32, u32),
    ) {
        self.calls += 1;
        let call = self.calls;
        for round in 0..rounds {
            self.granted.clear();
            for asking in requests.chunk_by(|a, b| a.0 == b.0) {
                let output = asking[0].0;
                if self.output_matched[output as usize] == call {
                    continue;
                }
                let free = asking.iter().map(|&(_, input)| input);
                let free = free.filter(|&input| self.input_matched[input as usize] != call);
                if let Some(input) = first_from(self.grant.get(output), free) {
                    self.granted.push((input, output));
                }
            }
            if self.granted.is_empty() {
                return;
            }
            self.granted.sort_unstable();
            for offers in self.granted.chunk_by(|a, b| a.0 == b.0) {
                let input = offers[0].0;
                let outputs = offers.iter().map(|&(_, output)| output);
                let Some(output) = first_from(self.accept.get(input), outputs) else { continue };
                self.input_matched[input as usize] = call;
                self.output_matched[output as usize] = call;
                if round == 0 {
                    self.grant.set(output, input + 1);
                    self.accept.set(input, output + 1);
                }
                matched(output, input);
            }
        }
    }
}

/// Of ascending ports the first from `start` on, going around.
pub(super) fn first_from(start: u32, ports: impl Iterator<Item = u32>) -> Option<u32> {
    let mut lowest = None;
    for port in ports {
        if port >= start {
            return Some(port);
        }
        lowest = lowest.or(Some(port));
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All inputs ask for all outputs of a 3 × 3 switch: after a few cycles the pointers have drifted
    /// apart and every cycle matches all three (McKeown, section III.A: 100 % throughput).
    #[test]
    fn pointers_drift_apart() {
        let requests: Vec<(u32, u32)> =
            (0..3).flat_map(|output| (0..3).map(move |input| (output, input))).collect();
        let mut islip = Islip::new(3, 3);
        let mut sizes = Vec::new();
        let mut served = [[0; 3]; 3];
        for _ in 0..30 {
            let mut size = 0;
            islip.allocate(&requests, 1, |output, input| {
                size += 1;
                served[input as usize][output as usize] += 1;
            });
            sizes.push(size);
        }
        assert_eq!(&sizes[..3], [1, 2, 3]);
        assert!(sizes[3..].iter().all(|&size| size == 3), "{sizes:?}");
        let all = served.as_flattened();
        assert!(all.iter().max().unwrap() - all.iter().min().unwrap() <= 2, "{served:?}");
    }

    /// A second round finds what the first left: two inputs ask for output 0, one of them also for 1.
    #[test]
    fn more_rounds_match_more() {
        let requests = [(0, 0), (0, 1), (1, 0)];
        let matched = |rounds| {
            let mut pairs = Vec::new();
            Islip::new(2, 2).allocate(&requests, rounds, |output, input| pairs.push((output, input)));
            pairs
        };
        assert_eq!(matched(1), [(0, 0)]);
        assert_eq!(matched(2), [(0, 0)]);
        let mut islip = Islip::new(2, 2);
        islip.allocate(&[(1, 0)], 1, |_, _| ());
        // Input 0 now prefers … the output behind 1, which is 0 again; output 1 prefers input 1.
        let mut pairs = Vec::new();
        islip.allocate(&[(0, 0), (1, 0), (1, 1)], 2, |output, input| pairs.push((output, input)));
        assert_eq!(pairs, [(0, 0), (1, 1)]);
    }
}
