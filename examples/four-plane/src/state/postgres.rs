//! The catalog in PostgreSQL.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use seawall::pool::{Manager, Pool, PoolStatus};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::catalog::{KNOWN_BEYOND, KNOWN_USERS, RECENT_ITEMS, TOGETHER_KEPT};
use super::connect::Dial;
use super::connections::{Operation, flattened, operation, pool};
use super::popularity::{HALF_LIFE, Heat, TOGETHER_HALF_LIFE, whole};
use super::search::folded;
use super::{Catalog, Counted, StateError, View};
use crate::data::City;

/// Everything is kept in a schema of its own, so that a database given by URL is not mixed up with.
///
/// `folded` has collation "C": prefixes become ranges of bytes, which the index serves.
const SCHEMA: &str = r#"
create schema if not exists four_plane;
create table if not exists four_plane.cities (
    id integer primary key, name text not null, country text not null, population bigint not null,
    latitude double precision not null, longitude double precision not null, folded text collate "C" not null);
create index if not exists cities_folded on four_plane.cities (folded);
create index if not exists cities_population on four_plane.cities (population desc, id);
create table if not exists four_plane.popularity (
    item integer primary key references four_plane.cities, heat double precision not null);
create index if not exists popularity_heat on four_plane.popularity (heat desc);
create table if not exists four_plane.together (
    item integer not null, other integer not null, heat double precision not null, primary key (item, other));
create sequence if not exists four_plane.moments;
create table if not exists four_plane.visitors (
    visitor text primary key, items integer[] not null, moment bigint not null);
create index if not exists visitors_moment on four_plane.visitors (moment);
-- What earlier versions kept without bound.
drop table if exists four_plane.seen_together, four_plane.recent;
drop function if exists four_plane.record_views(text[], integer[], bigint, double precision);
create or replace function four_plane.warmed(one double precision, other double precision) returns double precision
-- As `Heat::with`; beyond 40, the smaller one is lost in the larger one's digits.
language sql immutable as $$ select greatest(one, other) + ln(1 + exp(-least(abs(one - other), 40))) $$;
create or replace function four_plane.record_views(
    visitors text[], viewed integer[], fresh double precision, fresh_pair double precision,
    latest integer, kept integer, known integer, beyond integer) returns void
language plpgsql as $$
declare
    who text;
    what integer;
    mine integer[];
    crowded integer;
    turn bigint;
begin
    -- Two batches lock the same rows in different orders: one after the other.
    perform pg_advisory_xact_lock(hashtext('four_plane.record_views'));
    for who, what in select * from unnest(visitors, viewed) loop
        continue when not exists (select from four_plane.cities where id = what);
        insert into four_plane.popularity as old values (what, fresh)
            on conflict (item) do update set heat = four_plane.warmed(old.heat, fresh);
        continue when who is null;
        mine := coalesce((select items from four_plane.visitors where visitor = who), '{}');
        if not what = any(mine) then
            insert into four_plane.together as old
                select what, other, fresh_pair from unnest(mine) other
                union all select other, what, fresh_pair from unnest(mine) other
                on conflict (item, other) do update set heat = four_plane.warmed(old.heat, fresh_pair);
            for crowded in
                select item from four_plane.together where item = any(what || mine)
                group by item having count(*) > 2 * kept
            loop
                -- Of equals those with the smaller ids stay.
                delete from four_plane.together where item = crowded and other = any(array(
                    select other from four_plane.together where item = crowded order by heat desc, other offset kept));
            end loop;
        end if;
        turn := nextval('four_plane.moments');
        insert into four_plane.visitors values (who, (what || array_remove(mine, what))[1:latest], turn)
            on conflict (visitor) do update set items = excluded.items, moment = excluded.moment;
        if turn % beyond = 0 then
            delete from four_plane.visitors
            where moment <= (select moment from four_plane.visitors order by moment desc offset known limit 1);
        end if;
    end loop;
end $$;
"#;

