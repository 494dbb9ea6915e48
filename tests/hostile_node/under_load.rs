//! Scenario 14 under load: a node that sends more than it was asked for, cuts replies short, or sends what is no
//! reply, again and again, beside a node that behaves. Every reply carries the nonce of its request: whoever waits for
//! the liar gets their own reply or is told that the outcome is unknown, a write arrives once at most, and those who
//! wait for the other node notice nothing, not even a new connection.

use crate::support::node::{Action, Call, FakeCluster};
use crate::support::{Proxy, RawClient, Scenario, StopOnDrop, encode, rounds, seed, show};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use slotway::cluster::Slot;
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Faults of each kind of lie in one run, at least.
const FAULTS_MIN: u64 = 30;
/// Of so many commands the liar answers one with a lie, on average.
const LIE_EVERY: u32 = 12;
/// Clients of the liar at the same time, and the most commands one of them sends at once.
const VICTIMS: usize = 4;
const PIPELINE_MAX: usize = 6;
/// A run that does not come to an end has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node that lies, and the one that does not.
const LIAR: usize = 0;
const HONEST: usize = 1;

/// What the liar does to the next commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lies {
    None,
    /// The right reply, and one more.
    Surplus,
    /// A reply cut short, or bytes that are none; the connection stays open or is closed.
    Broken,
}

struct Liar {
    lies: Lies,
    random: StdRng,
    told: u64,
    /// How often each write arrived.
    writes: HashMap<Vec<u8>, u64>,
}

impl Liar {
    fn answer(&mut self, call: &Call) -> Option<Vec<Action>> {
        let nonce = match call.name().as_str() {
            "GETRANGE" => &call.args[2],
            "SETRANGE" => {
                *self.writes.entry(call.args[2].clone()).or_default() += 1;
                &call.args[2]
            }
            _ => return None,
        };
        let reply = [b"+", nonce.as_slice(), b"\r\n"].concat();
        let lie = match self.lies {
            Lies::None => return Some(vec![Action::Send(reply)]),
            _ if self.random.random_range(0..LIE_EVERY) > 0 => {
                return Some(vec![Action::Send(reply)]);
            }
            Lies::Surplus => {
                let surplus: [&[u8]; 4] = [b"$6\r\nstolen\r\n", b"+stolen\r\n", b"$9\r\nsto", b":"];
                let surplus = surplus[self.random.random_range(0..surplus.len())];
                vec![Action::Send([&reply, surplus].concat())]
            }
            Lies::Broken => {
                let broken: [&[u8]; 6] = [
                    b"\xff\xfe",
                    b"$-7\r\n",
                    b"*2\r\n$3\r\nabcd\r\n",
                    b">2\r\n$10\r\ninvalidate\r\n*0\r\n",
                    b"$10\r\nabc",
                    &reply[..reply.len() - 2],
                ];
                let which = self.random.random_range(0..broken.len());
                let mut actions = vec![Action::Send(broken[which].to_vec())];
                // What is only cut short is noticed at the end of the connection.
                if which >= 4 || self.random.random_bool(0.5) {
                    actions.push(match self.random.random_bool(0.5) {
                        true => Action::Close,
                        false => Action::Reset,
                    });
                }
                actions
            }
        };
        self.told += 1;
        Some(lie)
    }
}

#[test]
fn a_node_that_lies_hurts_only_those_who_wait_for_it() {
    (0..rounds()).for_each(|_| lies_under_load(seed("lies")));
}

