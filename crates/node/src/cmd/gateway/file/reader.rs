//! What is in the file's tables and in the files and variables they name.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dodona_rpc::gateway::JwtConfig;
use dodona_rpc::{EndpointTls, NodeConfig};
use secrecy::SecretSlice;

use super::super::addresses::{HTTP, WS, address, refuse_plain, refuse_twice};
use super::{Jwt, Upstream};

/// Paths in the file are beside the file.
pub(super) struct Reader<'a> {
    pub(super) folder: &'a Path,
    /// What was read, to be watched for changes.
    pub(super) files: Vec<PathBuf>,
}

impl Reader<'_> {
    pub(super) fn path(&mut self, path: &Path) -> PathBuf {
        let path = self.folder.join(path);
        self.files.push(path.clone());
        path
    }

    /// `place` is the setting that names the file.
    fn bytes(&mut self, place: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
        let path = self.path(path);
        std::fs::read(&path).with_context(|| format!("{place}: {} cannot be read", path.display()))
    }

    /// `env:NAME` and `file:PATH` keep secrets out of the file; anything else is itself.
    fn resolved(&mut self, place: &str, text: &str) -> anyhow::Result<String> {
        if let Some(name) = text.strip_prefix("env:") {
            return std::env::var_os(name)
                .and_then(|value| value.into_string().ok())
                .with_context(|| format!("{place}: the environment variable {name} is not set"));
        }
        if let Some(path) = text
            .strip_prefix("file:")
            .filter(|path| !path.starts_with("//"))
        {
            let bytes = self.bytes(place, Path::new(path))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| anyhow::anyhow!("{place}: {path} holds something else than text"))?;
            return Ok(text.trim().to_owned());
        }
        Ok(text.to_owned())
    }

    fn upstream(&mut self, upstream: Upstream) -> anyhow::Result<NodeConfig> {
        let table = format!("[[upstream]] {:?}", upstream.name);
        let mut url = |key: &str, text: Option<String>, schemes: &[&str]| {
            let Some(text) = text else { return Ok(None) };
            let place = format!("{table} {key}");
            // The text may be a secret; it is not repeated.
            let text = self.resolved(&place, &text)?;
            let url = address(&text, schemes).map_err(|what| anyhow::anyhow!("{place}: {what}"))?;
            if !upstream.plain {
                refuse_plain(&url, &place, "plain = true")?;
            }
            Ok::<_, anyhow::Error>(Some(url))
        };
        let http_url = url("http", upstream.http, HTTP)?;
        let ws_url = url("ws", upstream.ws, WS)?;
        anyhow::ensure!(
            http_url.is_some() || (ws_url.is_some() && !upstream.send_only),
            "{table}: {}",
            match upstream.send_only {
                true =>
                    "what is send_only needs http, an address that begins with http:// or https://",
                false => "it has no address: give it http or ws, or both",
            }
        );
        anyhow::ensure!(
            (1..=100).contains(&upstream.priority),
            "{table} priority: it has to be 1 to 100, the lowest is asked first"
        );
        anyhow::ensure!(
            upstream
                .requests_per_second
                .is_none_or(|rate| rate > 0.0 && rate.is_finite()),
            "{table} requests_per_second: it has to be more than 0, or left out for as many as the client takes"
        );
        anyhow::ensure!(
            upstream.concurrent != Some(0),
            "{table} concurrent: with 0 it could never be asked; give at least 1, or leave it out to have it learned"
        );
        let identity = match (upstream.certificate, upstream.key) {
            (Some(certificate), Some(key)) => Some((
                self.bytes(&format!("{table} certificate"), &certificate)?,
                self.bytes(&format!("{table} key"), &key)?,
            )),
            (None, None) => None,
            (Some(_), None) => {
                anyhow::bail!("{table} certificate: it needs its key beside it (key)")
            }
            (None, Some(_)) => {
                anyhow::bail!("{table} key: it needs its certificate beside it (certificate)")
            }
        };
        let ca = upstream
            .ca
            .map(|path| self.bytes(&format!("{table} ca"), &path))
            .transpose()?;
        let tls = EndpointTls { ca, identity };
        tls.check()
            .map_err(|what| anyhow::anyhow!("{table} {what}"))?;
        Ok(NodeConfig {
            http_url,
            ws_url,
            http_url_extra_write: None,
            send_only: upstream.send_only,
            order: upstream.priority,
            rate_per_second: upstream.requests_per_second,
            max_concurrent: upstream.concurrent,
            tls,
            name: upstream.name,
        })
    }

    pub(super) fn upstreams(&mut self, list: Vec<Upstream>) -> anyhow::Result<Vec<NodeConfig>> {
        anyhow::ensure!(
            !list.is_empty(),
            "no [[upstream]] is given: name at least one Ethereum client"
        );
        let mut nodes: Vec<NodeConfig> = Vec::new();
        for upstream in list {
            anyhow::ensure!(
                !upstream.name.trim().is_empty(),
                "[[upstream]] name: it is empty; call each client something"
            );
            anyhow::ensure!(
                nodes.iter().all(|other| other.name != upstream.name),
                "[[upstream]] name: two are called {:?}; give each its own",
                upstream.name
            );
            nodes.push(self.upstream(upstream)?);
        }
        anyhow::ensure!(
            nodes.iter().any(|node| !node.send_only),
            "[[upstream]] send_only: it stands at every upstream, so nothing could be read; name one without it"
        );
        refuse_twice(&nodes).context("[[upstream]]")?;
        Ok(nodes)
    }

    pub(super) fn jwt(&mut self, jwt: Jwt) -> anyhow::Result<JwtConfig> {
        let secret = match jwt.secret {
            None => None,
            Some(text) => {
                anyhow::ensure!(
                    text.starts_with("env:") || text.starts_with("file:"),
                    "[jwt] secret: it has to be env:NAME or file:PATH, so that it is not in this file"
                );
                let text = self.resolved("[jwt] secret", &text)?;
                Some(SecretSlice::from(text.into_bytes()))
            }
        };
        for (key, value) in [("issuer", &jwt.issuer), ("audience", &jwt.audience)] {
            anyhow::ensure!(
                !value.is_empty(),
                "[jwt] {key}: it is empty, and no token says so; write what tokens say"
            );
        }
        Ok(JwtConfig {
            keys: jwt.keys.iter().map(|path| self.path(path)).collect(),
            secret,
            issuer: jwt.issuer,
            audience: jwt.audience,
            leeway_seconds: jwt.leeway_seconds,
        })
    }
}