const FILL: &str = "
insert into four_plane.cities
select * from unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::float8[], $6::float8[], $7::text[])
on conflict (id) do update set name = excluded.name, country = excluded.country, population = excluded.population,
    latitude = excluded.latitude, longitude = excluded.longitude, folded = excluded.folded";

pub(crate) const ITEM: &str =
    "select id, name, country, population, latitude, longitude from four_plane.cities where id = $1";

/// The second part runs only as far as the first leaves room.
const SEARCH: &str = "
(select id, name, country, population, latitude, longitude from four_plane.cities
 where folded >= $1 and folded < $2 order by population desc, id limit $3)
union all
(select id, name, country, population, latitude, longitude from four_plane.cities
 where strpos(folded, $1) > 1 order by population desc, id limit $3)
limit $3";

pub(crate) const LARGEST: &str = "select id, name, country, population, latitude, longitude from four_plane.cities
order by population desc, id limit $1";

pub(crate) const POPULAR: &str = "
select c.id, c.name, c.country, c.population, c.latitude, c.longitude, p.heat
from four_plane.popularity p join four_plane.cities c on c.id = p.item where p.heat >= $2
order by p.heat desc, c.population desc, c.id limit $1";

/// Weights in thousandths: those that differ by less are equal, as they are sums in whatever order. `$3` is the heat of one
/// of this moment, of which half has to be left.
const SEEN_TOGETHER: &str = "
select c.id, c.name, c.country, c.population, c.latitude, c.longitude, round(exp(t.heat - $3) * 1000) as thousandths
from four_plane.together t join four_plane.cities c on c.id = t.other
where t.item = $1 and t.heat >= $3 + ln(0.5::float8)
order by thousandths desc, c.population desc, c.id limit $2";

const RECOMMENDED: &str = "
with mine as (select unnest(items) as item from four_plane.visitors where visitor = $1)
select c.id, c.name, c.country, c.population, c.latitude, c.longitude, round(sum(exp(t.heat - $3)) * 1000) as thousandths
from mine join four_plane.together t on t.item = mine.item join four_plane.cities c on c.id = t.other
where t.other not in (select item from mine) and t.heat >= $3 + ln(0.5::float8)
group by c.id order by thousandths desc, c.population desc, c.id limit $2";

const RECORD_VIEWS: &str = "select four_plane.record_views($1, $2, $3, $4, $5, $6, $7, $8)";

/// What a `$1` stands for.
#[derive(Debug)]
enum Parameter {
    Id(i32),
    Ids(Vec<i32>),
    Limit(i64),
    Bound(i32),
    Heat(f64),
    Text(String),
    Texts(Vec<Option<String>>),
}

impl Parameter {
    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Id(id) => id,
            Self::Ids(ids) => ids,
            Self::Limit(limit) => limit,
            Self::Bound(bound) => bound,
            Self::Heat(heat) => heat,
            Self::Text(text) => text,
            Self::Texts(texts) => texts,
        }
    }
}

/// A [`Catalog`] in PostgreSQL behind the state instance's database listener.
#[derive(Debug)]
pub struct PostgresCatalog {
    connections: Pool<Session>,
}

#[derive(Debug)]
struct Session(Dial);

/// One of the statements that a session has prepared.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Item,
    Search,
    Largest,
    Popular,
    SeenTogether,
    Recommended,
    RecordViews,
}

