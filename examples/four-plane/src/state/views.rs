//! Views, counted: which items are popular, and which are seen together.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::catalog::{KNOWN_BEYOND, KNOWN_USERS, RECENT_ITEMS, TOGETHER_KEPT, View};
use super::popularity::{HALF_LIFE, Heat, TOGETHER_HALF_LIFE};

/// Counts of views, bounded in users and in pairs; and as such what is kept on disk.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Views {
    heat: HashMap<u32, Heat>,
    together: HashMap<u32, HashMap<u32, Heat>>,
    users: HashMap<String, History>,
    /// Goes up with each view.
    moment: u64,
}

/// What a user looked at.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
struct History {
    /// Latest first.
    items: VecDeque<u32>,
    /// Of the latest.
    moment: u64,
}

impl Views {
    /// Counts one view.
    pub fn record(&mut self, view: &View, at: SystemTime) {
        warm(&mut self.heat, view.item, Heat::fresh(at, HALF_LIFE));
        let Some(user) = &view.user else { return };
        self.moment = self.moment.saturating_add(1);
        let fresh = Heat::fresh(at, TOGETHER_HALF_LIFE);
        let history = self.users.entry(user.clone()).or_default();
        if let Some(place) = history.items.iter().position(|item| *item == view.item) {
            history.items.remove(place);
        } else {
            for other in &history.items {
                count_together(&mut self.together, view.item, *other, fresh);
                count_together(&mut self.together, *other, view.item, fresh);
            }
        }
        history.items.push_front(view.item);
        history.items.truncate(RECENT_ITEMS);
        history.moment = self.moment;
        if self.users.len() > KNOWN_USERS.saturating_add(KNOWN_BEYOND) {
            self.forget();
        }
    }

    /// Forgets the users who have stayed away longest.
    fn forget(&mut self) {
        let mut moments: Vec<u64> = self.users.values().map(|history| history.moment).collect();
        let surplus = moments.len().saturating_sub(KNOWN_USERS);
        if surplus < moments.len() {
            let (_, oldest_kept, _) = moments.select_nth_unstable(surplus);
            self.users.retain(|_, history| history.moment >= *oldest_kept);
        }
    }

    /// The items that are popular now.
    pub fn popular(&self, now: SystemTime) -> impl Iterator<Item = (u32, Heat)> {
        let least = Heat::least(now, HALF_LIFE);
        self.heat.iter().filter(move |(_, heat)| **heat >= least).map(|(item, heat)| (*item, *heat))
    }

    /// What was seen together with this item, and how often.
    pub fn together(&self, item: u32, now: SystemTime) -> impl Iterator<Item = (u32, f64)> {
        let least = Heat::least(now, TOGETHER_HALF_LIFE);
        let others = self.together.get(&item).into_iter().flatten().filter(move |(_, heat)| **heat >= least);
        others.map(move |(other, heat)| (*other, heat.weight(now, TOGETHER_HALF_LIFE)))
    }

    /// What was seen together with the user's latest items, these left out.
    pub fn recommended(&self, user: &str, now: SystemTime) -> HashMap<u32, f64> {
        let mut weights: HashMap<u32, f64> = HashMap::new();
        let Some(History { items, .. }) = self.users.get(user) else { return weights };
        for (other, weight) in items.iter().flat_map(|item| self.together(*item, now)) {
            if !items.contains(&other) {
                *weights.entry(other).or_default() += weight;
            }
        }
        weights
    }
}

fn warm(known: &mut HashMap<u32, Heat>, item: u32, fresh: Heat) {
    known.entry(item).and_modify(|heat| *heat = heat.with(fresh)).or_insert(fresh);
}

