//! The same contract over real servers: `cargo test -p four-plane --features servers`. One that is not installed fails.

use std::os::unix::fs::PermissionsExt as _;

use four_plane::link::FaultKind;
use four_plane::state::{Backend, Provisioned};

use super::*;

/// A folder that PostgreSQL's own user can pass through.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).expect("permissions that can be set");
    folder
}

fn auto(data: &std::path::Path) -> InstanceOptions {
    InstanceOptions { data: data.to_owned(), state: StateMode::Auto, ..InstanceOptions::default() }
}

async fn started(data: &std::path::Path) -> Provisioned {
    let provisioned = provision(&auto(data)).await.expect("servers that start");
    assert_eq!(provisioned.notes, [""; 0]);
    assert!(provisioned.database.url().is_some(), "PostgreSQL is not installed");
    assert!(provisioned.cache.url().is_some(), "Redis is not installed");
    provisioned
}

async fn answers(backend: &Backend) -> bool {
    match backend {
        Backend::Server { host, port, .. } => TcpStream::connect((host.as_str(), *port)).await.is_ok(),
        Backend::Embedded => false,
    }
}

#[tokio::test]
async fn postgresql_and_redis_keep_the_promises_over_the_wire_and_views_survive() {
    let folder = folder();
    let (mut stack, catalog, cache) = over_the_wire(auto(folder.path())).await;
    let parts = stack.topology().borrow().state.clone().unwrap();
    assert_eq!((parts.database.as_str(), parts.cache.as_str()), ("postgresql", "redis"));

    is_a_catalog(&*catalog).await.unwrap();
    is_a_cache(&*cache).await.unwrap();
    let popular = catalog.popular(20, after(34)).await.unwrap();
    stack.drain(Role::State, 1).await;
    stack.forget(Role::State, 1);

    let (_stack, catalog, _) = over_the_wire(auto(folder.path())).await;
    assert_eq!(catalog.popular(20, after(34)).await.unwrap(), popular);
}

#[tokio::test]
async fn a_view_whose_answer_is_lost_is_counted_once_by_postgresql() {
    let folder = folder();

    counts_views_once_when_the_answer_is_lost(auto(folder.path())).await;
}

#[tokio::test]
async fn a_redis_that_is_flushed_forgets_what_the_stack_put_there_and_nothing_else() {
    let folder = folder();
    let (stack, _, cache) = over_the_wire(auto(folder.path())).await;
    let minute = Duration::from_mins(1);
    // More than one step of the search for them finds.
    for number in 0..2_500 {
        cache.set(&format!("four-plane:1:item:{number}"), Bytes::from_static(b"a city"), minute).await.unwrap();
    }
    cache.set("somebody-else", Bytes::from_static(b"a thing"), minute).await.unwrap();

    stack.inject(&[(FaultKind::Flush, "cache", 0.0)]);

    for number in [0, 1_249, 2_499] {
        let key = format!("four-plane:1:item:{number}");
        until(&key, async || cache.get(&key).await.unwrap().is_none()).await;
    }
    assert!(cache.get("somebody-else").await.unwrap().is_some());
}

#[tokio::test]
async fn servers_that_are_given_by_url_are_used_and_not_stopped() {
    let folder = folder();
    let servers = started(folder.path()).await;
    let given = InstanceOptions {
        state: StateMode::Embedded,
        database_url: servers.database.url(),
        redis_url: servers.cache.url(),
        ..auto(folder.path())
    };

    let (mut stack, catalog, cache) = over_the_wire(given).await;
    assert_eq!(catalog.largest(1).await.unwrap(), data::cities()[..1]);
    assert_eq!(cache.get("a").await.unwrap(), None);
    stack.drain(Role::State, 1).await;

    assert!(answers(&servers.database).await);
    assert!(answers(&servers.cache).await);
    servers.stop().await;
}

#[tokio::test]
async fn servers_end_with_whoever_started_them() {
    let folder = folder();
    let servers = started(folder.path()).await;
    let (database, cache) = (servers.database.clone(), servers.cache.clone());
    assert!(answers(&database).await && answers(&cache).await);

    // Closes the pipes, as the end of the process does.
    drop(servers);

    until("both are gone", async || !answers(&database).await && !answers(&cache).await).await;
}

#[tokio::test]
async fn servers_are_started_again_while_those_before_them_still_stop() {
    let folder = folder();
    let before = started(folder.path()).await;

    drop(before);
    let again = started(folder.path()).await;

    assert!(answers(&again.database).await && answers(&again.cache).await);
    again.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_one_clear_line() {
    let folder = folder();
    let servers = started(folder.path()).await;
    let Backend::Server { port, .. } = servers.database else { panic!("a server") };
    let given = InstanceOptions {
        database_url: Some(format!("postgresql://four_plane:wrong@127.0.0.1:{port}/postgres")),
        ..embedded(folder.path())
    };

    let error = provision(&given).await.unwrap_err();

    let text = error.to_string();
    assert!(text.starts_with(&format!("the database at 127.0.0.1:{port} cannot be used: ")), "{text}");
    assert!(text.contains("password authentication failed") && !text.contains("wrong"), "{text}");
    servers.stop().await;
}
