//! Which commands are meant to wait, by name: how long one of them takes says nothing about how fast anything is.

/// Whether percentiles over all commands leave this one out; the dashboards do by the same rule.
pub fn is_meant_to_wait(name: &str) -> bool {
    let second = name.strip_prefix('b').and_then(|rest| rest.bytes().next());
    second.is_some_and(|byte| b"lrz".contains(&byte))
        || matches!(name, "xread" | "xreadgroup" | "wait" | "waitaof")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandTable;

    #[test]
    fn they_are_those_that_block_and_the_dashboards_agree() {
        for command in CommandTable::builtin().iter() {
            let blocks = command.flags.names().any(|flag| flag == "blocking");
            assert_eq!(is_meant_to_wait(&command.name), blocks, "{}", command.name);
        }
        let rule = "cmd!~\"b[lrz].*|xread|xreadgroup|wait|waitaof\"";
        assert!(include_str!("../../dashboards/rules.yaml").contains(rule));
        let quoted = rule.replace('"', "\\\"");
        assert!(include_str!("../../dashboards/slotway.json").contains(&quoted));
    }
}
