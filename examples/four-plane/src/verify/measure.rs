//! What is measured: each group observes once and then judges its rows one by one.
//!
//! Observing is separate from judging, so that every judgement is a small function of what was seen.

mod argued;
mod backoff;
mod breaker_cost;
mod bulkhead;
mod bulkhead_cost;
mod cached;
mod calm;
mod dependencies;
mod drilled;
mod fallback;
mod flush;
mod full;
mod gateway_call;
mod hang;
mod health_checks;
mod hit_ratio;
mod kills;
mod moderate;
mod overload;
mod pool;
mod pool_cost;
mod quantile;
mod queries;
mod rate_limit;
mod resources;
mod rolling;
mod scored;
mod simulated;
mod slow_database;
mod traffic;
mod turns;

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{report::Finding, stack::Stack};

/// What was found, by the row's id.
pub type Findings = BTreeMap<&'static str, Finding>;

/// The rows of one group, each with its judgement of what the group observed.
type Claims<O> = &'static [(&'static str, fn(&O) -> Finding)];

/// Requests per second of the built-in load: well below the declared capacity of two edge processes, and enough for
/// 10,000 requests within a minute.
const LOAD: u32 = 250;

/// What the groups may take, one after another: a run ends within eight minutes. A group with no
/// time left has not observed anything.
const PATTERNS: Duration = Duration::from_secs(20);
const QUERIES: Duration = Duration::from_secs(40);
const CALM: Duration = Duration::from_secs(15);
const MODERATE: Duration = Duration::from_mins(1);
const KILLS: Duration = Duration::from_secs(45);
const ROLLING: Duration = Duration::from_secs(30);
const CACHED: Duration = Duration::from_secs(40);
const FLUSH: Duration = Duration::from_secs(30);
const SLOW_DATABASE: Duration = Duration::from_secs(30);
const FALLBACK: Duration = Duration::from_secs(50);
const HANG: Duration = Duration::from_secs(25);
const OVERLOAD: Duration = Duration::from_secs(15);
const DRILL: Duration = Duration::from_secs(70);
const DEPENDENCIES: Duration = Duration::from_mins(3);
const SCORE: Duration = Duration::from_secs(30);

/// Makes all measurements, the ones over a stack on one that is started for it.
///
/// # Errors
/// When the stack does not start or does not stop.
pub async fn all() -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    judge(&mut findings, backoff::CLAIMS, &within("drawing backoff schedules", PATTERNS, backoff::observe()).await);
    judge(&mut findings, bulkhead::CLAIMS, &within("filling bulkheads", PATTERNS, bulkhead::observe()).await);
    let priced = within("pricing a bulkhead", PATTERNS, bulkhead_cost::observe()).await;
    judge(&mut findings, bulkhead_cost::CLAIMS, &priced);
    judge(&mut findings, pool::CLAIMS, &within("hanging up on a pool", PATTERNS, pool::observe()).await);
    judge(&mut findings, pool_cost::CLAIMS, &within("pricing a pool", PATTERNS, pool_cost::observe()).await);
    judge(&mut findings, breaker_cost::CLAIMS, &within("timing a breaker", PATTERNS, breaker_cost::observe()).await);
    let checked = within("running health checks", PATTERNS, health_checks::observe()).await;
    judge(&mut findings, health_checks::CLAIMS, &checked);
    let called = within("calling what does not answer", PATTERNS, gateway_call::observe()).await;
    judge(&mut findings, gateway_call::CLAIMS, &called);
    let limited = within("sending more than an API key may", PATTERNS, rate_limit::observe()).await;
    judge(&mut findings, rate_limit::CLAIMS, &limited);
    judge(&mut findings, turns::CLAIMS, &Ok(turns::observe()));
    judge(&mut findings, argued::CLAIMS, &Ok(()));
    say("simulating failures, turns and writes");
    let simulated = tokio::task::spawn_blocking(simulated::observe).await;
    judge(&mut findings, simulated::CLAIMS, &simulated.map_err(Into::into));
    let asked = within("asking a PostgreSQL", QUERIES, queries::observe()).await;
    judge(&mut findings, queries::CLAIMS, &asked);
    let program = std::env::current_exe()?;
    let moderate = within("watching a stack under a moderate load", MODERATE, moderate::observe(&program)).await;
    judge(&mut findings, moderate::CLAIMS, &moderate);
    let scored = within("filling in the scorecard", SCORE, scored::observe(&program)).await;
    judge(&mut findings, scored::CLAIMS, &scored);
    let drilled = within("overloading two stacks", DRILL, drilled::observe(&program)).await;
    judge(&mut findings, drilled::CLAIMS, &drilled);
    let failed = within("failing one dependency after another", DEPENDENCIES, dependencies::observe(&program)).await;
    judge(&mut findings, dependencies::CLAIMS, &failed);
    say("starting a stack");
    let stack = Stack::start(&program, LOAD).await?;
    over_stack(&stack, &mut findings).await?;
    say("stopping it");
    stack.stop().await?;
    Ok(findings)
}

