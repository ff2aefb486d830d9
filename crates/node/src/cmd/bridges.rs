//! `dodona bridges …`.

use serde_json::Value;

use super::{Out, document, page_query, segment};
use crate::cli::BridgesCommand;
use crate::client::{Body, Client};
use crate::jsonapi::Document;
use crate::table::Table;

pub(super) async fn run(
    command: BridgesCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    match command {
        BridgesCommand::List(page) => {
            let query = page_query(&page);
            let query: Vec<(&str, &str)> = query
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let answer = client.get("/v2/bridge_types", &query).await?;
            out.show(&answer, many)
        }
        BridgesCommand::Show { name } => {
            let answer = client
                .get(&format!("/v2/bridge_types/{}", segment(&name)?), &[])
                .await?;
            out.show(&answer, one)
        }
        BridgesCommand::Create { bridge } => {
            let is_object = |text: &str| {
                serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
            };
            let bridge = document(&bridge, "a JSON object", is_object)?;
            let answer = client
                .post("/v2/bridge_types", &[], Body::Raw(bridge))
                .await?;
            out.show(&answer, |bridge| one(bridge) + &incoming_token(bridge))
        }
        BridgesCommand::Destroy { name } => {
            let answer = client
                .delete(&format!("/v2/bridge_types/{}", segment(&name)?))
                .await?;
            out.show(&answer, one)
        }
    }
}

fn many(bridges: &Document) -> String {
    let mut table = Table::new("Bridges", &["Name", "URL", "Confirmations"]);
    for bridge in bridges.items() {
        table.row(["name", "url", "confirmations"].map(|name| bridge.text(name)));
    }
    table.render()
}

fn one(bridge: &Document) -> String {
    let mut table = Table::new(
        "Bridge",
        &["Name", "URL", "Default Confirmations", "Outgoing Token"],
    );
    for bridge in bridge.items() {
        table.row(["name", "url", "confirmations", "outgoingToken"].map(|name| bridge.text(name)));
    }
    table.render()
}

/// The token an adapter presents when it answers later. It is shown once, so it is shown.
fn incoming_token(bridge: &Document) -> String {
    let tokens = bridge
        .items()
        .into_iter()
        .filter_map(|bridge| bridge.optional("incomingToken"));
    tokens
        .map(|token| format!("Incoming Token (shown only now): {token}\n"))
        .collect()
}
