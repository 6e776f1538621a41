//! One contract for every database and one for every cache.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

#[cfg(feature = "servers")]
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use four_plane::data::{self, City};
use four_plane::link::{InstanceOptions, Role, StateMode};
use four_plane::state::catalog::{KNOWN_BEYOND, KNOWN_USERS, TOGETHER_KEPT};
use four_plane::state::connect::{self, Dial};
use four_plane::state::popularity::{HALF_LIFE, TOGETHER_HALF_LIFE};
use four_plane::state::provision::chain;
use four_plane::state::views::Views;
use four_plane::state::{Cache, Catalog, Counted, Embedded, MemoryCache, View, provision};
use seawall_core::MonotonicClock;
use support::{Stack, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn ids(cities: &[City]) -> Vec<u32> {
    cities.iter().map(|city| city.id).collect()
}

fn counts(counted: &[Counted]) -> Vec<(u32, u64)> {
    counted.iter().map(|counted| (counted.item.id, counted.count)).collect()
}

/// A moment of a day in 2026, this many tenths of a view's half-life after another one.
fn after(tenths: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) + tenths * HALF_LIFE / 10
}

fn view(user: &str, item: u32) -> View {
    View { user: Some(user.to_owned()), item }
}

/// Everything that [`Catalog`] promises. The database has seen no view before.
async fn is_a_catalog(catalog: &dyn Catalog) -> anyhow::Result<()> {
    let cities = data::cities();
    let largest: Vec<u32> = ids(&cities[..5]);
    finds_items(catalog, cities).await?;
    searches(catalog).await?;

    assert_eq!(ids(&catalog.largest(5).await?), largest);
    assert_eq!(catalog.largest(0).await?, []);
    assert_eq!(catalog.popular(5, after(0)).await?, []);
    assert_eq!(catalog.recommended("ann", 5, after(0)).await?, []);

    counts_views(catalog, &largest).await?;
    lets_what_is_popular_give_way(catalog, &largest).await?;
    forgets_what_is_long_ago(catalog, cities).await?;
    lets_what_was_seen_together_fade(catalog, &cities[120..123]).await?;
    keeps_what_is_seen_together_most(catalog, &cities[200..]).await?;
    forgets_who_stays_away(catalog, &cities[130..133]).await?;
    Ok(())
}

async fn finds_items(catalog: &dyn Catalog, cities: &[City]) -> anyhow::Result<()> {
    assert_eq!(catalog.item(cities[7].id).await?, Some(cities[7].clone()));
    assert_eq!(catalog.item(cities[20_000].id).await?, Some(cities[20_000].clone()));
    assert_eq!(catalog.item(1).await?, None);
    assert_eq!(catalog.item(u32::MAX).await?, None);
    Ok(())
}

async fn searches(catalog: &dyn Catalog) -> anyhow::Result<()> {
    let names = |cities: Vec<City>| cities.into_iter().map(|city| city.name).collect::<Vec<_>>();

    assert_eq!(names(catalog.search("SAO PAUL", 2).await?)[0], "São Paulo");
    assert_eq!(names(catalog.search("são paul", 1).await?), ["São Paulo"]);
    // York begins with it; New York City only holds it, but is larger.
    let york = names(catalog.search("york", 10).await?);
    assert!(york.iter().position(|name| name == "York") < york.iter().position(|name| name == "New York City"));
    assert_eq!(ids(&catalog.search("berlin", 3).await?)[0], 2_950_159);
    assert_eq!(catalog.search("a", 17).await?.len(), 17);
    assert_eq!(catalog.search("a", 0).await?, []);
    for nothing in ["", " ", "%", "_", "\\", "'", "no such place"] {
        assert_eq!(catalog.search(nothing, 5).await?, [], "{nothing:?}");
    }
    // Signs that mean something to a pattern mean themselves.
    assert_eq!(catalog.search("a%", 5).await?, []);
    assert_eq!(catalog.search("a_a", 5).await?, []);
    Ok(())
}

