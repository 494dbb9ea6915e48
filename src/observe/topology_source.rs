//! Shows what the topology task counted. The numbers are `topology`'s; their names are in the metric table.

use super::families::{Families, Source};
use super::table::Metric;
use super::topology::{RefreshResult, TopologyMetrics, Trigger};

impl Source for TopologyMetrics {
    fn collect(&self, families: &mut Families) {
        for trigger in Trigger::ALL {
            for result in RefreshResult::ALL {
                let n = self.refreshes(trigger, result);
                families.add(
                    Metric::TopologyRefreshes,
                    &[trigger.label(), result.label()],
                    n as f64,
                );
            }
        }
        families.add(
            Metric::TopologyLastSuccess,
            &[],
            self.last_success_seconds(),
        );
        families.add(Metric::TopologyEpoch, &[], self.epoch() as f64);
        families.add(Metric::SlotsCovered, &[], self.slots_covered() as f64);
        families.add(Metric::Nodes, &["primary"], self.primaries() as f64);
        families.add(Metric::Nodes, &["replica"], self.replicas() as f64);
    }
}
