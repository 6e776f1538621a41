//! What a PostgreSQL of our own is asked.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, task::JoinSet};
use tokio_postgres::NoTls;

use super::{LOOKUP_INDEX, Queries, RANGE_INDEX};
use crate::{
    clock,
    data::{self, City},
    link::{InstanceOptions, StateMode, StateParts},
    state::{
        Backend, Catalog, View,
        connect::{self, Dial},
        postgres::{ITEM, LARGEST, POPULAR},
        provision,
    },
    trial::Folder,
    verify::web::Stopwatch,
};

/// How often each kind of query is asked.
const ASKED: usize = 500;
const EVERY: Duration = Duration::from_millis(1);
const RATED: u32 = 2_000;
/// How often an item is looked for without the index.
const UNINDEXED: usize = 100;
/// How often a client that has no connection yet asks.
const FRESH: usize = 30;
/// Who looked at something before it is asked what was seen together.
const VISITORS: usize = 100;
/// How many items each of them looked at.
const VISITED: usize = 8;

/// Starts a PostgreSQL, if one is installed, and asks it.
pub(in crate::verify::measure) async fn observe() -> anyhow::Result<Queries> {
    let folder = Folder::new()?;
    let options =
        InstanceOptions { data: folder.path().to_owned(), state: StateMode::Auto, ..InstanceOptions::default() };
    let provisioned = provision(&options).await?;
    let observed = match &provisioned.database {
        Backend::Embedded => Ok(Queries::default()),
        Backend::Server { url, host, port } => asked(url, host, *port).await,
    };
    provisioned.stop().await;
    observed
}

async fn asked(url: &str, host: &str, port: u16) -> anyhow::Result<Queries> {
    let address: SocketAddr = format!("{host}:{port}").parse()?;
    let parts = StateParts {
        database: connect::POSTGRESQL.to_owned(),
        cache: connect::EMBEDDED.to_owned(),
        database_url: Some(url.to_owned()),
        redis_url: None,
    };
    let client = || connect::database(&Dial::fixed(address, address, parts.clone()));
    let catalog = client();
    let now = clock::wall();
    let cities = data::cities();
    for (visitor, seen) in cities.chunks(VISITED).take(VISITORS).enumerate() {
        let user = Some(format!("u{visitor}"));
        let neighbours = seen.iter().chain(cities.iter().take(VISITED));
        let views: Vec<View> = neighbours.map(|city| View { user: user.clone(), item: city.id }).collect();
        catalog.record_views(&views, now).await?;
    }
    let mut queries = Queries { server: true, ..Queries::default() };
    for (number, city) in spread(cities, ASKED) {
        timed(&mut queries.lookups, catalog.item(city.id)).await?;
        timed(&mut queries.ranges, catalog.largest(10)).await?;
        timed(&mut queries.joins, catalog.popular(10, now)).await?;
        let user = format!("u{}", number.checked_rem(VISITORS).unwrap_or_default());
        timed(&mut queries.aggregations, catalog.recommended(&user, 10, now)).await?;
        let typed: String = city.name.chars().take(4).collect();
        timed(&mut queries.searches, catalog.search(&typed, 10)).await?;
    }
    queries.connected = catalog.connections().map_or(0, |pool| pool.totals.created);
    for (_, city) in spread(cities, FRESH) {
        let fresh: Arc<dyn Catalog> = client();
        timed(&mut queries.fresh, fresh.item(city.id)).await?;
    }
    at_the_documents_rate(&client(), &mut queries).await?;
    explain(url, address, &mut queries).await?;
    Ok(queries)
}

/// An open loop: a query is sent when it is due, whether or not those before have been answered.
async fn at_the_documents_rate(catalog: &Arc<dyn Catalog>, queries: &mut Queries) -> anyhow::Result<()> {
    let (watch, mut asked) = (Stopwatch::start(), JoinSet::new());
    let mut pace = tokio::time::interval(EVERY);
    let cities = data::cities();
    for (_, city) in (0..RATED).zip(cities.iter().cycle()) {
        pace.tick().await;
        let (catalog, id) = (Arc::clone(catalog), city.id);
        asked.spawn(async move {
            let watch = Stopwatch::start();
            catalog.item(id).await.map(|_| watch.elapsed())
        });
    }
    while let Some(took) = asked.join_next().await {
        queries.rated.push(took??);
    }
    queries.rated_within = watch.elapsed();
    Ok(())
}

/// So many cities from all over the list.
fn spread(cities: &'static [City], count: usize) -> impl Iterator<Item = (usize, &'static City)> {
    let step = cities.len().checked_div(count).unwrap_or_default().max(1);
    cities.iter().step_by(step).take(count).enumerate()
}

async fn timed<T, E>(took: &mut Vec<Duration>, call: impl Future<Output = Result<T, E>>) -> Result<(), E> {
    let watch = Stopwatch::start();
    call.await?;
    took.push(watch.elapsed());
    Ok(())
}

async fn explain(url: &str, address: SocketAddr, queries: &mut Queries) -> anyhow::Result<()> {
    let config: tokio_postgres::Config = url.parse()?;
    let (client, connection) = config.connect_raw(TcpStream::connect(address).await?, NoTls).await?;
    let driver = tokio::spawn(connection);
    let plan = async |query: &str, parameter: &str| -> anyhow::Result<String> {
        let rows = client.query(&format!("explain {}", query.replace("$1", parameter)), &[]).await?;
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        Ok(lines.join("; "))
    };
    let columns = async |index: &str| -> anyhow::Result<i16> {
        let asked = format!("select indnatts from pg_index where indexrelid = 'four_plane.{index}'::regclass");
        Ok(client.query_one(&asked, &[]).await?.get(0))
    };
    queries.join_plan = plan(&POPULAR.replace("$2", "0"), "10").await?;
    let look_up = async |took: &mut Vec<Duration>| -> anyhow::Result<()> {
        // Anew: a statement that was prepared before keeps its plan.
        let lookup = client.prepare(ITEM).await?;
        for (_, city) in spread(data::cities(), UNINDEXED) {
            timed(took, client.query_one(&lookup, &[&i32::try_from(city.id)?])).await?;
        }
        Ok(())
    };
    look_up(&mut queries.indexed).await?;
    client.batch_execute("set enable_indexscan = off; set enable_bitmapscan = off").await?;
    look_up(&mut queries.unindexed).await?;
    client.batch_execute("reset enable_indexscan; reset enable_bitmapscan").await?;
    queries.lookup_plan = plan(ITEM, "2950159").await?;
    queries.range_plan = plan(LARGEST, "10").await?;
    queries.lookup_columns = columns(LOOKUP_INDEX).await?;
    queries.range_columns = columns(RANGE_INDEX).await?;
    driver.abort();
    Ok(())
}
