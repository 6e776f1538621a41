//! The rows under criterion, for people: `cargo bench -p seawall-benches -- circuit-breaker`.

use criterion::Criterion;
use seawall_benches::rows;

fn main() {
    let runtime = seawall_benches::operation::built(
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build(),
    );
    let _context = runtime.enter();
    let mut criterion = Criterion::default().configure_from_args();
    for row in rows::all() {
        let mut group = criterion.benchmark_group(row.name);
        for side in std::iter::once(&row.ours).chain(&row.peers) {
            let mut operation = (side.make)();
            group.bench_function(side.name, |bencher| {
                bencher.iter_custom(|iterations| {
                    #[expect(clippy::disallowed_methods, reason = "this is what measures real time")]
                    let begin = std::time::Instant::now();
                    operation.run(iterations);
                    begin.elapsed()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