fn lies_under_load(seed: u64) {
    let what = "surplus, truncated and injected replies from one of two nodes";
    let mut scenario = Scenario::begin(14, what, "-");
    scenario.seeded(seed);
    let stage = Stage::set(seed);
    let stop = AtomicBool::new(false);
    let mut tally = Tally::default();
    let mut bystanders: Vec<_> = (0..2).map(|id| Bystander::new(&stage, id)).collect();
    let opened = stage.cluster.accepted(HONEST);
    let map = stage.map();
    let beside: u64 = std::thread::scope(|scope| {
        let stop_others = StopOnDrop(&stop);
        let stop = &stop;
        let others: Vec<_> = bystanders
            .drain(..)
            .map(|other| scope.spawn(move || other.go_on(stop)))
            .collect();
        stage.surplus(&mut tally);
        stage.injected(seed);
        stage.broken(&mut tally);
        drop(stop_others);
        others
            .into_iter()
            .map(|other| other.join().expect("a bystander was disturbed"))
            .sum()
    });
    assert_eq!(
        stage.cluster.accepted(HONEST),
        opened,
        "connections to the node that behaves were lost"
    );
    assert_eq!(stage.map(), map, "the map has changed");
    let writes = stage.liar.lock().unwrap().writes.clone();
    for (nonce, times) in &writes {
        assert_eq!(
            *times,
            1,
            "the write {} arrived more than once",
            show(nonce)
        );
    }
    for nonce in &tally.acknowledged {
        assert!(
            writes.contains_key(nonce),
            "the write {} never arrived",
            show(nonce)
        );
    }
    let metrics = stage.proxy.metrics();
    let unknown = metrics.sum("slotway_unknown_outcomes_total", &[]);
    assert_eq!(
        unknown, tally.unknown as f64,
        "unknown outcomes, as counted and as told"
    );
    let lost = |reason| metrics.sum("slotway_upstream_errors_total", &[("reason", reason)]);
    scenario.figure("lies", stage.liar.lock().unwrap().told);
    scenario.figure("connections ended", lost("protocol") + lost("lost"));
    scenario.figure("replies of their own", tally.own);
    scenario.figure("outcome unknown", tally.unknown);
    scenario.figure("crossed", 0);
    scenario.figure("twice", 0);
    scenario.figure("right replies beside", beside);
    scenario.passed();
    stage.cluster.finish();
}

/// What the victims got.
#[derive(Default)]
struct Tally {
    own: u64,
    unknown: u64,
    acknowledged: Vec<Vec<u8>>,
}

struct Stage {
    cluster: FakeCluster,
    proxy: Proxy,
    liar: Arc<Mutex<Liar>>,
    liars_key: String,
}

impl Stage {
    fn set(seed: u64) -> Self {
        let cluster = FakeCluster::start(2);
        let liar = Arc::new(Mutex::new(Liar {
            lies: Lies::None,
            random: StdRng::seed_from_u64(seed),
            told: 0,
            writes: HashMap::new(),
        }));
        let its = Arc::clone(&liar);
        cluster.on(LIAR, move |call| its.lock().unwrap().answer(call));
        cluster.on(HONEST, |call| {
            let reply = || [b"+", call.args[2].as_slice(), b"\r\n"].concat();
            (call.name() == "GETRANGE").then(|| vec![Action::Send(reply())])
        });
        let args = ["timeouts.command=60s", "timeouts.unavailable=60s"];
        let args = ["--workers", "2", "--set", args[0], "--set", args[1]];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        let liars_key = key_of(&cluster, LIAR);
        Self {
            cluster,
            proxy,
            liar,
            liars_key,
        }
    }

    fn lie(&self, lies: Lies) {
        self.liar.lock().unwrap().lies = lies;
    }

    fn told(&self) -> u64 {
        self.liar.lock().unwrap().told
    }

    fn map(&self) -> serde_json::Value {
        let (_, body) = self
            .proxy
            .get("/topology")
            .expect("the admin endpoint answers");
        let topology: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        serde_json::json!([topology["version"], topology["ranges"]])
    }

