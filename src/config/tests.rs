//! Sources, precedence, and the wording of every problem, through [`load`].

use super::*;
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Sources under construction; the file is removed with it.
#[derive(Default)]
struct Given {
    sources: Sources,
    file: Option<tempfile::NamedTempFile>,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

impl Given {
    fn file(mut self, text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        self.sources.file = Some(file.path().to_owned());
        self.file = Some(file);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.variables.push((name.into(), value.into()));
        self
    }

    fn flags(mut self, flags: &[&str]) -> Self {
        let line = Line::try_parse_from(["slotway"].iter().chain(flags)).unwrap();
        self.sources.flags = line.flags;
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Each problem, with the file called FILE.
    fn problems(&self) -> Vec<String> {
        let problems = load(&self.sources).expect_err("no problem found");
        let path = self
            .sources
            .file
            .clone()
            .unwrap_or(PathBuf::from("no file"));
        problems
            .iter()
            .map(|p| p.to_string().replace(&*path.to_string_lossy(), "FILE"))
            .collect()
    }
}

fn given() -> Given {
    Given::default()
}

/// A valid minimum to add to.
fn seeded(flags: &[&str]) -> Given {
    given().flags(&[&["--nodes", "n:1"], flags].concat())
}

#[test]
fn precedence_is_flag_environment_file_default() {
    let file = "[cluster]\nnodes = [\"n:1\"]\n[limits]\nclients = 1\n";
    let from_file = given().file(file);
    assert_eq!(from_file.load().config.limits.clients, 1);
    let from_env = given().file(file).env("SLOTWAY_LIMITS_CLIENTS", "2");
    assert_eq!(from_env.load().config.limits.clients, 2);
    let from_flag = from_env.flags(&["--set", "limits.clients=3"]);
    let loaded = from_flag.load();
    assert_eq!(loaded.config.limits.clients, 3);
    assert_eq!(loaded.config.limits.client_in_flight, 10_000);
    assert_eq!(loaded.config.cluster.nodes[0].to_string(), "n:1");
}

#[test]
fn the_origin_of_each_value_is_kept() {
    let loaded = given()
        .file("[log]\n\nlevel = \"warn\"\n")
        .env("SLOTWAY_LOG_FORMAT", "json")
        .flags(&["--nodes", "n:1", "--set", "limits.clients=7"])
        .load();
    let origin = |name| loaded.settings.of(name).origin.to_string();
    assert!(
        origin("log.level").ends_with(":3"),
        "{}",
        origin("log.level")
    );
    assert_eq!(origin("log.format"), "SLOTWAY_LOG_FORMAT");
    assert_eq!(origin("cluster.nodes"), "--nodes");
    assert_eq!(origin("limits.clients"), "--set");
    assert_eq!(origin("admin.listen"), "default");
}

#[test]
fn shorthand_flags_set_their_options() {
    let config = given()
        .flags(&[
            "--listen",
            "127.0.0.1:1",
            "--listen",
            "unix:/tmp/s",
            "--nodes",
            "a:1,b:2",
            "--nodes",
            "c:3",
            "--admin",
            "off",
            "--workers",
            "2",
        ])
        .load()
        .config;
    assert_eq!(config.listen.addresses.len(), 2);
    assert_eq!(config.cluster.nodes.len(), 3);
    assert_eq!((config.admin.listen, config.listen.workers), (None, 2));
}

#[test]
fn set_takes_toml_values_and_bare_words() {
    let config = seeded(&[
        "--set",
        "policy.allow=[\"config|set\"]",
        "--set",
        "limits.client_output_hard=80MB",
        "--set",
        "timeouts.unavailable=150ms",
        "--set",
        "policy.split_writes=false",
        "--set",
        "log.level=\"debug\"",
    ])
    .load()
    .config;
    assert_eq!(config.policy.allow, ["config|set"]);
    assert_eq!(config.limits.client_output_hard, 80 << 20);
    assert_eq!(
        config.timeouts.unavailable,
        Unavailable::Fixed(Duration::from_millis(150))
    );
    assert_eq!(
        (config.policy.split_writes, config.log.level),
        (false, LogLevel::Debug)
    );
}

#[test]
fn the_environment_takes_lists_and_words() {
    let config = given()
        .env("SLOTWAY_CLUSTER_NODES", "a:1, b:2")
        .env("SLOTWAY_POLICY_DENY", "[\"keys\"]")
        .env("SLOTWAY_LIMITS_MEMORY", "1GB")
        .env("SLOTWAY_PORT", "tcp://10.0.0.1:6379")
        .load()
        .config;
    assert_eq!(
        (config.cluster.nodes.len(), config.limits.memory),
        (2, 1 << 30)
    );
    assert_eq!(config.policy.deny, ["keys"]);
}

#[test]
fn without_nodes_there_is_nothing_to_do() {
    assert_eq!(
        given().problems(),
        ["cluster.nodes: no seed node: set cluster.nodes or --nodes"]
    );
    assert!(load_without_nodes(&given().sources).is_ok());
}

#[test]
fn every_problem_of_every_source_is_reported_at_once() {
    let problems = given()
        .file(
            "top = 1\n[limit]\nclients = 5\n[limits]\nclient = 5\nclients = \"5\"\nrequest = \"3GB\"\n\
             [timeouts]\ncommand = 5\nargument = 1\n[cluster]\nnodes = [\"a\", 7]\n",
        )
        .env("SLOTWAY_TIMEOUTS_CONECT", "2s")
        .env("SLOTWAY_LOG_LEVEL", "loud")
        .flags(&["--workers", "x", "--set", "nonsense", "--set", "tls.listen=:1", "--set", "admin.listen=1"])
        .problems();
    insta::assert_snapshot!(problems.join("\n"), @r#"
    FILE:1: `top` is in no section: write it below a line like [limits]
    FILE:2: unknown section `limit`; did you mean limits?
    FILE:5: unknown option `limits.client`; did you mean limits.clients?
    FILE:6: limits.clients: "5" is not a whole number ≥ 0
    FILE:7: limits.request: 3GB is not between 1KB and 2GB
    FILE:9: timeouts.command: 5 is not a duration: write "2s", "150ms", "1m"
    FILE:10: unknown option `timeouts.argument`; did you mean limits.argument?
    FILE:12: cluster.nodes: 7 must be in quotes
    SLOTWAY_TIMEOUTS_CONECT: unknown option `timeouts.conect`; did you mean timeouts.connect?
    --set: `nonsense` is not of the form section.key=value
    --set: unknown option `tls.listen`: this version has no options in section tls
    SLOTWAY_LOG_LEVEL: log.level: `loud` is not one of error, warn, info, debug, trace
    --workers: listen.workers: `x` is not a whole number ≥ 0; or auto
    --set: admin.listen: `1` is not an address: write IP:PORT, such as 127.0.0.1:6379 or [::]:6379; or off
    "#);
}

#[test]
fn syntax_errors_do_not_hide_other_problems() {
    let problems = given()
        .file("[limits]\nclients = = 5\nclient = 5\n[log\nlevel = 'x'\n")
        .problems();
    insta::assert_snapshot!(problems.join("\n"), @r"
    FILE:2: extra `=`, expected nothing
    FILE:3: unknown option `limits.client`; did you mean limits.clients?
    FILE:4: unclosed table, expected `]`
    ");
}

#[test]
fn an_unreadable_file_is_the_only_problem() {
    let mut given = given();
    given.sources.file = Some("/nonexistent/slotway.toml".into());
    assert_eq!(
        load(&given.sources).unwrap_err().to_string(),
        "--config: cannot read /nonexistent/slotway.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_shorthand_and_set_for_one_option_contradict() {
    assert_eq!(
        seeded(&["--admin", "127.0.0.1:1", "--set", "admin.listen=off"]).problems(),
        ["--set: admin.listen is also set by --admin: use one of them"]
    );
}

#[test]
fn limits_must_fit_together() {
    for (sets, problem) in [
        (
            &["limits.request=1MB"][..],
            "--set: limits.argument: 512MB is more than limits.request (1MB)",
        ),
        (
            &["limits.client_output_soft=1GB"],
            "--set: limits.client_output_soft: 1GB is more than limits.client_output_hard (256MB)",
        ),
        (
            &["timeouts.command=2m"],
            "--set: timeouts.command: 2m is more than timeouts.slow_command (1m)",
        ),
        (
            &["policy.allow=keys", "policy.deny=KEYS"],
            "--set: policy.deny: keys is in policy.allow too",
        ),
        (
            &["policy.deny=kesy"],
            "--set: policy.deny: unknown command 'kesy'; did you mean 'keys'?",
        ),
        (
            &["cluster.address_map=a:1=b:1,a:1=c:1"],
            "--set: cluster.address_map: a:1 is mapped twice",
        ),
        (
            &["listen.addresses=[]"],
            "--set: listen.addresses: no address to listen on",
        ),
    ] {
        let flags: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        assert_eq!(seeded(&flags).problems(), [problem]);
    }
}

#[test]
fn listeners_must_not_collide() {
    let problems = seeded(&[
        "--listen",
        "0.0.0.0:1",
        "--listen",
        "127.0.0.1:1",
        "--listen",
        "unix:/s",
        "--listen",
        "/s",
        "--admin",
        "0.0.0.0:1",
    ])
    .problems();
    assert_eq!(
        problems,
        [
            "--listen: listen.addresses: 0.0.0.0:1 and 127.0.0.1:1 cannot both be listened on",
            "--listen: listen.addresses: unix:/s is given twice",
            "--admin: admin.listen: 0.0.0.0:1 is where clients connect (listen.addresses: 0.0.0.0:1); choose another port",
        ]
    );
}

/// A file with a password in it.
fn password() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let path = file.path().to_string_lossy().into_owned();
    (file, path)
}

#[test]
fn secrets_come_from_files() {
    let (_file, path) = password();
    let config = given()
        .env("SLOTWAY_CLUSTER_NODES", "n:1")
        .env("SLOTWAY_AUTH_PASSWORD_FILE", &path)
        .load()
        .config;
    let secret = config.auth.password.as_ref().unwrap();
    assert!(secret.matches(b"secret"));
    assert!(!format!("{config:?}").contains("\"secret\""));
    assert_eq!(
        seeded(&["--set", "auth.password_file=/nonexistent"]).problems(),
        [
            "--set: auth.password_file: cannot read /nonexistent: No such file or directory (os error 2)"
        ]
    );
}

#[test]
fn it_does_not_become_an_open_door() {
    let (_file, path) = password();
    let upstream = format!("upstream.password_file={path}");
    let open = seeded(&["--set", &upstream]);
    let [problem] = &open.problems()[..] else {
        panic!("{:?}", open.problems())
    };
    insta::assert_snapshot!(problem, @r#"--set: auth.password_file: clients need no password but the cluster does, and 0.0.0.0:6379 can be reached from other machines: slotway would be an open door into it. Set auth.password_file, or auth.mode = "none" if that is meant"#);

    // A loopback listener, a client password, and the written word each make it valid.
    seeded(&[
        "--set",
        &upstream,
        "--listen",
        "127.0.0.1:6379",
        "--listen",
        "unix:/s",
    ])
    .load();
    seeded(&[
        "--set",
        &upstream,
        "--set",
        &format!("auth.password_file={path}"),
    ])
    .load();
    seeded(&["--set", &upstream, "--set", "auth.mode=none"]).load();
    given()
        .env("SLOTWAY_UPSTREAM_PASSWORD_FILE", &path)
        .env("SLOTWAY_AUTH_MODE", "none")
        .env("SLOTWAY_CLUSTER_NODES", "n:1")
        .load();
    // `auto` written out is not consent.
    assert_eq!(
        seeded(&["--set", &upstream, "--set", "auth.mode=auto"])
            .problems()
            .len(),
        1
    );
    // One listener among several is enough to refuse.
    let both = seeded(&[
        "--set",
        &upstream,
        "--listen",
        "127.0.0.1:1",
        "--listen",
        "[::]:2",
    ]);
    assert_eq!(both.problems().len(), 1);
}

#[test]
fn credentials_must_make_sense() {
    let (_file, path) = password();
    assert_eq!(
        seeded(&["--set", "upstream.username=u"]).problems(),
        ["--set: upstream.username: needs upstream.password_file too"]
    );
    assert_eq!(
        seeded(&[
            "--set",
            "auth.mode=none",
            "--set",
            &format!("auth.password_file={path}")
        ])
        .problems(),
        ["--set: auth.mode: none contradicts auth.password_file: remove one of them"]
    );
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let (_file, path) = password();
    let first = seeded(&[
        "--set",
        "policy.deny=keys,config|set",
        "--set",
        "cluster.address_map=a:1=b:2",
        "--set",
        "limits.request=600MB",
        "--set",
        &format!("auth.password_file={path}"),
        "--set",
        "upstream.username=a \"b\" \\ c",
        "--set",
        "upstream.password_file=\"/etc/hostname\"",
        "--set",
        "listen.unix_mode=0o660",
    ])
    .load();
    let printed = toml(&first.settings);
    let second = given().file(&printed).load();
    for (a, b) in first.settings.iter().zip(second.settings.iter()) {
        assert_eq!(a.value, b.value, "{}", a.option.name);
    }
}

#[test]
fn every_default_reads_back_from_the_template() {
    let template = template();
    let uncommented: String = template
        .lines()
        .filter_map(|line| match line.strip_prefix("# ") {
            Some(rest) => rest
                .split_once(" = ")
                .filter(|(key, _)| !key.contains(' '))
                .map(|_| format!("{rest}\n")),
            None => Some(format!("{line}\n")),
        })
        .collect();
    let loaded = given().file(&uncommented).flags(&["--nodes", "n:1"]).load();
    for (read, default) in loaded.settings.iter().zip(Settings::defaults().iter()) {
        if read.option.name != "cluster.nodes" {
            assert_eq!(read.value, default.value, "{}", read.option.name);
            assert!(read.is_written(), "{}", read.option.name);
        }
    }
}

#[test]
fn the_markdown_table_has_every_option() {
    let table = markdown();
    assert_eq!(table.lines().count(), OPTIONS.len() + 2);
    for option in OPTIONS {
        assert!(
            table.contains(&format!("| `{}` |", option.name)),
            "{}",
            option.name
        );
    }
    insta::assert_snapshot!(table.lines().find(|l| l.contains("limits.clients")).unwrap(), @"| `limits.clients` | integer (clients) | `10000` | process | clients connected at the same time; more get `-ERR max number of clients reached` |");
}