async fn counts_views(catalog: &dyn Catalog, items: &[u32]) -> anyhow::Result<()> {
    let [a, b, c, d, _] = items else { bail!("five items") };
    catalog.record_views(&[view("ann", *c), view("ann", *a), View { user: None, item: *c }], after(0)).await?;
    catalog.record_views(&[view("bob", *b), view("bob", *a), view("bob", *a), view("bob", 1)], after(0)).await?;
    catalog.record_views(&[], after(0)).await?;

    // Ties go to the larger city.
    assert_eq!(counts(&catalog.popular(5, after(0)).await?), [(*a, 3), (*c, 2), (*b, 1)]);
    assert_eq!(counts(&catalog.popular(1, after(0)).await?), [(*a, 3)]);
    assert_eq!(counts(&catalog.seen_together(*a, 5, after(0)).await?), [(*b, 1), (*c, 1)]);
    assert_eq!(counts(&catalog.seen_together(*a, 1, after(0)).await?), [(*b, 1)]);
    assert_eq!(catalog.seen_together(*d, 5, after(0)).await?, []);
    assert_eq!(counts(&catalog.recommended("ann", 5, after(0)).await?), [(*b, 1)]);
    assert_eq!(counts(&catalog.recommended("bob", 5, after(0)).await?), [(*c, 1)]);

    catalog.record_views(&[view("cem", *c), view("cem", *a)], after(0)).await?;
    assert_eq!(counts(&catalog.seen_together(*a, 5, after(0)).await?), [(*c, 2), (*b, 1)]);
    Ok(())
}

/// After [`counts_views`], `a` has 4 views and `c` 3, all of one moment.
async fn lets_what_is_popular_give_way(catalog: &dyn Catalog, items: &[u32]) -> anyhow::Result<()> {
    let [a, b, c, d, _] = items else { bail!("five items") };
    let seen = |item: &u32| View { user: None, item: *item };

    // Weights: .57, .27, .07.
    assert_eq!(counts(&catalog.popular(5, after(8)).await?), [(*a, 2), (*c, 2), (*b, 1)]);
    assert_eq!(counts(&catalog.popular(5, after(19)).await?), [(*a, 1), (*c, 1)]);
    assert_eq!(counts(&catalog.popular(5, after(39)).await?), []);

    catalog.record_views(&[seen(d), seen(d)], after(19)).await?;
    assert_eq!(counts(&catalog.popular(5, after(19)).await?), [(*d, 2), (*a, 1), (*c, 1)]);
    // What is still warm counts with what is new, and what comes late counts as what it is.
    catalog.record_views(&[seen(c), seen(c)], after(19)).await?;
    catalog.record_views(&[seen(d)], after(0)).await?;
    assert_eq!(counts(&catalog.popular(5, after(19)).await?), [(*c, 3), (*d, 2), (*a, 1)]);
    assert_eq!(counts(&catalog.popular(5, after(34)).await?), [(*c, 1), (*d, 1)]);
    Ok(())
}

async fn forgets_what_is_long_ago(catalog: &dyn Catalog, cities: &[City]) -> anyhow::Result<()> {
    let visited: Vec<View> = cities[100..112].iter().map(|city| view("dee", city.id)).collect();
    catalog.record_views(&visited, after(0)).await?;

    // The twelfth came when the first two were no longer among the last ten.
    let with_last = catalog.seen_together(cities[111].id, 20, after(0)).await?;
    assert_eq!(ids(&with_last.into_iter().map(|counted| counted.item).collect::<Vec<_>>()), ids(&cities[101..111]));
    Ok(())
}

async fn lets_what_was_seen_together_fade(catalog: &dyn Catalog, items: &[City]) -> anyhow::Result<()> {
    let [a, b, c] = items else { bail!("three items") };
    let later = |tenths: u32| after(0) + tenths * TOGETHER_HALF_LIFE / 10;
    for (user, other) in [("eva", b), ("fay", b), ("gus", b), ("gus", c)] {
        catalog.record_views(&[view(user, a.id), view(user, other.id)], after(0)).await?;
    }

    assert_eq!(counts(&catalog.seen_together(a.id, 5, after(0)).await?), [(b.id, 3), (c.id, 1)]);
    // Weights: .54 and .47 of each.
    assert_eq!(counts(&catalog.seen_together(a.id, 5, later(9)).await?), [(b.id, 2), (c.id, 1)]);
    assert_eq!(counts(&catalog.seen_together(a.id, 5, later(11)).await?), [(b.id, 1)]);
    assert_eq!(counts(&catalog.recommended("eva", 5, later(9)).await?), [(c.id, 1)]);
    assert_eq!(counts(&catalog.recommended("eva", 5, later(11)).await?), []);
    assert_eq!(catalog.seen_together(a.id, 5, later(26)).await?, []);
    Ok(())
}

