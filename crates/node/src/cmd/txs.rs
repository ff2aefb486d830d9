//! `dodona txs …` and `dodona attempts …`.

use super::{Out, page_query, segment};
use crate::cli::{AttemptsCommand, EvmTxsCommand, PageArgs, TxsCommand};
use crate::client::Client;
use crate::jsonapi::Document;
use crate::table::Table;

pub(super) async fn run(
    command: TxsCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    match command {
        TxsCommand::List(page) | TxsCommand::Evm(EvmTxsCommand::List(page)) => {
            list("/v2/transactions/evm", &page, client, out).await
        }
        TxsCommand::Show { hash } | TxsCommand::Evm(EvmTxsCommand::Show { hash }) => {
            let answer = client
                .get(&format!("/v2/transactions/evm/{}", segment(&hash)?), &[])
                .await?;
            out.show(&answer, |tx| one(tx, &hash))
        }
    }
}

pub(super) async fn attempts(
    command: AttemptsCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let AttemptsCommand::List(page) = command;
    list("/v2/tx_attempts/evm", &page, client, out).await
}

async fn list(
    path: &str,
    page: &PageArgs,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let query = page_query(page);
    let query: Vec<(&str, &str)> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let answer = client.get(path, &query).await?;
    out.show(&answer, |txs| {
        let mut table = Table::new(
            "Ethereum Transactions",
            &["Hash", "Nonce", "From", "GasPrice", "SentAt", "State"],
        );
        for tx in txs.items() {
            table.row(
                ["hash", "nonce", "from", "gasPrice", "sentAt", "state"].map(|name| tx.text(name)),
            );
        }
        table.render()
    })
}

fn one(tx: &Document, hash: &str) -> String {
    let mut table = Table::new(
        format!("Ethereum Transaction {hash}"),
        &["From", "Nonce", "To", "State"],
    );
    for tx in tx.items() {
        table.row(["from", "nonce", "to", "state"].map(|name| tx.text(name)));
    }
    table.render()
}
