//! The names and labels dashboards look for.

use dodona_rpc::{HISTOGRAMS, NodeConfig, NodeState};
use dodona_testkit::until;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::scripted::Scripted;
use crate::{reaches, watched};

#[tokio::test]
async fn metrics_have_the_names_and_labels_existing_dashboards_know() {
    let with_bounds = |builder: PrometheusBuilder, (name, bounds): &(&str, &[f64])| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)
    };
    let mut histograms = HISTOGRAMS.iter();
    let builder = histograms.try_fold(PrometheusBuilder::new(), with_bounds);
    let recorder = builder.unwrap().build_recorder();
    let page = recorder.handle();
    // Everything of this test runs on this thread.
    let _installed = metrics::set_default_local_recorder(&recorder);

    let server = Scripted::start().await;
    server.refuses("eth_sendRawTransaction", -32000, "odd words");
    let node = NodeConfig {
        ws_url: Some(server.ws()),
        ..NodeConfig::primary("main", server.http())
    };
    let mut config = crate::config(vec![node]);
    config.new_heads_poll_interval = std::time::Duration::ZERO;
    let pool = watched(dodona_rpc::Pool::new(config).unwrap());
    reaches(&pool, "main", NodeState::Alive).await;
    until("it is subscribed", || async {
        (server.subscribers() == 1).then_some(())
    })
    .await;
    assert!(pool.gas_price().await.is_err());
    pool.send_raw(&alloy::primitives::Bytes::new()).await;

    let evm = r#"{evmChainID="1337",nodeName="main"}"#;
    let of_pool = r#"{network="EVM",chainID="1337",nodeName="main"}"#;
    let expected = [
        format!("evm_pool_rpc_node_calls_total{evm}"),
        format!("evm_pool_rpc_node_calls_failed{evm}"),
        format!("evm_pool_rpc_node_calls_success{evm}"),
        format!("evm_pool_rpc_node_dials_total{evm} 1"),
        format!("evm_pool_rpc_node_dials_success{evm} 1"),
        format!("pool_rpc_node_verifies{of_pool}"),
        format!("pool_rpc_node_verifies_success{of_pool}"),
        format!("pool_rpc_node_polls_total{of_pool}"),
        format!("pool_rpc_node_polls_success{of_pool}"),
        format!("pool_rpc_node_highest_seen_block{of_pool} 100"),
        format!("pool_rpc_node_num_seen_blocks{of_pool}"),
        format!("pool_rpc_node_num_transitions_to_alive{of_pool} 1"),
        r#"pool_rpc_node_client_version{network="EVM",chainID="1337",nodeName="main",rpcClientVersion="scripted/1"} 1"#.to_owned(),
        r#"evm_pool_rpc_node_rpc_call_time_bucket{evmChainID="1337",nodeName="main",rpcHost="127.0.0.1",isSendOnly="false",success="false",rpcCallName="eth_gasPrice",le="8000000000"} 1"#.to_owned(),
        format!("dodona_rpc_unknown_send_errors_total{evm} 1"),
    ];
    let missing = until("all metrics are there", || async {
        let page = page.render();
        let missing: Vec<_> = expected
            .iter()
            .filter(|line| !page.contains(*line))
            .collect();
        missing.is_empty().then_some(missing)
    })
    .await;
    assert!(missing.is_empty());
}

#[tokio::test]
async fn the_number_of_endpoints_in_each_state_is_a_metric() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let server = Scripted::start().await;
    let pool = crate::pool_of(&[&server]);
    pool.clone().run(std::future::ready(())).await;
    let page = page.render();
    assert!(
        page.contains(r#"multi_node_states{network="EVM",chainId="1337",state="Closed"} 1"#),
        "{page}"
    );
    assert!(
        page.contains(r#"multi_node_states{network="EVM",chainId="1337",state="Alive"} 0"#),
        "{page}"
    );
}
