//! One contract for every database and one for every cache.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use four_plane::data::{self, City};
use four_plane::link::{InstanceOptions, Role, StateMode};
use four_plane::state::connect::{self, Dial};
use four_plane::state::views::ViewsImage;
use four_plane::state::{Cache, Catalog, Counted, Embedded, MemoryCache, StateError, View};
use seawall_core::MonotonicClock;
use support::{Stack, until};

fn ids(cities: &[City]) -> Vec<u32> {
    cities.iter().map(|city| city.id).collect()
}

fn counts(counted: &[Counted]) -> Vec<(u32, u64)> {
    counted.iter().map(|counted| (counted.item.id, counted.count)).collect()
}

fn view(user: &str, item: u32) -> View {
    View { user: Some(user.to_owned()), item }
}

/// Everything that [`Catalog`] promises. The database has seen no view before.
async fn is_a_catalog(catalog: &dyn Catalog) {
    let cities = data::cities();
    let largest: Vec<u32> = ids(&cities[..5]);
    finds_items(catalog, cities).await;
    searches(catalog).await;

    assert_eq!(ids(&catalog.largest(5).await.unwrap()), largest);
    assert_eq!(catalog.largest(0).await.unwrap(), []);
    assert_eq!(catalog.popular(5).await.unwrap(), []);
    assert_eq!(catalog.recommended("ann", 5).await.unwrap(), []);

    counts_views(catalog, &largest).await;
    forgets_what_is_long_ago(catalog, cities).await;
}

async fn finds_items(catalog: &dyn Catalog, cities: &[City]) {
    assert_eq!(catalog.item(cities[7].id).await.unwrap(), Some(cities[7].clone()));
    assert_eq!(catalog.item(cities[20_000].id).await.unwrap(), Some(cities[20_000].clone()));
    assert_eq!(catalog.item(1).await.unwrap(), None);
    assert_eq!(catalog.item(u32::MAX).await.unwrap(), None);
}

async fn searches(catalog: &dyn Catalog) {
    let names = |cities: Vec<City>| cities.into_iter().map(|city| city.name).collect::<Vec<_>>();

    assert_eq!(names(catalog.search("SAO PAUL", 2).await.unwrap())[0], "São Paulo");
    assert_eq!(names(catalog.search("são paul", 1).await.unwrap()), ["São Paulo"]);
    // York begins with it; New York City only holds it, but is larger.
    let york = names(catalog.search("york", 10).await.unwrap());
    assert!(york.iter().position(|name| name == "York") < york.iter().position(|name| name == "New York City"));
    assert_eq!(ids(&catalog.search("berlin", 3).await.unwrap())[0], 2_950_159);
    assert_eq!(catalog.search("a", 17).await.unwrap().len(), 17);
    assert_eq!(catalog.search("a", 0).await.unwrap(), []);
    for nothing in ["", " ", "%", "_", "\\", "'", "no such place"] {
        assert_eq!(catalog.search(nothing, 5).await.unwrap(), [], "{nothing:?}");
    }
    // Signs that mean something to a pattern mean themselves.
    assert_eq!(catalog.search("a%", 5).await.unwrap(), []);
    assert_eq!(catalog.search("a_a", 5).await.unwrap(), []);
}

async fn counts_views(catalog: &dyn Catalog, items: &[u32]) {
    let [a, b, c, d, _] = items else { panic!("five items") };
    catalog.record_views(&[view("ann", *c), view("ann", *a), View { user: None, item: *c }]).await.unwrap();
    catalog.record_views(&[view("bob", *b), view("bob", *a), view("bob", *a), view("bob", 1)]).await.unwrap();
    catalog.record_views(&[]).await.unwrap();

    // Ties go to the larger city.
    assert_eq!(counts(&catalog.popular(5).await.unwrap()), [(*a, 3), (*c, 2), (*b, 1)]);
    assert_eq!(counts(&catalog.popular(1).await.unwrap()), [(*a, 3)]);
    assert_eq!(counts(&catalog.seen_together(*a, 5).await.unwrap()), [(*b, 1), (*c, 1)]);
    assert_eq!(counts(&catalog.seen_together(*a, 1).await.unwrap()), [(*b, 1)]);
    assert_eq!(catalog.seen_together(*d, 5).await.unwrap(), []);
    assert_eq!(counts(&catalog.recommended("ann", 5).await.unwrap()), [(*b, 1)]);
    assert_eq!(counts(&catalog.recommended("bob", 5).await.unwrap()), [(*c, 1)]);

    catalog.record_views(&[view("cem", *c), view("cem", *a)]).await.unwrap();
    assert_eq!(counts(&catalog.seen_together(*a, 5).await.unwrap()), [(*c, 2), (*b, 1)]);
}

