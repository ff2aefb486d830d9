//! `dodona initiators …`.

use super::{Out, page_query, segment};
use crate::cli::InitiatorsCommand;
use crate::client::{Body, Client};
use crate::jsonapi::Document;
use crate::table::Table;

pub(super) async fn run(
    command: InitiatorsCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    match command {
        InitiatorsCommand::List(page) => {
            let query = page_query(&page);
            let query: Vec<(&str, &str)> = query
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let answer = client.get("/v2/external_initiators", &query).await?;
            out.show(&answer, many)
        }
        InitiatorsCommand::Create { name, url } => {
            let body = serde_json::json!({ "name": name, "url": url });
            let answer = client
                .post("/v2/external_initiators", &[], Body::Json(body))
                .await?;
            out.show(&answer, credentials)?;
            out.hint("the secrets are shown only now; the node keeps a hash of the first")
        }
        InitiatorsCommand::Destroy { name } => {
            client
                .delete(&format!("/v2/external_initiators/{}", segment(&name)?))
                .await?;
            out.line(&format!("External initiator {name} deleted"))
        }
    }
}

fn many(initiators: &Document) -> String {
    let mut table = Table::new(
        "External Initiators:",
        &[
            "ID",
            "Name",
            "URL",
            "AccessKey",
            "OutgoingToken",
            "CreatedAt",
            "UpdatedAt",
        ],
    );
    for initiator in initiators.items() {
        let columns = [
            "name",
            "url",
            "accessKey",
            "outgoingToken",
            "createdAt",
            "updatedAt",
        ];
        let cells = columns.map(|name| initiator.text(name));
        table.row([initiator.id.clone()].into_iter().chain(cells));
    }
    table.render()
}

/// What the initiator needs, and what it may expect of us.
fn credentials(initiator: &Document) -> String {
    let mut table = Table::new(
        "External Initiator Credentials:",
        &[
            "Name",
            "URL",
            "AccessKey",
            "Secret",
            "OutgoingToken",
            "OutgoingSecret",
        ],
    );
    for initiator in initiator.items() {
        let columns = [
            "name",
            "url",
            "incomingAccessKey",
            "incomingSecret",
            "outgoingToken",
            "outgoingSecret",
        ];
        table.row(columns.map(|name| initiator.text(name)));
    }
    table.render()
}
