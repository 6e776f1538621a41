//! Views, counted: which items are popular, and which are seen together.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use quick_cache::unsync::Cache;
use serde::{Deserialize, Serialize};

use super::catalog::{RECENT_ITEMS, View};
use super::popularity::Heat;

/// Users whose history is kept; of more, those who come least are forgotten.
const MAX_USERS: usize = 20_000;
/// Items kept beside each one as seen together with it; of more, the rarest goes. More than any list that is asked for.
const MAX_TOGETHER: usize = 200;

/// Counts of views, bounded in users and in pairs.
#[derive(Debug)]
pub struct Views {
    heat: HashMap<u32, Heat>,
    together: HashMap<u32, HashMap<u32, u64>>,
    /// Latest first.
    recent: Cache<String, VecDeque<u32>>,
}

/// [`Views`] as they are kept on disk.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
pub struct ViewsImage {
    heat: HashMap<u32, Heat>,
    together: HashMap<u32, HashMap<u32, u64>>,
    recent: HashMap<String, VecDeque<u32>>,
}

impl Default for Views {
    fn default() -> Self {
        Self { heat: HashMap::new(), together: HashMap::new(), recent: Cache::new(MAX_USERS) }
    }
}

impl Views {
    /// What an image holds.
    pub fn from_image(image: ViewsImage) -> Self {
        let mut recent = Cache::new(MAX_USERS);
        for (user, items) in image.recent {
            recent.insert(user, items);
        }
        Self { heat: image.heat, together: image.together, recent }
    }

    /// A copy to be kept on disk.
    pub fn image(&self) -> ViewsImage {
        ViewsImage {
            heat: self.heat.clone(),
            together: self.together.clone(),
            recent: self.recent.iter().map(|(user, items)| (user.clone(), items.clone())).collect(),
        }
    }

    /// Counts one view.
    pub fn record(&mut self, view: &View, at: SystemTime) {
        let fresh = Heat::of_view(at);
        self.heat.entry(view.item).and_modify(|heat| *heat = heat.with(fresh)).or_insert(fresh);
        let Some(user) = &view.user else { return };
        let mut recent = self.recent.remove(user.as_str()).map_or_else(VecDeque::new, |(_, items)| items);
        if let Some(place) = recent.iter().position(|item| *item == view.item) {
            recent.remove(place);
        } else {
            for other in &recent {
                count_together(&mut self.together, view.item, *other);
                count_together(&mut self.together, *other, view.item);
            }
        }
        recent.push_front(view.item);
        recent.truncate(RECENT_ITEMS);
        self.recent.insert(user.clone(), recent);
    }

    /// The items that are popular now.
    pub fn popular(&self, now: SystemTime) -> impl Iterator<Item = (u32, Heat)> {
        let least = Heat::least(now);
        self.heat.iter().filter(move |(_, heat)| **heat >= least).map(|(item, heat)| (*item, *heat))
    }

    /// What was seen together with this item.
    pub fn together(&self, item: u32) -> impl Iterator<Item = (u32, u64)> {
        self.together.get(&item).into_iter().flatten().map(|(other, count)| (*other, *count))
    }

    /// What was seen together with the user's latest items, these left out.
    pub fn recommended(&self, user: &str) -> HashMap<u32, u64> {
        let mut scores: HashMap<u32, u64> = HashMap::new();
        let Some(recent) = self.recent.get(user) else { return scores };
        for (other, count) in recent.iter().flat_map(|item| self.together(*item)) {
            if !recent.contains(&other) {
                let score = scores.entry(other).or_default();
                *score = score.saturating_add(count);
            }
        }
        scores
    }
}

fn count_together(together: &mut HashMap<u32, HashMap<u32, u64>>, item: u32, other: u32) {
    let others = together.entry(item).or_default();
    if others.len() >= MAX_TOGETHER && !others.contains_key(&other) {
        let rarest = others.iter().min_by_key(|(_, count)| **count).map(|(rarest, _)| *rarest);
        if let Some(rarest) = rarest {
            others.remove(&rarest);
        }
    }
    let count = others.entry(other).or_default();
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
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
        views.popular(AT).map(|(item, heat)| (item, heat.views(AT))).collect()
    }

    #[test]
    fn a_view_without_a_user_counts_but_is_seen_together_with_nothing() {
        let views = seen(&[View { user: None, item: 1 }, View { user: None, item: 2 }]);

        assert_eq!(counts(&views), HashMap::from([(1, 1), (2, 1)]));
        assert_eq!(views.together(1).count(), 0);
    }

    #[test]
    fn viewing_an_item_again_counts_the_view_but_not_the_pair() {
        let views = seen(&[view("a", 1), view("a", 2), view("a", 1)]);

        assert_eq!(counts(&views), HashMap::from([(1, 2), (2, 1)]));
        assert_eq!(views.together(1).collect::<Vec<_>>(), [(2, 1)]);
        assert_eq!(views.together(2).collect::<Vec<_>>(), [(1, 1)]);
    }

    #[test]
    fn only_the_latest_items_of_a_user_count() {
        let last = u32::try_from(RECENT_ITEMS).unwrap();
        let views = seen(&(0..=last).map(|item| view("a", item)).collect::<Vec<_>>());

        assert_eq!(views.together(last).count(), RECENT_ITEMS);
        let views = seen(&(0..=last.saturating_add(1)).map(|item| view("a", item)).collect::<Vec<_>>());
        assert!(views.together(0).all(|(other, _)| other != last.saturating_add(1)));
    }

    #[test]
    fn what_others_saw_together_is_recommended_and_what_the_user_saw_is_not() {
        let views = seen(&[view("a", 1), view("a", 2), view("a", 3), view("b", 2), view("b", 1)]);

        assert_eq!(views.recommended("b"), HashMap::from([(3, 2)]));
        assert_eq!(views.recommended("nobody"), HashMap::new());
    }

    #[test]
    fn pairs_of_one_item_are_bounded_and_the_rarest_goes() {
        let mut views = Views::default();
        for item in 1..=u32::try_from(MAX_TOGETHER).unwrap() {
            let user = item.to_string();
            let times = if item == 77 { 1 } else { 2 };
            for turn in 0..times {
                views.record(&view(&format!("{user}/{turn}"), item), AT);
                views.record(&view(&format!("{user}/{turn}"), 0), AT);
            }
        }

        views.record(&view("new", 9_999), AT);
        views.record(&view("new", 0), AT);

        let others: HashMap<_, _> = views.together(0).collect();
        assert_eq!(others.len(), MAX_TOGETHER);
        assert!(others.contains_key(&9_999));
        assert!(!others.contains_key(&77));
    }

    #[test]
    fn an_image_holds_everything() {
        let views = seen(&[view("a", 1), view("a", 2), view("b", 1)]);

        let again = Views::from_image(serde_json::from_str(&serde_json::to_string(&views.image()).unwrap()).unwrap());

        assert_eq!(again.image(), views.image());
        assert_eq!(again.recommended("b"), HashMap::from([(2, 1)]));
    }
}