fn count_together(together: &mut HashMap<u32, HashMap<u32, Heat>>, item: u32, other: u32, fresh: Heat) {
    let others = together.entry(item).or_default();
    warm(others, other, fresh);
    if others.len() > TOGETHER_KEPT.saturating_mul(2) {
        let mut ranked: Vec<(Heat, u32)> = others.iter().map(|(other, heat)| (*heat, *other)).collect();
        // Of equals those with the smaller ids stay.
        ranked.sort_unstable_by(|(heat, id), (other_heat, other_id)| other_heat.cmp(heat).then(id.cmp(other_id)));
        for (_, surplus) in ranked.iter().skip(TOGETHER_KEPT) {
            others.remove(surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::popularity::whole;
    use super::*;

    fn view(user: &str, item: u32) -> View {
        View { user: Some(user.to_owned()), item }
    }

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn seen(views: &[View]) -> Views {
        let mut counted = Views::default();
        for view in views {
            counted.record(view, AT);
        }
        counted
    }

    fn counts(views: &Views) -> HashMap<u32, u64> {
        views.popular(AT).map(|(item, heat)| (item, heat.count(AT, HALF_LIFE))).collect()
    }

    fn together(views: &Views, item: u32) -> HashMap<u32, u64> {
        views.together(item, AT).map(|(other, weight)| (other, whole(weight))).collect()
    }

    #[test]
    fn a_view_without_a_user_counts_but_is_seen_together_with_nothing() {
        let views = seen(&[View { user: None, item: 1 }, View { user: None, item: 2 }]);

        assert_eq!(counts(&views), HashMap::from([(1, 1), (2, 1)]));
        assert_eq!(together(&views, 1).len(), 0);
    }

    #[test]
    fn viewing_an_item_again_counts_the_view_but_not_the_pair() {
        let views = seen(&[view("a", 1), view("a", 2), view("a", 1)]);

        assert_eq!(counts(&views), HashMap::from([(1, 2), (2, 1)]));
        assert_eq!(together(&views, 1), HashMap::from([(2, 1)]));
        assert_eq!(together(&views, 2), HashMap::from([(1, 1)]));
    }

    #[test]
    fn only_the_latest_items_of_a_user_count() {
        let last = u32::try_from(RECENT_ITEMS).unwrap();
        let views = seen(&(0..=last).map(|item| view("a", item)).collect::<Vec<_>>());

        assert_eq!(together(&views, last).len(), RECENT_ITEMS);
        let views = seen(&(0..=last.saturating_add(1)).map(|item| view("a", item)).collect::<Vec<_>>());
        assert!(!together(&views, 0).contains_key(&last.saturating_add(1)));
    }

    #[test]
    fn what_others_saw_together_is_recommended_and_what_the_user_saw_is_not() {
        let views = seen(&[view("a", 1), view("a", 2), view("a", 3), view("b", 2), view("b", 1)]);

        let to = |user| views.recommended(user, AT).into_keys().collect::<Vec<_>>();
        assert_eq!((to("b"), to("nobody")), (vec![3], vec![]));
    }

    #[test]
    fn of_more_users_than_are_kept_those_who_stay_away_longest_are_forgotten() {
        let mut views = seen(&[view("gone", 1), view("regular", 1)]);
        let comes = |views: &mut Views, users: std::ops::Range<usize>| {
            users.for_each(|user| views.record(&view(&user.to_string(), 2), AT));
        };

        comes(&mut views, 0..KNOWN_USERS / 2);
        views.record(&view("regular", 3), AT);
        comes(&mut views, KNOWN_USERS / 2..KNOWN_USERS + KNOWN_BEYOND - 2);
        assert_eq!(views.users.len(), KNOWN_USERS + KNOWN_BEYOND);
        views.record(&view("one more", 2), AT);

        assert_eq!(views.users.len(), KNOWN_USERS);
        let known = |user| views.users.contains_key(user);
        assert_eq!((known("gone"), known("regular"), known("one more")), (false, true, true));
    }

    #[test]
    fn what_is_kept_on_disk_holds_everything() {
        let views = seen(&[view("a", 1), view("a", 2), view("b", 1)]);

        let again: Views = serde_json::from_str(&serde_json::to_string(&views).unwrap()).unwrap();

        assert_eq!(again, views);
    }
}