/// The item is seen together twice with the last of the others that may be kept, and once with many more.
async fn keeps_what_is_seen_together_most(catalog: &dyn Catalog, items: &[City]) -> anyhow::Result<()> {
    let (item, others) = items.split_first().context("an item")?;
    let (once, twice) = (&others[..=TOGETHER_KEPT], &others[TOGETHER_KEPT + 1..=2 * TOGETHER_KEPT]);
    for (turn, others) in [(0, twice), (1, twice), (2, once)] {
        for other in others {
            let user = format!("pair {turn} {}", other.id);
            catalog.record_views(&[view(&user, item.id), view(&user, other.id)], after(0)).await?;
        }
    }

    let known = catalog.seen_together(item.id, items.len(), after(0)).await?;
    assert_eq!(counts(&known), twice.iter().map(|city| (city.id, 2)).collect::<Vec<_>>());
    Ok(())
}

async fn forgets_who_stays_away(catalog: &dyn Catalog, items: &[City]) -> anyhow::Result<()> {
    let [a, b, c] = items else { bail!("three items") };
    catalog.record_views(&[view("hal", a.id), view("hal", b.id)], after(0)).await?;
    catalog.record_views(&[view("ida", a.id), view("jon", a.id)], after(0)).await?;
    assert_eq!(counts(&catalog.recommended("ida", 5, after(0)).await?), [(b.id, 1)]);

    let strangers: Vec<View> = (0..KNOWN_USERS + KNOWN_BEYOND).map(|user| view(&user.to_string(), c.id)).collect();
    let (some, others) = strangers.split_at(KNOWN_USERS / 2);
    catalog.record_views(some, after(0)).await?;
    catalog.record_views(&[view("jon", a.id)], after(0)).await?;
    for some in others.chunks(KNOWN_USERS / 4) {
        catalog.record_views(some, after(0)).await?;
    }

    assert_eq!(catalog.recommended("ida", 5, after(0)).await?, []);
    assert_eq!(counts(&catalog.recommended("jon", 5, after(0)).await?), [(b.id, 1)]);
    Ok(())
}

/// Everything that [`Cache`] promises, as far as no time passes.
async fn is_a_cache(cache: &dyn Cache) -> anyhow::Result<()> {
    let minute = Duration::from_mins(1);
    assert_eq!(cache.get("a").await?, None);

    cache.set("a", Bytes::from_static(b"one"), minute).await?;
    cache.set("key with \r\n and é", Bytes::from_static(b"\0\r\n\xff"), minute).await?;
    let found = cache.get("a").await?.context("it is there")?;
    assert_eq!(found.value, "one");
    assert!(found.remaining <= minute && found.remaining > Duration::from_secs(30), "{:?}", found.remaining);
    assert_eq!(cache.get("key with \r\n and é").await?.context("it is there")?.value, &b"\0\r\n\xff"[..]);

    cache.set("a", Bytes::from_static(b""), Duration::from_mins(2)).await?;
    let found = cache.get("a").await?.context("it is there")?;
    assert_eq!(found.value, "");
    assert!(found.remaining > minute);

    cache.delete("a").await?;
    cache.delete("a").await?;
    assert_eq!(cache.get("a").await?, None);

    cache.set("short", Bytes::from_static(b"x"), Duration::ZERO).await?;
    until("an entry goes when its time is over", async || matches!(cache.get("short").await, Ok(None))).await;

    let large = Bytes::from(vec![7; 1 << 20]);
    cache.set("large", large.clone(), minute).await?;
    assert_eq!(cache.get("large").await?.context("it is there")?.value, large);
    Ok(())
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
    is_a_catalog(&Embedded::new(data::cities(), Views::default())).await.unwrap();
}

#[tokio::test]
async fn the_embedded_cache_is_a_cache() {
    is_a_cache(&MemoryCache::new(MonotonicClock)).await.unwrap();
}

#[tokio::test]
async fn the_embedded_parts_keep_their_promises_over_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let (_stack, catalog, cache) = over_the_wire(embedded(folder.path())).await;

    is_a_catalog(&*catalog).await.unwrap();
    is_a_cache(&*cache).await.unwrap();
}

