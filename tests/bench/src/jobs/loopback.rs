//! A data source on this machine that costs as little as one can: whatever is asked, it gives one answer and keeps
//! the connection.

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends when dropped.
pub(super) struct Loopback {
    pub(super) url: String,
    server: JoinHandle<()>,
}

impl Loopback {
    pub(super) async fn answering(body: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/price", listener.local_addr()?);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, answer.clone()));
            }
        });
        Ok(Self { url, server })
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One request after another until the client goes away or says something that is none.
async fn serve(mut connection: TcpStream, answer: String) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut heard = Vec::with_capacity(4_096);
    loop {
        let end = loop {
            if let Some(at) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4 + length_of_body(&heard[..at])?;
            }
            more(&mut connection, &mut heard).await?;
        };
        while heard.len() < end {
            more(&mut connection, &mut heard).await?;
        }
        heard.drain(..end);
        connection.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn more(connection: &mut TcpStream, heard: &mut Vec<u8>) -> Option<()> {
    (connection.read_buf(heard).await.ok()? > 0).then_some(())
}

fn length_of_body(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    match head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
    {
        None => Some(0),
        Some(length) => length.trim().parse().ok(),
    }
}
