//! Kinds of metrics that the library has not.

use std::fmt::Error;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::latency::{BOUNDS, Latency};

/// A histogram that was counted elsewhere.
#[derive(Debug)]
pub(super) struct Counted(pub(super) Latency);

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.classes).collect();
        encoder.encode_histogram::<[(&str, &str); 0]>(self.0.sum_seconds, self.0.count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A counter of kube-router under its name there. The library's end in `_total`, and nobody's dashboard would find it under that name.
#[derive(Debug, Default)]
pub(super) struct Plain(pub(super) Gauge);

impl TypedMetric for Plain {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Plain {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