/// A connection with its statements, in the order of [`Ask`]; the connection ends with it.
pub(super) struct Prepared {
    client: Client,
    driver: JoinHandle<()>,
    statements: [Statement; 7],
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Manager for Session {
    type Connection = Prepared;
    type Error = StateError;

    // Boxed, here and below: see `operation`.
    fn connect(&self) -> impl Future<Output = Result<Prepared, StateError>> + Send {
        let connecting: Operation<'_, Prepared> = Box::pin(log_in(&self.0));
        connecting
    }

    fn check(&self, session: &mut Prepared) -> impl Future<Output = Result<(), StateError>> + Send {
        let checking: Operation<'_, ()> = Box::pin(async { Ok(session.client.check_connection().await?) });
        checking
    }

    fn is_broken(&self, session: &mut Prepared) -> bool {
        session.client.is_closed()
    }

    fn is_stale(&self, error: &StateError) -> bool {
        error.is_stale()
    }
}

async fn log_in(dial: &Dial) -> Result<Prepared, StateError> {
    let url = dial.parts().and_then(|parts| parts.database_url).ok_or(StateError::Absent)?;
    let mut config: Config = url.parse()?;
    // Counts of views are worth less than a wait for the disk per view; at most the last second of them is lost. A query
    // that was given up on goes on in PostgreSQL and keeps its locks, but no longer than the largest batch of views takes.
    config.options("-c synchronous_commit=off -c statement_timeout=30s").application_name("four-plane");
    let (client, connection) = config.connect_raw(dial.database().await?, NoTls).await?;
    let driver = tokio::spawn(async move {
        // Whoever waits for an answer is told the error; there is nobody else to tell.
        let _ended = connection.await;
    });
    prepare(client, driver).await
}

async fn prepare(client: Client, driver: JoinHandle<()>) -> Result<Prepared, StateError> {
    let (item, search, largest, popular, seen_together, recommended, record_views) = tokio::try_join!(
        client.prepare(ITEM),
        client.prepare(SEARCH),
        client.prepare(LARGEST),
        client.prepare(POPULAR),
        client.prepare(SEEN_TOGETHER),
        client.prepare(RECOMMENDED),
        client.prepare(RECORD_VIEWS),
    )?;
    let statements = [item, search, largest, popular, seen_together, recommended, record_views];
    Ok(Prepared { client, driver, statements })
}

/// Makes the tables if they are not there, and fills in the cities if any is missing.
///
/// # Errors
/// When PostgreSQL refuses or the connection breaks.
pub async fn set_up(client: &Client, cities: &[City]) -> Result<(), StateError> {
    client.batch_execute(SCHEMA).await?;
    let known: i64 = client.query_one("select count(*) from four_plane.cities", &[]).await?.get(0);
    if usize::try_from(known).is_ok_and(|known| known >= cities.len()) {
        return Ok(());
    }
    let ids: Vec<i32> = cities.iter().map(|city| key(city.id)).collect();
    let names: Vec<&str> = cities.iter().map(|city| city.name.as_str()).collect();
    let countries: Vec<&str> = cities.iter().map(|city| city.country.as_str()).collect();
    let populations: Vec<i64> = cities.iter().map(|city| city.population.into()).collect();
    let latitudes: Vec<f64> = cities.iter().map(|city| city.latitude).collect();
    let longitudes: Vec<f64> = cities.iter().map(|city| city.longitude).collect();
    let folded: Vec<String> = cities.iter().map(|city| folded(&city.name)).collect();
    client.execute(FILL, &[&ids, &names, &countries, &populations, &latitudes, &longitudes, &folded]).await?;
    client.batch_execute("analyze four_plane.cities").await?;
    Ok(())
}

/// As the integer that PostgreSQL knows; an id that it cannot know becomes one that nothing has.
fn key(id: u32) -> i32 {
    i32::try_from(id).unwrap_or(-1)
}

fn limit_of(limit: usize) -> Parameter {
    Parameter::Limit(i64::try_from(limit).unwrap_or(i64::MAX))
}

fn bound(bound: usize) -> Parameter {
    Parameter::Bound(i32::try_from(bound).unwrap_or(i32::MAX))
}

fn heat(heat: Heat) -> Parameter {
    Parameter::Heat(heat.as_number())
}

fn city(row: &Row) -> Result<City, StateError> {
    let id: i32 = row.try_get(0)?;
    let population: i64 = row.try_get(3)?;
    Ok(City {
        id: u32::try_from(id).unwrap_or_default(),
        name: row.try_get(1)?,
        country: row.try_get(2)?,
        population: u32::try_from(population).unwrap_or(u32::MAX),
        latitude: row.try_get(4)?,
        longitude: row.try_get(5)?,
    })
}

fn counted(row: &Row) -> Result<Counted, StateError> {
    let thousandths: f64 = row.try_get(6)?;
    Ok(Counted { item: city(row)?, count: whole(thousandths / 1_000.0) })
}

async fn query(session: &mut Prepared, ask: Ask, parameters: Arc<Vec<Parameter>>) -> Result<Vec<Row>, StateError> {
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(Parameter::as_sql).collect();
    let [item, search, largest, popular, seen_together, recommended, record_views] = &session.statements;
    let statement = match ask {
        Ask::Item => item,
        Ask::Search => search,
        Ask::Largest => largest,
        Ask::Popular => popular,
        Ask::SeenTogether => seen_together,
        Ask::Recommended => recommended,
        Ask::RecordViews => record_views,
    };
    Ok(session.client.query(statement, &parameters).await?)
}

impl PostgresCatalog {
    /// Of the PostgreSQL that the state instance forwards to.
    pub fn new(dial: Dial) -> Self {
        Self { connections: pool(Session(dial)) }
    }