async fn over_stack(stack: &Stack, findings: &mut Findings) -> anyhow::Result<()> {
    judge(findings, calm::CLAIMS, &within("watching it under load", CALM, calm::observe(stack)).await);
    judge(findings, kills::CLAIMS, &within("killing catalog instances", KILLS, kills::observe(stack)).await);
    let rolled = within("replacing the service plane's instances", ROLLING, rolling::observe(stack)).await;
    judge(findings, rolling::CLAIMS, &rolled);
    judge(findings, cached::CLAIMS, &within("watching the warm cache", CACHED, cached::observe(stack)).await);
    judge(findings, flush::CLAIMS, &within("emptying the cache", FLUSH, flush::observe(stack)).await);
    let slowed = within("slowing the database by 500 ms", SLOW_DATABASE, slow_database::observe(stack)).await;
    judge(findings, slow_database::CLAIMS, &slowed);
    stack.heal_all().await?;
    let failed = within("failing cache, database and catalog", FALLBACK, fallback::observe(stack)).await;
    judge(findings, fallback::CLAIMS, &failed);
    stack.heal_all().await?;
    judge(findings, hang::CLAIMS, &within("hanging the catalog service", HANG, hang::observe(stack)).await);
    stack.heal_all().await?;
    let overloaded = within("sending five times the edge's capacity", OVERLOAD, overload::observe(stack)).await;
    judge(findings, overload::CLAIMS, &overloaded);
    Ok(())
}

/// What was observed, or that there was not enough time for it.
async fn within<O>(what: &str, limit: Duration, observe: impl Future<Output = anyhow::Result<O>>) -> anyhow::Result<O> {
    say(what);
    let observed = tokio::time::timeout(limit, observe).await;
    observed.unwrap_or_else(|_| Err(anyhow::anyhow!("{what} was not done within {} s", limit.as_secs())))
}

fn judge<O>(findings: &mut Findings, claims: Claims<O>, observed: &anyhow::Result<O>) {
    findings.extend(claims.iter().map(|(id, judgement)| {
        let finding = match observed {
            Ok(observed) => judgement(observed),
            Err(error) => Finding::unobserved(format!("{error:#}")),
        };
        (*id, finding)
    }));
}

/// Measuring takes minutes: standard error says what is going on, standard output carries rows alone.
fn say(what: impl fmt::Display) {
    eprintln!("verify: {what}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::verify::{
        report::Verdict,
        rows::{self, Basis},
    };

    fn ids<O>(claims: Claims<O>) -> Vec<&'static str> {
        claims.iter().map(|(id, _)| *id).collect()
    }

    fn claimed() -> Vec<&'static str> {
        [
            ids(backoff::CLAIMS),
            ids(bulkhead::CLAIMS),
            ids(bulkhead_cost::CLAIMS),
            ids(pool::CLAIMS),
            ids(pool_cost::CLAIMS),
            ids(rate_limit::CLAIMS),
            ids(drilled::CLAIMS),
            ids(dependencies::CLAIMS),
            ids(breaker_cost::CLAIMS),
            ids(health_checks::CLAIMS),
            ids(gateway_call::CLAIMS),
            ids(turns::CLAIMS),
            ids(argued::CLAIMS),
            ids(simulated::CLAIMS),
            ids(scored::CLAIMS),
            ids(queries::CLAIMS),
            ids(moderate::CLAIMS),
            ids(calm::CLAIMS),
            ids(kills::CLAIMS),
            ids(rolling::CLAIMS),
            ids(cached::CLAIMS),
            ids(flush::CLAIMS),
            ids(slow_database::CLAIMS),
            ids(fallback::CLAIMS),
            ids(hang::CLAIMS),
            ids(overload::CLAIMS),
        ]
        .concat()
    }

    #[test]
    fn every_measurement_belongs_to_a_row_that_says_how_it_is_known() {
        let rows = [rows::all().unwrap(), rows::promises().unwrap()].concat();
        let mut simulated = ids(simulated::CLAIMS);
        simulated.push("figure.failure-first.catalog-service.cache-hit");
        let mut argued = ids(argued::CLAIMS);
        argued.push("resilience-patterns.load-shedding.cost-impact");

        for id in claimed() {
            let row = rows.iter().find(|row| row.id == id).unwrap_or_else(|| panic!("no row is called {id}"));
            let basis = match id {
                id if simulated.contains(&id) => Basis::Simulated,
                id if argued.contains(&id) => Basis::Argued,
                _ => Basis::Measured,
            };
            assert_eq!(row.basis, basis, "{id}");
        }
    }

    #[test]
    fn every_promise_is_measured() {
        let claimed = claimed();

        for row in rows::promises().unwrap() {
            assert!(claimed.contains(&row.id.as_str()), "{}", row.id);
        }
    }

    #[test]
    fn every_row_of_the_baseline_is_measured() {
        let claimed = claimed();

        for expected in rows::baseline() {
            assert!(claimed.contains(&expected.id), "{expected:?}");
        }
    }

    #[test]
    fn no_row_is_measured_twice() {
        let mut seen = BTreeSet::new();

        for id in claimed() {
            assert!(seen.insert(id), "{id}");
        }
    }

    #[test]
    fn a_group_that_could_not_be_observed_leaves_all_its_rows_not_met() {
        let mut findings = Findings::new();

        judge(&mut findings, kills::CLAIMS, &Err(anyhow::anyhow!("the edge is gone").context("killing catalog/1")));

        assert_eq!(findings.len(), kills::CLAIMS.len());
        for (id, finding) in findings {
            assert_eq!(finding.verdict, Verdict::NotMet, "{id}");
            assert_eq!(finding.evidence, "killing catalog/1: the edge is gone");
        }
    }
}
