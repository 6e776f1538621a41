//! Places that are used again, so that a run allocates only while it grows.

/// Things under numbers; a number that was freed is used again under the next generation.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// A place for `value`, and its generation.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.1 = Some(value);
            return (index, place.0);
        }
        self.places.push((0, Some(value)));
        (self.places.len() as u32 - 1, 0)
    }

    /// What is at `index`, if it is still of that generation.
    pub(crate) fn get_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let place = self.places.get_mut(index as usize)?;
        if place.0 == generation { place.1.as_mut() } else { None }
    }

    /// What is at `index`, of whatever generation.
    pub(crate) fn current(&mut self, index: u32) -> Option<&mut T> {
        self.places.get_mut(index as usize)?.1.as_mut()
    }

    /// The generation at `index`.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.places.get(index as usize).map_or(0, |place| place.0)
    }

    /// Frees `index`.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let place = self.places.get_mut(index as usize)?;
        let value = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }
}