    async fn rows<T>(
        &self,
        ask: Ask,
        parameters: Vec<Parameter>,
        read: impl Fn(&Row) -> Result<T, StateError>,
    ) -> Result<Vec<T>, StateError> {
        let parameters = Arc::new(parameters);
        let querying = operation(move |session: &mut Prepared| Box::pin(query(session, ask, Arc::clone(&parameters))));
        let connections = &self.connections;
        let queried = match ask {
            // Views that were committed before the connection broke would be counted twice.
            Ask::RecordViews => connections.run(querying).await,
            _ => connections.run_idempotent(querying).await,
        };
        queried.map_err(|error| flattened(error, "database"))?.iter().map(read).collect()
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    fn connections(&self) -> Option<PoolStatus> {
        Some(self.connections.status())
    }

    async fn item(&self, id: u32) -> Result<Option<City>, StateError> {
        Ok(self.rows(Ask::Item, vec![Parameter::Id(key(id))], city).await?.pop())
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, StateError> {
        let from = folded(query);
        if from.is_empty() {
            return Ok(Vec::new());
        }
        // Folded text is ASCII: the last of its characters comes after everything with this prefix.
        let to = format!("{from}\u{7f}");
        self.rows(Ask::Search, vec![Parameter::Text(from), Parameter::Text(to), limit_of(limit)], city).await
    }

    async fn largest(&self, limit: usize) -> Result<Vec<City>, StateError> {
        self.rows(Ask::Largest, vec![limit_of(limit)], city).await
    }

    async fn record_views(&self, views: &[View], at: SystemTime) -> Result<(), StateError> {
        let visitors: Vec<Option<String>> = views.iter().map(|view| view.user.clone()).collect();
        let items: Vec<i32> = views.iter().map(|view| key(view.item)).collect();
        let parameters = vec![
            Parameter::Texts(visitors),
            Parameter::Ids(items),
            heat(Heat::fresh(at, HALF_LIFE)),
            heat(Heat::fresh(at, TOGETHER_HALF_LIFE)),
            bound(RECENT_ITEMS),
            bound(TOGETHER_KEPT),
            bound(KNOWN_USERS),
            bound(KNOWN_BEYOND),
        ];
        self.rows(Ask::RecordViews, parameters, |_| Ok(())).await.map(drop)
    }

    async fn popular(&self, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        let parameters = vec![limit_of(limit), heat(Heat::least(now, HALF_LIFE))];
        self.rows(Ask::Popular, parameters, |row| {
            Ok(Counted { item: city(row)?, count: Heat::from_number(row.try_get(6)?).count(now, HALF_LIFE) })
        })
        .await
    }

    async fn seen_together(&self, item: u32, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        let fresh = heat(Heat::fresh(now, TOGETHER_HALF_LIFE));
        self.rows(Ask::SeenTogether, vec![Parameter::Id(key(item)), limit_of(limit), fresh], counted).await
    }

    async fn recommended(&self, user: &str, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        let fresh = heat(Heat::fresh(now, TOGETHER_HALF_LIFE));
        let parameters = vec![Parameter::Text(user.to_owned()), limit_of(limit), fresh];
        self.rows(Ask::Recommended, parameters, counted).await
    }
}
