//! Runs seeds: one, or many on several threads; makes what goes wrong in a failing one as little as it can be.

use crate::network::Net;
use crate::plan::{HOPS_FEW, HOPS_USUAL, Kind, Plan, Room, Values};
use crate::trace::Trace;
use crate::world::World;
use clap::Parser;
use slotway::command::CommandTable;
use slotway::config::{self, Config, Flags, Sources};
use slotway::io::simulated;
use slotway::server::simulated::Proxy;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Lines of a trace that are printed: its end is where it went wrong.
const TRACE_LINES_MAX: usize = 150;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

/// What is kept of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Hash,
    Words,
}

/// What became of one seed.
pub struct Run {
    pub hash: u64,
    pub problem: Option<String>,
    pub lines: Vec<String>,
    pub requests: usize,
    pub errors: usize,
    pub happened: BTreeMap<Kind, usize>,
}

/// A reply of so many bytes is a large one, where any is: what a GET finds, but no OK and no number of one digit.
const LARGE_BYTES: usize = 8;

/// With so many workers and connections requests wait for room in their lanes.
const CROWDED: (usize, usize) = (1, 2);

/// `limits.lane_in_flight` there.
const LANE_IN_FLIGHT: usize = 2;

/// In a plan with little of it: one or two large replies may be on their way over a lane.
const WINDOW_BYTES: usize = 24;

/// In a plan with little of it: a few pipelines of large values.
const MEMORY_BYTES: usize = 64 * 1024;

/// Workers, connections, what is large, what there is little of, and how many redirections are followed.
type Setup = (usize, usize, Values, Room, usize);

/// What all runs of a thread share.
pub struct Lab {
    table: CommandTable,
    configs: BTreeMap<Setup, Arc<Config>>,
}

impl Lab {
    pub fn new() -> Self {
        let values = [Values::Small, Values::Large];
        let rooms = [Room::Ample, Room::Window, Room::Memory];
        let pairs = [(1, 1), (1, 2), (2, 1), (2, 2)].into_iter();
        let triples = pairs.flat_map(|(w, c)| values.map(|v| (w, c, v)));
        let all = triples.flat_map(|(w, c, v)| rooms.map(|r| (w, c, v, r)));
        let all = all.flat_map(|(w, c, v, r)| [HOPS_USUAL, HOPS_FEW].map(|h| (w, c, v, r, h)));
        Self {
            table: CommandTable::builtin(),
            configs: all.map(|all| (all, Arc::new(configure(all)))).collect(),
        }
    }

    pub fn run(&self, seed: u64, kept: Kept) -> Run {
        self.run_plan(&Plan::new(seed), kept)
    }

    pub fn run_plan(&self, plan: &Plan, kept: Kept) -> Run {
        let net = Arc::new(Net::default());
        simulated::enter(net.clone(), plan.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build_local(Default::default())
            .unwrap();
        let setup = (
            plan.workers,
            plan.connections,
            plan.values,
            plan.room,
            plan.hops,
        );
        let config = self.configs[&setup].clone();
        let run = runtime.block_on(async {
            let proxy = Proxy::start(config, self.table.clone());
            let trace = match kept {
                Kept::Hash => Trace::default(),
                Kept::Words => Trace::kept(),
            };
            let mut world = World::new(plan, net, proxy, trace);
            world.run().await;
            Run {
                hash: world.trace.hash(),
                requests: world.oracle.len(),
                errors: world.oracle.errors,
                happened: std::mem::take(&mut world.happened),
                problem: world.problem.take(),
                lines: world.trace.lines(),
            }
        });
        drop(runtime);
        simulated::leave();
        run
    }
}

fn configure((workers, connections, values, room, hops): Setup) -> Config {
    let count = workers.to_string();
    let each = format!("upstream.connections={connections}");
    let nodes = "10.0.0.1:7000,10.0.0.2:7000";
    let words = ["-", "--nodes", nodes, "--workers", &count, "--set", &each];
    let flags = Cli::parse_from(words).flags;
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    let mut config = config::load(&sources)
        .unwrap_or_else(|e| panic!("{e}"))
        .config;
    if values == Values::Large {
        config.upstream.bulk_from = LARGE_BYTES;
    }
    if workers == CROWDED.0 && connections == CROWDED.1 {
        config.limits.lane_in_flight = LANE_IN_FLIGHT;
        // Nobody is refused for it where nobody is to get an error.
        config.timeouts.queue = config.timeouts.command;
    }
    config.limits.redirections = hops;
    match room {
        Room::Ample => {}
        Room::Window => config.upstream.bulk_bytes = WINDOW_BYTES,
        Room::Memory => config.limits.memory = MEMORY_BYTES,
    }
    config
}

/// What became of many.
#[derive(Default)]
pub struct Sum {
    pub seeds: u64,
    pub requests: usize,
    pub errors: usize,
    pub happened: BTreeMap<Kind, usize>,
    /// Seeds that failed, and why.
    pub failed: Vec<(u64, String)>,
}

/// Runs `seeds` seeds from `first` on, on all processors, until so many have failed.
pub fn many(first: u64, seeds: u64, within: Duration, failures: usize) -> Sum {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let lab = Lab::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let over = index >= seeds || began.elapsed() > within;
                    if over || sum.lock().unwrap().failed.len() >= failures {
                        return;
                    }
                    let run = lab.run(first + index, Kept::Hash);
                    let mut sum = sum.lock().unwrap();
                    sum.seeds += 1;
                    sum.requests += run.requests;
                    sum.errors += run.errors;
                    for (kind, count) in run.happened {
                        *sum.happened.entry(kind).or_default() += count;
                    }
                    if let Some(problem) = run.problem {
                        eprintln!("seed {} fails: {problem}", first + index);
                        sum.failed.push((first + index, problem));
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

/// Says what is needed to look into a failing seed.
pub fn report(seed: u64, problem: &str) {
    let lab = Lab::new();
    let mut plan = Plan::new(seed);
    minimise(&lab, &mut plan);
    let run = lab.run_plan(&plan, Kept::Words);
    let skipped = run.lines.len().saturating_sub(TRACE_LINES_MAX);
    eprintln!("seed {seed} fails: {problem}");
    eprintln!(
        "as little as it can be: {} faults, {} clients: {:?}",
        plan.faults.len(),
        plan.clients.len(),
        run.problem
    );
    eprintln!("({skipped} events before)");
    run.lines
        .iter()
        .skip(skipped)
        .for_each(|line| eprintln!("{line}"));
    eprintln!(
        "again: SLOTWAY_SEED={seed} cargo test --features simulation --test simulation -- --nocapture one_seed"
    );
}

/// Leaves out what the failure does not need.
fn minimise(lab: &Lab, plan: &mut Plan) {
    let fails = |plan: &Plan| lab.run_plan(plan, Kept::Hash).problem.is_some();
    for index in (0..plan.faults.len()).rev() {
        let fault = plan.faults.remove(index);
        if !fails(plan) {
            plan.faults.insert(index, fault);
        }
    }
    for client in (0..plan.clients.len()).rev() {
        for batch in (0..plan.clients[client].batches.len()).rev() {
            let left_out = plan.clients[client].batches.remove(batch);
            if !fails(plan) {
                plan.clients[client].batches.insert(batch, left_out);
            }
        }
    }
}
