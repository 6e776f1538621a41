//! What is printed when the stack is ready.

use super::ready::Ready;

/// A few lines: where to look, what is real, how to send requests and break things.
pub(super) fn text(ready: &Ready, load: f64) -> String {
    let Ready { edge, page, control, state, processes } = ready;
    let real = |name: &str| if name == "embedded" { "in a process of this program" } else { "real server" };
    let driven = if load > 0.0 {
        format!("{load} requests per second from within (--load)")
    } else {
        "none from within (--load)".to_owned()
    };
    format!(
        "four-plane is ready: {count} processes

  page      {page}
  edge      {edge}
  database  {database} ({database_real})
  cache     {cache} ({cache_real})
  load      {driven}

  try       curl -i '{edge}/catalog/search?q=lisbon&limit=3'
            wrk -t2 -c32 -d10s {edge}/catalog/popular
  break it  curl -d '{{\"kind\": \"kill\", \"target\": \"catalog/1\"}}' {control}/control/faults
            curl -d '{{\"kind\": \"latency\", \"target\": \"database\", \"value\": 500, \"seconds\": 30}}' {control}/control/faults
            curl -d '{{\"kind\": \"overload\", \"target\": \"edge\", \"value\": 5, \"seconds\": 10}}' {control}/control/faults
  stop      Ctrl-C drains and stops everything
",
        count = processes.len(),
        database = state.database,
        database_real = real(&state.database),
        cache = state.cache,
        cache_real = real(&state.cache),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::ready::StateNames;

    #[test]
    fn it_says_what_is_a_real_server_and_what_is_not() {
        let state = StateNames { database: "postgresql".to_owned(), cache: "embedded".to_owned() };
        let url = |port| format!("http://127.0.0.1:{port}");
        let ready = Ready { edge: url(1), page: url(2), control: url(3), state, processes: Vec::new() };

        let said = text(&ready, 200.0);

        for line in [
            "database  postgresql (real server)",
            "cache     embedded (in a process of this program)",
            "load      200 requests per second from within (--load)",
            "curl -i 'http://127.0.0.1:1/catalog/search",
        ] {
            assert!(said.contains(line), "{line:?} is missing in {said}");
        }
        assert!(text(&ready, 0.0).contains("load      none from within (--load)"));
    }
}
