//! redis-cli: single commands, commands on its input, mass insertion, and those of its modes that one plain server
//! serves.

use super::program::Program;
use std::net::SocketAddr;

pub(crate) fn check(proxy: SocketAddr) {
    let cli = Cli(proxy);
    single_commands(&cli);
    commands_on_its_input(&cli);
    mass_insertion(&cli);
    modes(&cli);
}

struct Cli(SocketAddr);

impl Cli {
    fn program(&self, args: &[&str]) -> Program {
        let mut program = Program::new("redis-cli");
        program.args([
            "-h",
            &self.0.ip().to_string(),
            "-p",
            &self.0.port().to_string(),
        ]);
        program.args(args);
        program
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        self.program(args).expect_success()
    }

    #[track_caller]
    fn expect(&self, args: &[&str], output: &str) {
        assert_eq!(
            self.run(args).trim_end(),
            output,
            "redis-cli {}",
            args.join(" ")
        );
    }
}

fn single_commands(cli: &Cli) {
    cli.expect(&["FLUSHALL"], "OK");
    cli.expect(&["SET", "greeting", "hello"], "OK");
    cli.expect(&["MSET", "a", "1", "b", "2", "c", "3"], "OK");
    cli.expect(&["MGET", "greeting", "a", "b", "c"], "hello\n1\n2\n3");
    cli.expect(&["-3", "HSET", "h", "f", "v"], "1");
    cli.expect(&["-3", "--no-raw", "HGETALL", "h"], "1# \"f\" => \"v\"");
    cli.expect(&["-2", "--no-raw", "HGETALL", "h"], "1) \"f\"\n2) \"v\"");
    cli.expect(
        &["--no-raw", "DEL", "a", "b", "c", "nothing"],
        "(integer) 3",
    );
    // -c follows redirections; there is none to follow.
    cli.expect(&["-c", "GET", "greeting"], "hello");
    cli.expect(
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", "greeting"],
        "hello",
    );
    cli.expect(&["-n", "0", "DBSIZE"], "2");
    let refused = cli.run(&["-n", "1", "PING"]);
    assert!(refused.contains("DB index is out of range"), "{refused}");
    let info = cli.run(&["INFO"]);
    for line in [
        "cluster_enabled:0",
        "role:master",
        "loading:0",
        "db0:keys=2,",
    ] {
        assert!(info.contains(line), "no {line} in\n{info}");
    }
    assert!(
        cli.run(&["CONFIG", "GET", "maxmemory"])
            .starts_with("maxmemory\n")
    );
    assert!(
        cli.run(&["COMMAND", "COUNT"])
            .trim()
            .parse::<u32>()
            .unwrap()
            > 200
    );
    assert!(cli.run(&["COMMAND", "DOCS", "get"]).contains("summary"));
}

fn commands_on_its_input(cli: &Cli) {
    let script = "SET i 1\nINCR i\nHELLO 3\nHSET h f w\nHGETALL h\nnosuchcommand\nGET i\n";
    let output = cli.program(&[]).input(script.as_bytes()).expect_success();
    assert!(output.starts_with("OK\n2\n"), "{output}");
    assert!(output.contains("proto"), "{output}");
    assert!(
        output.contains("unknown command 'nosuchcommand'"),
        "{output}"
    );
    assert!(output.trim_end().ends_with("\n2"), "{output}");
    let output = cli
        .program(&["-x", "SET", "from stdin"])
        .input(b"a\r\nb\0")
        .expect_success();
    assert_eq!(output, "OK\n");
    cli.expect(&["STRLEN", "from stdin"], "5");
}

fn mass_insertion(cli: &Cli) {
    let mut input = String::new();
    for i in 0..20_000 {
        let key = format!("mass:{i}");
        input += &format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len());
    }
    let output = cli
        .program(&["--pipe"])
        .input(input.as_bytes())
        .expect_success();
    assert!(output.contains("errors: 0, replies: 20000"), "{output}");
}

fn modes(cli: &Cli) {
    let scanned = cli.run(&["--scan", "--pattern", "mass:*"]);
    let mut keys: Vec<&str> = scanned.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 20_000);
    let output = cli.run(&["--bigkeys"]);
    assert!(output.contains("Sampled 20004 keys"), "{output}");
    assert!(output.contains("Biggest   hash found"), "{output}");
    let output = cli.run(&["--memkeys"]);
    assert!(output.contains("Sampled 20004 keys"), "{output}");
    let output = cli.run(&["--latency", "--raw", "-i", "1"]);
    let samples = output
        .split_ascii_whitespace()
        .last()
        .and_then(|n| n.parse::<u32>().ok());
    assert!(samples.is_some_and(|n| n > 0), "{output}");
}
