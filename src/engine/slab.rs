//! Where events wait: slots that are used again, so that scheduling allocates nothing.

/// Events by slot number. A slot is taken by [`insert`](Self::insert) and given back by
/// [`release`](Self::release); in between its event may be [`cancel`](Self::cancel)led.
///
/// A queue keeps the slot number in its own order and releases the slot when that number comes up,
/// so a cancelled slot is never mistaken for the next event to use it. The generation tells a
/// handle from the handles of earlier users of the same slot.
#[derive(Debug, Clone)]
pub(super) struct Slab<E> {
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Slot<E> {
    generation: u32,
    event: Option<E>,
}

impl<E> Slab<E> {
    pub(super) const fn new() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }

    /// How many slots there are, taken or free.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Keeps `event`; returns its slot and the slot's generation.
    pub(super) fn insert(&mut self, event: E) -> (u32, u32) {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.event = Some(event);
            return (index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 events wait at once");
        self.slots.push(Slot { generation: 0, event: Some(event) });
        (index, 0)
    }

    /// Whether the slot still has its event.
    pub(super) fn is_live(&self, index: u32) -> bool {
        self.slots[index as usize].event.is_some()
    }

    /// Takes the event out, if it is still the one of this generation; the slot stays taken.
    pub(super) fn cancel(&mut self, index: u32, generation: u32) -> Option<E> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation == generation { slot.event.take() } else { None }
    }

    /// Gives the slot back with its event, or with nothing if that was cancelled.
    pub(super) fn release(&mut self, index: u32) -> Option<E> {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.event.take()
    }
}
