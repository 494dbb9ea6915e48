//! redis-benchmark: it runs to its end and prints results only, no warning and no error.

use super::program::Program;
use std::net::SocketAddr;

/// The runs that the product promises, and others with pipelines and more kinds of data.
const RUNS: &[&str] = &[
    "-t set,get -n 100000 -c 50 -q",
    "-t set,get -n 100000 -c 50 -q -P 16 -r 100000",
    "-t incr,lpush,rpop,sadd,hset,spop,zadd,lrange_100 -n 2000 -c 20 -q -P 4",
    "-t mset -n 1000 -c 10 -q -r 1000",
    "-3 -t set,get -n 5000 -c 10 -q --threads 2",
];

pub(crate) fn check(proxy: SocketAddr) {
    for run in RUNS {
        let mut program = Program::new("redis-benchmark");
        program.args([
            "-h",
            &proxy.ip().to_string(),
            "-p",
            &proxy.port().to_string(),
        ]);
        let output = program.args(run.split(' ')).expect_success();
        // Progress is overwritten by `\r`: a line's last part is what stays.
        let lines = output
            .lines()
            .filter_map(|line| line.rsplit('\r').find(|part| !part.is_empty()));
        let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
        for line in &lines {
            assert!(
                line.contains("requests per second"),
                "{run}: {line}\n{output}"
            );
            eprintln!("{run}: {line}");
        }
        assert!(!lines.is_empty(), "{run}: {output}");
    }
}
