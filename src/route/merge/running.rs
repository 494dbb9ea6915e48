//! FUNCTION STATS of several nodes as one. Called by `merge`.

use super::{Parts, Unexpected};
use crate::resp;

/// Where the script that a node runs stands among what it says of itself, behind its name.
const RUNNING: usize = 1;

/// What the first node says (libraries are the same on all), with the script of whichever node runs one. The parts
/// speak the client's protocol version, so what they say fits together.
pub(super) fn stats(parts: &Parts<'_>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
    let all = parts.elements()?;
    for (part, fields) in all.iter().enumerate() {
        let name = fields.first().and_then(|name| resp::bulk(name));
        if name != Some(b"running_script") || fields.len() <= RUNNING {
            return Err(Unexpected(part));
        }
    }
    let mut running = all.iter().map(|fields| fields[RUNNING]);
    let script = running.find(|script| !resp::is_null(script));
    let Some(first) = all.first() else {
        return Err(Unexpected(0));
    };
    let mut fields = first.clone();
    if let Some(script) = script {
        fields[RUNNING] = script;
    }
    super::elements::aggregate(parts.get(0), fields.into_iter(), out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::Merge;
    use crate::route::{Facts, Gathering};

    fn merged(replies: &[&str]) -> String {
        let mut gathering = Gathering::of_fan_out(Merge::FunctionStats, replies.len(), 0);
        for (part, reply) in replies.iter().enumerate() {
            gathering.put(part, reply.as_bytes());
        }
        let mut out = Vec::new();
        gathering.finish(&Facts::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_script_that_runs_anywhere_is_shown() {
        let said = |head: &str, script: &str, engines: u8| {
            format!(
                "{head}\r\n$14\r\nrunning_script\r\n{script}\r\n$7\r\nengines\r\n:{engines}\r\n"
            )
        };
        let (idle, script) = ("$-1", "*2\r\n$4\r\nname\r\n$1\r\nf");
        let (first, busy) = (said("*4", idle, 1), said("*4", script, 2));
        assert_eq!(merged(&[&first, &busy]), said("*4", script, 1));
        assert_eq!(merged(&[&first, &first]), first);
        let (first, busy) = (said("%2", "_", 1), said("%2", script, 2));
        assert_eq!(merged(&[&first, &busy]), said("%2", script, 1));
    }

    #[test]
    fn what_is_no_such_reply_is_an_error() {
        let busy = "-BUSY Redis is busy running a script.\r\n";
        assert_eq!(merged(&["*0\r\n", busy]), busy);
        assert!(merged(&["*0\r\n"]).starts_with("-ERR slotway: "));
    }
}
