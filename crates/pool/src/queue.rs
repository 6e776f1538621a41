/// A first-in-first-out queue whose members can leave from anywhere in constant time, and keep their place in memory
/// after their turn has come until they fetch what it brought. A slab of linked nodes: no allocation once it has grown
/// to the longest queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    nodes: Vec<Node<T>>,
    free: Vec<usize>,
    first: Option<usize>,
    last: Option<usize>,
    waiting: usize,
}

#[derive(Debug)]
struct Node<T> {
    value: Option<T>,
    before: Option<usize>,
    after: Option<usize>,
    waiting: bool,
}

/// A member's place in memory. Its owner is the only one who removes it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), first: None, last: None, waiting: 0 }
    }

    /// How many wait for their turn.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn join(&mut self, value: T) -> Ticket {
        let node = Node { value: Some(value), before: self.last, after: None, waiting: true };
        let place = self.free.pop().unwrap_or(self.nodes.len());
        match self.nodes.get_mut(place) {
            Some(free) => *free = node,
            None => self.nodes.push(node),
        }
        match self.last.and_then(|last| self.nodes.get_mut(last)) {
            Some(last) => last.after = Some(place),
            None => self.first = Some(place),
        }
        self.last = Some(place);
        self.waiting = self.waiting.saturating_add(1);
        Ticket(place)
    }

    /// Takes the first out of the order; its value stays until it is removed.
    pub(crate) fn next(&mut self) -> Option<&mut T> {
        let first = self.first?;
        self.unlink(first);
        self.nodes.get_mut(first)?.value.as_mut()
    }

    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.nodes.get_mut(ticket.0)?.value.as_mut()
    }

    /// Takes a member out, whether its turn has come or not.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.unlink(ticket.0);
        let value = self.nodes.get_mut(ticket.0)?.value.take()?;
        self.free.push(ticket.0);
        Some(value)
    }

    /// Takes those out of the order for whom `leaves` says so, first to last.
    pub(crate) fn dismiss(&mut self, mut leaves: impl FnMut(&mut T) -> bool) {
        let mut place = self.first;
        while let Some(here) = place {
            let Some(node) = self.nodes.get_mut(here) else { return };
            place = node.after;
            if node.value.as_mut().is_some_and(&mut leaves) {
                self.unlink(here);
            }
        }
    }

    /// Those that wait, first to last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut place = self.first;
        std::iter::from_fn(move || {
            let node = self.nodes.get(place?)?;
            place = node.after;
            node.value.as_ref()
        })
    }

    fn unlink(&mut self, place: usize) {
        let Some(node) = self.nodes.get_mut(place).filter(|node| node.waiting) else { return };
        node.waiting = false;
        let (before, after) = (node.before.take(), node.after.take());
        match before.and_then(|before| self.nodes.get_mut(before)) {
            Some(node) => node.after = after,
            None => self.first = after,
        }
        match after.and_then(|after| self.nodes.get_mut(after)) {
            Some(node) => node.before = before,
            None => self.last = before,
        }
        self.waiting = self.waiting.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_list_that_is_searched(operations in prop::collection::vec((0_u8..4, 0_usize..8), 0..200)) {
            let mut queue = Queue::new();
            let mut truth = VecDeque::new();
            let mut served = Vec::new();
            let mut tickets: Vec<(Ticket, u32)> = Vec::new();
            for (name, (operation, pick)) in (0_u32..).zip(operations) {
                match operation {
                    0 => {
                        tickets.push((queue.join(name), name));
                        truth.push_back(name);
                    }
                    1 => {
                        let next = queue.next().copied();
                        prop_assert_eq!(next, truth.pop_front());
                        served.extend(next);
                    }
                    2 if pick < tickets.len() => {
                        let (ticket, name) = tickets.remove(pick);
                        prop_assert_eq!(queue.remove(ticket), Some(name));
                        truth.retain(|waiting| *waiting != name);
                    }
                    _ => {
                        let parity = u32::from(pick % 2 == 0);
                        queue.dismiss(|name| *name % 2 == parity);
                        truth.retain(|name| *name % 2 != parity);
                    }
                }
                prop_assert_eq!(queue.waiting(), truth.len());
                prop_assert!(queue.iter().eq(truth.iter()));
                for (ticket, name) in &tickets {
                    prop_assert_eq!(queue.get_mut(*ticket), Some(&mut name.clone()));
                }
            }
        }
    }
}