#[tokio::test]
async fn views_of_the_embedded_database_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let item = data::cities()[3].id;
    let (mut stack, catalog, _) = over_the_wire(embedded(folder.path())).await;
    catalog.record_views(&[view("ann", item)], after(0)).await.unwrap();
    stack.drain(Role::State, 1).await;

    let (_stack, catalog, _) = over_the_wire(embedded(folder.path())).await;

    assert_eq!(counts(&catalog.popular(5, after(0)).await.unwrap()), [(item, 1)]);
}

/// Passes connections on to `target`, but hangs up once instead of passing on an answer when it is told to.
async fn cutting(target: SocketAddr, cut: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.expect("the state instance listens");
            let cut = Arc::clone(&cut);
            tokio::spawn(async move {
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let asking = async move { tokio::io::copy(&mut from_client, &mut to_server).await };
                let answering = async move {
                    let mut piece = vec![0; 1 << 16];
                    while let Ok(length @ 1..) = from_server.read(&mut piece).await {
                        if cut.swap(false, Relaxed) || to_client.write_all(&piece[..length]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    _ = asking => {}
                    () = answering => {}
                }
            });
        }
    });
    address
}

/// The answer is lost on a connection that has served before: asking again would seem safe, and would count twice.
async fn counts_views_once_when_the_answer_is_lost(options: InstanceOptions) {
    let (stack, _, _) = over_the_wire(options).await;
    let state = stack.at(Role::State, 1);
    let cut = Arc::new(AtomicBool::new(false));
    let database = cutting(state.service, Arc::clone(&cut)).await;
    let parts = stack.topology().borrow().state.clone().expect("it has said so");
    let catalog = connect::database(&Dial::fixed(database, state.cache.expect("it listens for both"), parts));
    let item = data::cities()[3].id;
    assert_eq!(catalog.largest(1).await.expect("an answer").len(), 1);

    cut.store(true, Relaxed);
    let lost = catalog.record_views(&[view("ann", item)], after(0)).await;

    assert!(lost.is_err() && !cut.load(Relaxed), "{lost:?}");
    assert_eq!(counts(&catalog.popular(5, after(0)).await.expect("an answer")), [(item, 1)]);
}

#[tokio::test]
async fn a_view_whose_answer_is_lost_is_counted_once_by_the_embedded_database() {
    let folder = tempfile::tempdir().unwrap();

    counts_views_once_when_the_answer_is_lost(embedded(folder.path())).await;
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
        catalog.largest(1).await.is_err_and(|error| chain(&error).ends_with("no state instance is up"))
    })
    .await;
    stack.start(Role::State, 1).await;

    until("the database answers again", async || catalog.largest(1).await.is_ok_and(|found| found.len() == 1)).await;
    until("the cache answers again", async || matches!(cache.get("a").await, Ok(None))).await;
}

#[tokio::test]
async fn urls_that_nothing_answers_at_are_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let options = embedded(folder.path());
    let refused = |text: &str| text.contains("Connection refused");

    for (database_url, redis_url, start) in [
        (Some(format!("postgresql://me:pw@{free}/db")), None, format!("the database at {free} cannot be reached: ")),
        (None, Some(format!("redis://:pw@{free}")), format!("the cache at {free} cannot be reached: ")),
    ] {
        let options = InstanceOptions { database_url, redis_url, ..options.clone() };

        let text = provision(&options).await.unwrap_err().to_string();

        assert!(text.starts_with(&start) && refused(&text), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_at_which_nobody_speaks_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();

    for (database_url, redis_url, part) in [
        (Some(format!("postgresql://me@{address}/db")), None, "database"),
        (None, Some(format!("redis://{address}")), "cache"),
    ] {
        let options = InstanceOptions { database_url, redis_url, ..embedded(folder.path()) };

        let text = provision(&options).await.unwrap_err().to_string();

        assert_eq!(text, format!("the {part} at {address} cannot be used: it does not answer within 3s"));
    }
}

#[tokio::test]
async fn urls_of_another_form_are_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    for (database_url, redis_url, start) in [
        (Some("postgresql://me@/db"), None, "database url is not of the form postgresql://"),
        (Some("mysql://host/db"), None, "database url is not of the form postgresql://"),
        (None, Some("http://host"), "redis url is not of the form redis://"),
    ] {
        let (database_url, redis_url) = (database_url.map(ToOwned::to_owned), redis_url.map(ToOwned::to_owned));
        let options = InstanceOptions { database_url, redis_url, ..embedded(folder.path()) };

        let text = provision(&options).await.unwrap_err().to_string();

        assert!(text.starts_with(start), "{text}");
    }
}
