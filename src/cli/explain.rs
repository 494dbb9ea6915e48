//! `slotway explain`: what would happen to commands, by the configuration alone, given nodes, or a running proxy.

use clap::Args;
use slotway::admin::{ask, is_ok, reachable};
use slotway::config::{self, Config, Flags, Sources, admin_listen};
use slotway::explain::{COMMANDS_MAX, Known, Said, json, text, typed};
use std::io::{BufRead, Read};
use std::process::ExitCode;

/// Most that is read from standard input, and from a running proxy, in bytes.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// The command, as it would be typed into redis-cli; without one, commands of one client are read from standard input,
    /// one a line
    #[arg(num_args = 0.., value_name = "COMMAND")]
    command: Vec<String>,

    /// Ask the running proxy, at admin.listen: its commands, configuration and slot map decide
    #[arg(long, conflicts_with = "nodes")]
    running: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags,
}

/// Success if all could be explained, be they refused or not.
#[expect(clippy::print_stdout, reason = "printing is what it is for")]
pub(crate) fn explain(arguments: ExplainArguments) -> ExitCode {
    let sources = Sources::of_process(arguments.flags);
    let told = commands(arguments.command).and_then(|said| match arguments.running {
        true => of_running(&said, &sources, arguments.json),
        false => of_nodes(&said, &sources, arguments.json),
    });
    match told {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be explained.
fn commands(words: Vec<String>) -> Result<Vec<Said>, String> {
    match &words[..] {
        [] => {}
        [line] => return Ok(vec![Said::Line(line.clone())]),
        _ => return Ok(vec![Said::Words(words)]),
    }
    let mut said = Vec::new();
    for line in std::io::stdin().lock().take(INPUT_BYTES_MAX).lines() {
        let line = line.map_err(|error| format!("slotway explain: standard input: {error}"))?;
        if !line.trim().is_empty() {
            said.push(Said::Line(line));
        }
        if said.len() > COMMANDS_MAX {
            break;
        }
    }
    match said.is_empty() {
        true => {
            Err("slotway explain: there is no command to explain, such as 'MGET a b'".to_owned())
        }
        false => Ok(said),
    }
}

fn of_nodes(said: &[Said], sources: &Sources, as_json: bool) -> Result<String, String> {
    let loaded = config::load_without_nodes(sources);
    let config: Config = loaded.map_err(|problems| problems.to_string())?.config;
    let (known, problems) = Known::ask(&config);
    for problem in problems {
        eprintln!("{problem}");
    }
    let told = slotway::explain::explain(said, &config, &known);
    let told = told.map_err(|problem| format!("slotway explain: {problem}"))?;
    if as_json {
        return Ok(format!("{:#}\n", json(&told)));
    }
    let hint = match config.cluster.nodes.is_empty() {
        true => "(no nodes given: with --nodes HOST:PORT, or --running, it names the nodes)\n",
        false => "",
    };
    Ok(text(&told) + hint)
}

/// As in `top`: of the configuration only `admin.listen` matters.
fn of_running(said: &[Said], sources: &Sources, as_json: bool) -> Result<String, String> {
    let addr = match admin_listen(sources) {
        Ok(Some(addr)) => reachable(addr),
        Ok(None) => {
            return Err("slotway explain: admin.listen is off, there is nobody to ask".to_owned());
        }
        Err(problems) => return Err(problems.to_string()),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("as", if as_json { "json" } else { "text" });
    for said in said {
        query.append_pair("command", &typed(said));
    }
    let path = format!("/explain?{}", query.finish());
    let answer = ask(addr, &path, ANSWER_BYTES_MAX)
        .map_err(|error| format!("slotway explain: no answer from {addr}: {error}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match (is_ok(&answer), body) {
        (true, _) => Ok(body.to_owned()),
        (false, "") => Err(format!(
            "slotway explain: {addr} says {}",
            answer.lines().next().unwrap_or("nothing")
        )),
        (false, why) => Err(format!("slotway explain: {}", why.trim_end())),
    }
}