    /// One client that waits for each reply: whatever comes besides is nobody's. (With more requests on their way, a
    /// surplus reply cannot be told from theirs.)
    fn surplus(&self, tally: &mut Tally) {
        self.lie(Lies::Surplus);
        let (mut client, began) = (self.proxy.client(), Instant::now());
        for round in 0.. {
            let command = if round % 2 == 0 {
                "GETRANGE"
            } else {
                "SETRANGE"
            };
            let nonce = format!("surplus{round}");
            let got = client.command(&[command, &self.liars_key, &nonce, "0"]);
            assert_eq!(show(&got), show(format!("+{nonce}\r\n").as_bytes()));
            tally.own += 1;
            if self.told() >= FAULTS_MIN {
                break;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} lies in {round} rounds",
                self.told()
            );
        }
        self.lie(Lies::None);
    }

    /// Bytes on a connection on which nothing was asked; one of them names an address that nobody knows.
    fn injected(&self, seed: u64) {
        let trap = TcpListener::bind("127.0.0.1:0").expect("a free port");
        trap.set_nonblocking(true).expect("a socket");
        let port = trap.local_addr().expect("it listens").port();
        let slot = Slot::of(self.liars_key.as_bytes()).number();
        let mut client = self.proxy.client();
        let texts = [
            "$6\r\nstolen\r\n".to_owned(),
            "+OK\r\n+OK\r\n".to_owned(),
            "$10\r\nab".to_owned(),
            format!("-MOVED {slot} 127.0.0.1:{port}\r\n"),
            format!("-ASK {slot} 127.0.0.1:{port}\r\n"),
        ];
        for (i, text) in texts.iter().enumerate() {
            let ask = |client: &mut RawClient, when: &str| {
                let nonce = format!("{when}{seed}:{i}");
                let got = client.command(&["GETRANGE", &self.liars_key, &nonce, "0"]);
                assert_eq!(show(&got), show(format!("+{nonce}\r\n").as_bytes()));
            };
            ask(&mut client, "before");
            let reasons = [("reason", "protocol")];
            let ended = || {
                self.proxy
                    .metrics()
                    .sum("slotway_upstream_errors_total", &reasons)
            };
            let before = ended();
            let calls = self.cluster.calls(LIAR);
            let last = calls
                .iter()
                .rfind(|call| call.name() == "GETRANGE")
                .expect("it came");
            self.cluster.inject(last.connection, text.as_bytes());
            self.proxy.wait_for("the connection to end", PATIENCE, || {
                match ended() - before {
                    1.0 => Ok(()),
                    ended => Err(format!("{} for {text:?}", ended)),
                }
            });
            ask(&mut client, "after");
        }
        assert!(
            trap.accept().is_err(),
            "an address was dialled that only a stray reply named"
        );
    }

    /// Several clients on the same connections, with pipelines.
    fn broken(&self, tally: &mut Tally) {
        self.lie(Lies::Broken);
        let enough = self.told() + FAULTS_MIN;
        let tallies: Vec<Tally> = std::thread::scope(|scope| {
            let victims: Vec<_> = (0..VICTIMS)
                .map(|id| scope.spawn(move || self.victim(id, enough)))
                .collect();
            victims
                .into_iter()
                .map(|victim| victim.join().expect("a victim"))
                .collect()
        });
        self.lie(Lies::None);
        for its in tallies {
            tally.own += its.own;
            tally.unknown += its.unknown;
            tally.acknowledged.extend(its.acknowledged);
        }
    }

    fn victim(&self, id: usize, enough: u64) -> Tally {
        let unknown = format!(
            "-ERR slotway: outcome unknown, connection to {} ",
            self.cluster.addr(LIAR)
        );
        let (mut client, began) = (self.proxy.client(), Instant::now());
        let mut tally = Tally::default();
        for round in 0.. {
            if self.told() >= enough {
                break;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} lies in {round} rounds",
                self.told()
            );
            let nonces: Vec<String> = (0..=round % PIPELINE_MAX)
                .map(|i| format!("{id}:{round}:{i}"))
                .collect();
            let command = |i: usize| {
                if (round + i).is_multiple_of(2) {
                    "GETRANGE"
                } else {
                    "SETRANGE"
                }
            };
            let requests = nonces.iter().enumerate();
            let requests =
                requests.flat_map(|(i, nonce)| encode(&[command(i), &self.liars_key, nonce, "0"]));
            client.send(&requests.collect::<Vec<u8>>());
            for (i, (nonce, reply)) in nonces.iter().zip(client.replies(nonces.len())).enumerate() {
                if reply == format!("+{nonce}\r\n").as_bytes() {
                    tally.own += 1;
                    if command(i) == "SETRANGE" {
                        tally.acknowledged.push(nonce.clone().into_bytes());
                    }
                } else {
                    assert!(
                        reply.starts_with(unknown.as_bytes()),
                        "for {nonce} came {}",
                        show(&reply)
                    );
                    tally.unknown += 1;
                }
            }
        }
        tally
    }
}

/// A client of the node that behaves.
struct Bystander {
    client: RawClient,
    key: String,
}

impl Bystander {
    /// Connected, and its connection to the node open.
    fn new(stage: &Stage, id: usize) -> Self {
        let mut this = Self {
            client: stage.proxy.client(),
            key: key_of(&stage.cluster, HONEST),
        };
        this.ask(&format!("bystander{id}"));
        this
    }

    fn ask(&mut self, nonce: &str) {
        let got = self.client.command(&["GETRANGE", &self.key, nonce, "0"]);
        assert_eq!(show(&got), show(format!("+{nonce}\r\n").as_bytes()));
    }

    /// Until told to stop; how many replies it got, all of them its own.
    fn go_on(mut self, stop: &AtomicBool) -> u64 {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            rounds += 1;
            self.ask(&format!("round{rounds}"));
        }
        assert!(rounds > 0, "a bystander did nothing");
        rounds
    }
}

/// A key whose slot that node serves.
fn key_of(cluster: &FakeCluster, node: usize) -> String {
    let mut keys = (0..).map(|i| format!("key{i}"));
    let its = keys.find(|key| cluster.owner(Slot::of(key.as_bytes()).number()) == node);
    its.expect("every node serves some slots")
}
