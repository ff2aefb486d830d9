//! The process's metrics: one recorder, rendered when `/metrics` is asked.

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const SECOND_NS: f64 = 1e9;

/// Installs the recorder; call once. The buckets are those dashboards know, nanoseconds where the
/// name's history says so.
pub(crate) fn install() -> anyhow::Result<PrometheusHandle> {
    let seconds = |list: &[f64]| {
        list.iter()
            .map(|seconds| seconds * SECOND_NS)
            .collect::<Vec<f64>>()
    };
    let own = [
        (
            "tx_manager_time_until_tx_confirmed",
            &seconds(&[0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0])[..],
        ),
        (
            "tx_manager_time_until_tx_broadcast",
            &seconds(&[0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0]),
        ),
        (
            "tx_manager_blocks_until_tx_confirmed",
            &[1.0, 5.0, 10.0, 20.0, 50.0, 100.0],
        ),
        (
            "service_gonic_request_duration",
            &[
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ],
        ),
    ];
    let mut all = own.iter().chain(&dodona_rpc::HISTOGRAMS);
    all.try_fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)
    })
    .and_then(PrometheusBuilder::install_recorder)
    .context("setting up the metrics")
}
