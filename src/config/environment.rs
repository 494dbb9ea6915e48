//! The environment: `SLOTWAY_SECTION_KEY`. Names whose section is not ours are left alone, and so are those that
//! Kubernetes injects for a Service named like one of our sections.

use super::file::unknown_option;
use super::problem::{Origin, Problem};
use super::raw::Raw;
use super::settings::Assignment;
use super::table::{OPTIONS, SECTIONS};
use std::ffi::OsString;

const PREFIX: &str = "SLOTWAY_";

/// Adds what the variables say.
pub(super) fn read(
    variables: &[(OsString, OsString)],
    assignments: &mut Vec<Assignment>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let origin = Origin::Variable(name.to_owned());
        let option = OPTIONS.iter().find(|option| option.variable() == name);
        match (option, value.to_str()) {
            (Some(option), Some(text)) => assignments.push(Assignment {
                option,
                raw: Raw::from_text(text),
                origin,
            }),
            (Some(option), None) => {
                problems.push(Problem::new(&origin, format!("{}: not UTF-8", option.name)))
            }
            (None, value) => {
                let rest = &name[PREFIX.len()..];
                let Some((section, key)) = rest.split_once('_') else {
                    continue;
                };
                let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
                if SECTIONS.contains(&section.as_str())
                    && !is_of_kubernetes(&key, value.unwrap_or_default())
                {
                    problems.push(Problem::new(
                        &origin,
                        unknown_option(&format!("{section}.{key}")),
                    ));
                }
            }
        }
    }
}

/// Whether the variable describes a Service: for one named `slotway-admin`, Kubernetes sets
/// `SLOTWAY_ADMIN_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`, `…_PORT` and `…_PORT_9379_TCP[_ADDR|_PORT|_PROTO]`.
fn is_of_kubernetes(key: &str, value: &str) -> bool {
    let key = format!("_{key}_");
    let of_port = |at: usize| {
        let mut parts = key[at + "_port_".len()..].split('_');
        let numbered = parts
            .next()
            .is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        numbered && matches!(parts.next(), Some("tcp" | "udp" | "sctp"))
    };
    key.ends_with("_service_host_")
        || key.contains("_service_port_")
        || (key.ends_with("_port_") && value.contains("://"))
        || key.match_indices("_port_").any(|(at, _)| of_port(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, value: &str) -> Vec<String> {
        let (mut assignments, mut problems) = (Vec::new(), Vec::new());
        read(
            &[(name.into(), value.into())],
            &mut assignments,
            &mut problems,
        );
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_kubernetes_injects_is_left_alone() {
        for (name, value) in [
            ("SLOTWAY_PORT", "tcp://10.0.0.1:6379"),
            ("SLOTWAY_SERVICE_HOST", "10.0.0.1"),
            ("SLOTWAY_SERVICE_PORT_REDIS", "6379"),
            ("SLOTWAY_ADMIN_PORT", "tcp://10.0.0.1:9379"),
            ("SLOTWAY_ADMIN_SERVICE_HOST", "10.0.0.1"),
            ("SLOTWAY_ADMIN_SERVICE_PORT", "9379"),
            ("SLOTWAY_ADMIN_SERVICE_PORT_METRICS", "9379"),
            ("SLOTWAY_ADMIN_PORT_9379_TCP", "tcp://10.0.0.1:9379"),
            ("SLOTWAY_ADMIN_PORT_9379_TCP_PROTO", "tcp"),
            ("SLOTWAY_CACHE_A_PORT_1_UDP_ADDR", "10.0.0.1"),
            ("SLOTWAY_TEST_VALKEY", "/usr/bin/valkey-server"),
            ("SLOTWAY_LIMITS", "x"),
            ("PATH", "/bin"),
        ] {
            assert_eq!(problems(name, value), [""; 0], "{name}");
        }
    }

    #[test]
    fn an_unknown_key_in_a_section_of_ours_is_a_problem() {
        assert_eq!(
            problems("SLOTWAY_ADMIN_PORT", "9379"),
            ["SLOTWAY_ADMIN_PORT: unknown option `admin.port`"]
        );
        assert_eq!(
            problems("SLOTWAY_LIMITS_CLIENT", "9"),
            ["SLOTWAY_LIMITS_CLIENT: unknown option `limits.client`; did you mean limits.clients?"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_a_problem() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(vec![0xff]);
        let (mut assignments, mut problems) = (Vec::new(), Vec::new());
        read(
            &[("SLOTWAY_LOG_LEVEL".into(), value)],
            &mut assignments,
            &mut problems,
        );
        assert_eq!(
            problems[0].to_string(),
            "SLOTWAY_LOG_LEVEL: log.level: not UTF-8"
        );
    }
}
