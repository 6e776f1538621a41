use seawall_core::Criticality;

/// Levels within a criticality: so many for what tenants ask for beyond their share, which fall first, and the others for users.
pub(crate) const BEYOND: u16 = 16;
const OF_A_CRITICALITY: u16 = 128;
const USERS: u64 = (OF_A_CRITICALITY - BEYOND) as u64;
pub(crate) const LEVELS: usize = 4 * OF_A_CRITICALITY as usize;
/// Of those that were let in so many in a hundred fewer after a window of overload, and more after another.
const FEWER: u64 = 5;
const MORE: u64 = 1;

/// How much one call matters among all: its criticality, and within that its user.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u16);

impl Level {
    /// The level of a call of `tenant`. One tenant has the same level among calls as critical for a whole `turn`, and another in
    /// the next: who is refused is refused consistently, and not for ever.
    pub const fn of(criticality: Criticality, tenant: u64, turn: u64) -> Self {
        let user = (mixed(tenant, turn) >> 32).wrapping_mul(USERS) >> 32;
        Self::within(criticality, BEYOND.saturating_add(user as u16))
    }

    /// The level of a call beyond its tenant's share: 0 falls first.
    pub(crate) const fn beyond_share(criticality: Criticality, rank: u16) -> Self {
        Self::within(criticality, if rank < BEYOND { rank } else { BEYOND.saturating_sub(1) })
    }

    const fn within(criticality: Criticality, level: u16) -> Self {
        Self((criticality as u16) << OF_A_CRITICALITY.ilog2() | level)
    }

    /// Its number: 0 goes first, 511 last.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// A number for each tenant and turn, of which all bits are worth the same.
pub(crate) const fn mixed(tenant: u64, turn: u64) -> u64 {
    let mixed = tenant.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ turn.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 29)
}

/// The level from which on calls are let in: it moves from window to window, so that whole criticalities go first, of the one that
/// goes in part the same users, and not some calls of everybody. A user whose page takes ten calls gets it or does not.
///
/// After a window of overload it rises until a twentieth fewer would have been let in, after any other it falls until a hundredth
/// more would have. The highest level is always let in.
///
/// ```
/// use seawall_core::Criticality;
/// use seawall_load_shedder::{AdmissionLevel, Level};
///
/// let mut threshold = AdmissionLevel::new();
/// for _ in 0..20 {
///     for tenant in 0..1_000 {
///         let criticality = if tenant % 2 == 0 { Criticality::Critical } else { Criticality::Sheddable };
///         threshold.admits(Level::of(criticality, tenant, 0));
///     }
///     threshold.close_window(true);
/// }
/// assert!(!threshold.would_admit(Level::of(Criticality::Default, 7, 0)), "a whole criticality is refused");
/// ```
///
/// # Source
/// Zhou and others, "Overload control for scaling `WeChat` microservices", `SoCC` 2018: DAGOR, algorithm 1.
#[derive(Debug, Clone)]
pub struct AdmissionLevel {
    from: usize,
    arrived: [u32; LEVELS],
}

impl Default for AdmissionLevel {
    fn default() -> Self {
        Self::new()
    }
}

impl AdmissionLevel {
    /// All are let in.
    pub const fn new() -> Self {
        Self { from: 0, arrived: [0; LEVELS] }
    }

    /// At the end of a window in which so many arrived of each level.
    pub(crate) fn of_window(from: u32, arrived: impl FnMut(usize) -> u32) -> Self {
        Self { from: usize::try_from(from).unwrap_or_default(), arrived: std::array::from_fn(arrived) }
    }

    /// Whether a call is let in; counts it.
    pub fn admits(&mut self, level: Level) -> bool {
        if let Some(arrived) = self.arrived.get_mut(usize::from(level.0)) {
            *arrived = arrived.saturating_add(1);
        }
        self.would_admit(level)
    }

    /// The same without counting.
    pub fn would_admit(&self, level: Level) -> bool {
        usize::from(level.0) >= self.from
    }

    /// The number of the lowest level that is let in.
    pub const fn lowest(&self) -> usize {
        self.from
    }

    /// A window is over, in which there was overload or not: the level moves, and the next begins.
    pub fn close_window(&mut self, overloaded: bool) {
        let mut within: u64 = self.arrived.iter().skip(self.from).map(|arrived| u64::from(*arrived)).sum();
        let part = |percent: u64| within.saturating_mul(percent) / 100;
        if overloaded {
            let wanted = within.saturating_sub(part(FEWER).max(1));
            while within > wanted && self.from < LEVELS.saturating_sub(1) {
                within = within.saturating_sub(self.at(self.from));
                self.from = self.from.saturating_add(1);
            }
        } else {
            let wanted = within.saturating_add(part(MORE).max(1));
            while within < wanted && self.from > 0 {
                self.from = self.from.saturating_sub(1);
                within = within.saturating_add(self.at(self.from));
            }
        }
        self.arrived = [0; LEVELS];
    }

    fn at(&self, level: usize) -> u64 {
        self.arrived.get(level).copied().unwrap_or_default().into()
    }
}
