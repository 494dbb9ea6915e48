//! `slotway explain` and `slotway check --probe` against a cluster with a password, on every kind of server.

mod support;

use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions};
use std::path::Path;
use std::process::Command;
use support::{cluster_options, servers};

const PASSWORD: &str = "correct horse";

/// What a run of `slotway` came to.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `slotway` with these arguments, seed nodes and password file.
fn slotway(args: &[&str], nodes: &str, password: &Path) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_slotway"))
        .args(args)
        .args(["--nodes", nodes, "--listen", "127.0.0.1:0", "--set"])
        .arg(format!("upstream.password_file={}", password.display()))
        .env_clear()
        .output()
        .expect("the binary under test runs");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn they_ask_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let right = dir.path().join("right");
    let wrong = dir.path().join("wrong");
    std::fs::write(&right, format!("{PASSWORD}\n")).unwrap();
    std::fs::write(&wrong, "battery staple").unwrap();
    for kind in servers() {
        let cluster = Cluster::boot(&ClusterOptions {
            password: Some(PASSWORD.to_owned()),
            ..cluster_options(&kind)
        })
        .unwrap();
        explain_names_the_owners(&cluster, &right);
        probe_knows_the_password(&cluster, &right, &wrong);
    }
}

fn explain_names_the_owners(cluster: &Cluster, password: &Path) {
    let owner = |key: &str| {
        let slot = Slot::of(key.as_bytes()).number();
        let node = cluster.owner_of(slot).expect("every slot has an owner");
        cluster.addr(node)
    };
    // The first seed refuses connections: the second is asked.
    let nodes = format!("127.0.0.1:1,{}", cluster.addr(0));
    let split = slotway(&["explain", "MGET a b"], &nodes, password);
    assert_eq!(split.code, Some(0), "{}", split.stderr);
    assert!(
        split.stderr.starts_with("127.0.0.1:1: "),
        "{}",
        split.stderr
    );
    for (key, slot) in [("a", 15495), ("b", 3300)] {
        let line = format!("MGET {key} → slot {slot} at {}\n", owner(key));
        assert!(
            split.stdout.contains(&line),
            "no {line} in {}",
            split.stdout
        );
    }
    let all = slotway(&["explain", "DBSIZE"], &nodes, password);
    for key in ["a", "b"] {
        let node = owner(key).to_string();
        assert!(all.stdout.contains(&node), "no {node} in {}", all.stdout);
    }
}

fn probe_knows_the_password(cluster: &Cluster, right: &Path, wrong: &Path) {
    let seed = cluster.addr(0).to_string();
    let accepted = slotway(&["check", "--probe"], &seed, right);
    assert_eq!(
        (accepted.code, &*accepted.stderr),
        (
            Some(0),
            &*format!(
                "{seed}: ok, cluster_state ok, 16384 of 16384 slots assigned, 6 nodes, 3 primaries with slots\n"
            )
        )
    );
    let refused = slotway(&["check", "--probe"], &seed, wrong);
    assert_eq!(refused.code, Some(1));
    let reason = "it refuses the password of upstream.password_file: WRONGPASS";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert!(!refused.stderr.contains("battery"), "{}", refused.stderr);
}
