//! What is collected for one scrape, sorted into metric families. Sources add samples by row of the metric
//! table; labels are checked against it, so that no source can invent one.

use super::histogram::HistogramSum;
use super::table::{Definition, Kind, METRICS, Metric};
use prometheus::proto;

/// Something that has samples to add when scraped. Called on the control thread, for each scrape.
pub trait Source: Send + Sync {
    /// Adds its samples.
    fn collect(&self, families: &mut Families);
}

/// The samples of one scrape.
pub struct Families {
    /// By row of [`METRICS`].
    samples: Vec<Vec<proto::Metric>>,
}

impl Families {
    pub(super) fn new() -> Self {
        Self {
            samples: METRICS.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Adds a sample of a counter or gauge; `labels` are the values, in the order of the table.
    pub fn add(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let definition = metric.definition();
        let mut sample = proto::Metric::from_label(pairs(definition, labels));
        if definition.kind == Kind::Counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.samples[metric as usize].push(sample);
    }

    pub(super) fn add_histogram(&mut self, metric: Metric, labels: &[&str], sum: &HistogramSum) {
        let mut histogram = proto::Histogram::default();
        histogram.set_sample_count(sum.count());
        histogram.set_sample_sum(sum.sum_seconds());
        let buckets = sum.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        let mut sample = proto::Metric::from_label(pairs(metric.definition(), labels));
        sample.set_histogram(histogram);
        self.samples[metric as usize].push(sample);
    }

    /// The families that have samples.
    pub(super) fn finish(self) -> Vec<proto::MetricFamily> {
        let rows = METRICS.iter().zip(self.samples);
        let used = rows.filter(|(_, samples)| !samples.is_empty());
        used.map(|(definition, samples)| {
            let mut family = proto::MetricFamily::default();
            family.set_name(definition.name.to_owned());
            family.set_help(definition.help.to_owned());
            family.set_field_type(match definition.kind {
                Kind::Counter => proto::MetricType::COUNTER,
                Kind::Gauge => proto::MetricType::GAUGE,
                Kind::Histogram => proto::MetricType::HISTOGRAM,
            });
            family.set_metric(samples);
            family
        })
        .collect()
    }
}

fn pairs(definition: &Definition, values: &[&str]) -> Vec<proto::LabelPair> {
    debug_assert_eq!(
        definition.labels.len(),
        values.len(),
        "labels of {}",
        definition.name
    );
    let names = definition.labels.iter();
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    // One without a value says nothing: to Prometheus it is the same as none.
    let said = names.zip(values).filter(|(_, value)| !value.is_empty());
    said.map(pair).collect()
}
