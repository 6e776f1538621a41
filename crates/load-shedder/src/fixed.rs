use crate::{LimitAlgorithm, LimitRange, LoadShedderError, Window};

/// A limit that stays as it is set.
///
/// ```
/// use seawall_load_shedder::{Fixed, LoadShedder};
///
/// let shedder = LoadShedder::with_algorithm(Fixed::new(8)?);
/// shedder.adjust(|fixed| fixed.set(9))?;
/// assert_eq!(shedder.limit(), 9);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    limit: u32,
}

impl Fixed {
    /// A limit of 1 to 65,535.
    ///
    /// # Errors
    /// [`LoadShedderError::Limits`] outside that range.
    pub fn new(limit: u32) -> Result<Self, LoadShedderError> {
        LimitRange::new(limit, limit, limit).map(|_| Self { limit })
    }

    /// Another limit.
    ///
    /// # Errors
    /// [`LoadShedderError::Limits`] outside 1 to 65,535; the limit stays as it was.
    pub fn set(&mut self, limit: u32) -> Result<(), LoadShedderError> {
        *self = Self::new(limit)?;
        Ok(())
    }
}

impl LimitAlgorithm for Fixed {
    fn limit(&self) -> f64 {
        self.limit.into()
    }

    fn update(&mut self, _: &Window) {}
}
