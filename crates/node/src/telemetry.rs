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
    let broadcast = seconds(&[0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0]);
    let confirmed = seconds(&[0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0]);
    let calls = seconds(&[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0]);
    let blocks = [1.0, 5.0, 10.0, 20.0, 50.0, 100.0];
    let requests = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("tx_manager_time_until_tx_confirmed".to_owned()),
            &confirmed,
        )
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("tx_manager_time_until_tx_broadcast".to_owned()),
                &broadcast,
            )
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("tx_manager_blocks_until_tx_confirmed".to_owned()),
                &blocks,
            )
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("evm_pool_rpc_node_rpc_call_time".to_owned()),
                &calls,
            )
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("service_gonic_request_duration".to_owned()),
                &requests,
            )
        })
        .context("setting up the metrics")?
        .install_recorder()
        .context("setting up the metrics")
}