async fn forgets_what_is_long_ago(catalog: &dyn Catalog, cities: &[City]) {
    let visited: Vec<View> = cities[100..112].iter().map(|city| view("dee", city.id)).collect();
    catalog.record_views(&visited).await.unwrap();

    // The twelfth came when the first two were no longer among the last ten.
    let with_last = catalog.seen_together(cities[111].id, 20).await.unwrap();
    assert_eq!(ids(&with_last.into_iter().map(|counted| counted.item).collect::<Vec<_>>()), ids(&cities[101..111]));
}

/// Everything that [`Cache`] promises, as far as no time passes.
async fn is_a_cache(cache: &dyn Cache) {
    let minute = Duration::from_secs(60);
    assert_eq!(cache.get("a").await.unwrap(), None);

    cache.set("a", Bytes::from_static(b"one"), minute).await.unwrap();
    cache.set("key with \r\n and é", Bytes::from_static(b"\0\r\n\xff"), minute).await.unwrap();
    let found = cache.get("a").await.unwrap().unwrap();
    assert_eq!(found.value, "one");
    assert!(found.remaining <= minute && found.remaining > minute / 2, "{:?}", found.remaining);
    assert_eq!(cache.get("key with \r\n and é").await.unwrap().unwrap().value, &b"\0\r\n\xff"[..]);

    cache.set("a", Bytes::from_static(b""), minute * 2).await.unwrap();
    let found = cache.get("a").await.unwrap().unwrap();
    assert_eq!(found.value, "");
    assert!(found.remaining > minute);

    cache.delete("a").await.unwrap();
    cache.delete("a").await.unwrap();
    assert_eq!(cache.get("a").await.unwrap(), None);

    cache.set("short", Bytes::from_static(b"x"), Duration::ZERO).await.unwrap();
    until("an entry goes when its time is over", async || cache.get("short").await.unwrap().is_none()).await;

    let large = Bytes::from(vec![7; 1 << 20]);
    cache.set("large", large.clone(), minute).await.unwrap();
    assert_eq!(cache.get("large").await.unwrap().unwrap().value, large);
}

/// The clients that services have, over this state instance's listeners.
async fn over_the_wire(options: InstanceOptions) -> (Stack, Arc<dyn Catalog>, Arc<dyn Cache>) {
    let mut stack = Stack::with_options(options);
    stack.start(Role::State, 1).await;
    let dial = Dial::new(stack.topology());
    (stack, connect::database(&dial), connect::cache(&dial))
}

fn embedded(data: &std::path::Path) -> InstanceOptions {
    InstanceOptions { data: data.to_owned(), state: StateMode::Embedded, ..InstanceOptions::default() }
}

#[tokio::test]
async fn the_embedded_database_is_a_catalog() {
    is_a_catalog(&Embedded::new(data::cities(), ViewsImage::default())).await;
}

#[tokio::test]
async fn the_embedded_cache_is_a_cache() {
    is_a_cache(&MemoryCache::new(MonotonicClock)).await;
}

#[tokio::test]
async fn the_embedded_parts_keep_their_promises_over_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let (_stack, catalog, cache) = over_the_wire(embedded(folder.path())).await;

    is_a_catalog(&*catalog).await;
    is_a_cache(&*cache).await;
}

#[tokio::test]
async fn views_of_the_embedded_database_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let item = data::cities()[3].id;
    let (mut stack, catalog, _) = over_the_wire(embedded(folder.path())).await;
    catalog.record_views(&[view("ann", item)]).await.unwrap();
    stack.drain(Role::State, 1).await;

    let (_stack, catalog, _) = over_the_wire(embedded(folder.path())).await;

    assert_eq!(counts(&catalog.popular(5).await.unwrap()), [(item, 1)]);
}

#[tokio::test]
async fn clients_find_the_state_instance_that_was_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stack, catalog, cache) = over_the_wire(embedded(folder.path())).await;
    assert_eq!(catalog.largest(1).await.unwrap().len(), 1);
    assert_eq!(cache.get("a").await.unwrap(), None);
    stack.drain(Role::State, 1).await;
    stack.forget(Role::State, 1);

    until("the client has let go of its connections", async || {
        matches!(catalog.largest(1).await, Err(StateError::Absent))
    })
    .await;
    stack.start(Role::State, 1).await;

    assert_eq!(catalog.largest(1).await.unwrap().len(), 1);
    until("the cache answers again", async || matches!(cache.get("a").await, Ok(None))).await;
}
