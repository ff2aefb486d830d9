//! The client behind every `http` and `bridge` task.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Request, Response, StatusCode};
use url::{Host, Url};

use super::policy::Policy;
use super::resolver::{self, Checked, Resolve, Rules, SystemResolver};
use super::{HttpError, MAX_REDIRECTS};
use crate::error::excerpt;
use crate::observe;
use crate::ports::{CallOrigin, HttpCall, HttpReply, Reach};

/// Idle connections kept per host: enough for a busy data source, few enough to stay small.
const IDLE_PER_HOST: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Headers that belong to the connection and not to the job. The reference node leaves them out
/// silently too.
const NOT_THE_JOBS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "proxy-connection",
];
/// Headers that are for one host only and do not follow a redirect to another.
const FOR_ONE_HOST: &[&str] = &[
    "authorization",
    "cookie",
    "cookie2",
    "www-authenticate",
    "proxy-authorization",
];

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The process has not chosen its cryptography.
    #[error(
        "no TLS provider is installed: install rustls's ring provider before creating HTTP clients"
    )]
    NoTlsProvider,
    /// The client could not be built.
    #[error("the HTTP client could not be built")]
    Client(#[from] reqwest::Error),
}

/// Sends requests to places they may reach.
///
/// Restricted and unrestricted requests never share a connection. Proxies in the environment are
/// not used, cookies are not kept, compression is not asked for.
#[derive(Clone, Debug)]
pub struct EgressClient {
    restricted: Line,
    unrestricted: Line,
    policy: Arc<Policy>,
}

/// A client with the rules its connections keep.
#[derive(Clone, Debug)]
struct Line {
    client: Client,
    rules: Rules,
}

impl EgressClient {
    /// A client that asks the operating system for addresses.
    pub fn new() -> Result<Self, EgressError> {
        Self::keeping_off(&[])
    }

    /// The same, for a node whose database has the addresses `own`: restricted requests do not
    /// reach them, public or not.
    pub fn keeping_off(own: &[IpAddr]) -> Result<Self, EgressError> {
        Self::with_resolver(Arc::new(SystemResolver), own)
    }

    /// A client that asks `resolver` for addresses; see [`EgressClient::keeping_off`] for `own`.
    pub fn with_resolver(resolver: Arc<dyn Resolve>, own: &[IpAddr]) -> Result<Self, EgressError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(EgressError::NoTlsProvider);
        }
        let line = |reach| {
            let rules = Rules {
                reach,
                own: own.into(),
            };
            let resolver = Checked {
                inner: Arc::clone(&resolver),
                rules: rules.clone(),
            };
            build(resolver).map(|client| Line { client, rules })
        };
        Ok(Self {
            restricted: line(Reach::Restricted)?,
            unrestricted: line(Reach::Unrestricted)?,
            policy: Arc::new(Policy::standard()),
        })
    }

    /// The same client under another policy.
    #[must_use]
    pub fn under(mut self, policy: Policy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Sends a request, follows redirects and reads the whole response.
    ///
    /// Any status is a response; what it means is the caller's business.
    pub async fn send(&self, call: HttpCall) -> Result<HttpReply, HttpError> {
        resolver::remembering(self.send_accounted(call)).await
    }

    async fn send_accounted(&self, call: HttpCall) -> Result<HttpReply, HttpError> {
        let mut account = Account {
            origin: call.origin.clone(),
            at: Destination::of(&call.url),
            settled: false,
        };
        let limit = call.timeout;
        let followed = self.follow(call, &mut account.at);
        let result = match limit {
            None => followed.await,
            Some(limit) => match tokio::time::timeout(limit, followed).await {
                Ok(result) => result,
                Err(_) => Err(HttpError::TimedOut),
            },
        };
        if let Err(HttpError::Disallowed { address, .. }) = &result {
            account.at.address = Some(*address);
        }
        account.settle(&result);
        result
    }

    async fn follow(&self, call: HttpCall, at: &mut Destination) -> Result<HttpReply, HttpError> {
        let Line { client, rules } = match call.reach {
            Reach::Restricted => &self.restricted,
            Reach::Unrestricted => &self.unrestricted,
        };
        let mut hop = Hop {
            method: Method::from_bytes(call.method.as_bytes()).map_err(|_| {
                HttpError::Invalid(format!(
                    "{:?} is not an HTTP method",
                    excerpt(&call.method, 40)
                ))
            })?,
            headers: headers(&call)?,
            url: call.url,
            body: call.body,
        };
        let mut max_bytes = call.max_response_bytes;
        for _ in 0..=MAX_REDIRECTS {
            *at = Destination::of(&hop.url);
            resolver::offered();
            let grant = self.policy.judge(
                &call.origin,
                call.reach,
                &hop.method,
                &hop.url,
                hop.body.is_some(),
                std::time::Instant::now(),
            )?;
            max_bytes = max_bytes.min(grant.max_response_bytes.unwrap_or(max_bytes));
            check_literal(&hop.url, rules)?;
            let response = client
                .execute(hop.request())
                .await
                .map_err(|error| explain(&hop.url, &error))?;
            if let Some(peer) = response.remote_addr() {
                at.address = Some(peer.ip());
            }
            match redirect(&response) {
                Some(location) => {
                    observe::redirected(&call.origin, at);
                    hop = hop.next(response.status(), location)?;
                }
                None => return read(&hop.url, response, max_bytes).await,
            }
        }
        Err(HttpError::TooManyRedirects)
    }
}

/// Where a call has come to.
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What the host resolved to, once that is known.
    pub(crate) address: Option<IpAddr>,
}

impl Destination {
    fn of(url: &Url) -> Self {
        Self {
            host: host_of(url),
            port: url.port_or_known_default().unwrap_or_default(),
            address: literal(url),
        }
    }
}

/// Every call is accounted for once, also one whose caller stops waiting for it.
struct Account {
    origin: CallOrigin,
    at: Destination,
    settled: bool,
}

impl Account {
    fn settle(mut self, result: &Result<HttpReply, HttpError>) {
        self.settled = true;
        self.report(Some(result));
    }

    fn report(&mut self, result: Option<&Result<HttpReply, HttpError>>) {
        self.at.address = self.at.address.or_else(resolver::offered);
        observe::called_out(&self.origin, &self.at, result);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.settled {
            self.report(None);
        }
    }
}

fn build(resolver: Checked) -> Result<Client, reqwest::Error> {
    Client::builder()
        .dns_resolver(Arc::new(resolver))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .referer(false)
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .pool_idle_timeout(IDLE_FOR)
        .user_agent(concat!("dodona/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// One request of a chain of redirects.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Hop {
    fn request(&self) -> Request {
        let mut url = self.url.clone();
        let mut headers = self.headers.clone();
        if let Some(basic) = credentials(&url) {
            headers
                .entry(reqwest::header::AUTHORIZATION)
                .or_insert(basic);
        }
        // Neither fails for an http URL; left in, they would only be ignored.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let mut request = Request::new(self.method.clone(), url);
        *request.headers_mut() = headers;
        *request.body_mut() = self.body.clone().map(Into::into);
        request
    }

    /// Where a redirect leads, with what the reference node's HTTP library carries along.
    fn next(self, status: StatusCode, location: String) -> Result<Self, HttpError> {
        let bad = || HttpError::BadRedirect {
            location: excerpt(&location, 200),
        };
        let url = self.url.join(&location).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad());
        }
        let mut headers = self.headers;
        if !same_site(&self.url, &url) {
            for name in FOR_ONE_HOST {
                headers.remove(*name);
            }
        }
        let keeps_body = matches!(status.as_u16(), 307 | 308);
        let (method, body) = match keeps_body {
            true => (self.method, self.body),
            false if self.method == Method::HEAD => (Method::HEAD, None),
            false => (Method::GET, None),
        };
        if body.is_none() {
            headers.remove(reqwest::header::CONTENT_TYPE);
        }
        Ok(Self {
            method,
            url,
            headers,
            body,
        })
    }
}

/// The same host, or one below it, without a step from https down to http.
fn same_site(from: &Url, to: &Url) -> bool {
    let (Some(from_host), Some(to_host)) = (from.host_str(), to.host_str()) else {
        return false;
    };
    let below = to_host
        .strip_suffix(from_host)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let downgraded = from.scheme() == "https" && to.scheme() == "http";
    below && !downgraded && from.port_or_known_default() == to.port_or_known_default()
}

fn credentials(url: &Url) -> Option<HeaderValue> {
    use base64::Engine as _;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| {
        url::form_urlencoded::parse(
            format!("x={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes(),
        )
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
    };
    let pair = format!(
        "{}:{}",
        decode(url.username()),
        decode(url.password().unwrap_or_default())
    );
    let text = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    );
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
        Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
        Host::Domain(_) => None,
    }
}

/// An address written in the URL never passes a resolver, so it is looked at here. Odd spellings
/// (decimal, octal, hexadecimal, short) are ordinary addresses by the time the URL is parsed.
fn check_literal(url: &Url, rules: &Rules) -> Result<(), HttpError> {
    let Some(address) = literal(url) else {
        return match url.host() {
            Some(_) => Ok(()),
            None => Err(HttpError::Invalid("the URL has no host".to_owned())),
        };
    };
    rules
        .check(address)
        .map_err(|refusal| HttpError::Disallowed {
            host: host_of(url),
            address,
            refusal,
        })
}

fn headers(call: &HttpCall) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        let shown = || excerpt(name, 60);
        if NOT_THE_JOBS.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            continue;
        }
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| HttpError::Invalid(format!("{:?} is not a header name", shown())))?;
        let value = HeaderValue::from_str(value).map_err(|_| {
            HttpError::Invalid(format!(
                "the value of the header {:?} has a character that no header may have",
                shown()
            ))
        })?;
        headers.insert(parsed, value);
    }
    if let Some(key) = call.idempotency_key {
        let value = HeaderValue::from_str(&key.to_string())
            .map_err(|e| HttpError::Invalid(e.to_string()))?;
        headers
            .entry(HeaderName::from_static("idempotency-key"))
            .or_insert(value);
    }
    Ok(headers)
}

fn redirect(response: &Response) -> Option<String> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| follows)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Reads the body piece by piece and stops as soon as it is too long.
async fn read(url: &Url, mut response: Response, max_bytes: usize) -> Result<HttpReply, HttpError> {
    let too_large = HttpError::TooLarge { max_bytes };
    if response
        .content_length()
        .is_some_and(|length| length > max_bytes as u64)
    {
        return Err(too_large);
    }
    let headers = response
        .headers()
        .iter()
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| explain(url, &error))?
    {
        if body.len() + piece.len() > max_bytes {
            return Err(too_large);
        }
        body.extend_from_slice(&piece);
    }
    Ok(HttpReply {
        status,
        headers,
        body: body.into(),
    })
}

fn host_of(url: &Url) -> String {
    excerpt(url.host_str().unwrap_or_default(), 200)
}

/// The refusal of our own resolver when that is the cause, else all causes joined.
fn explain(url: &Url, error: &reqwest::Error) -> HttpError {
    let mut reasons: Vec<String> = Vec::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<HttpError>() {
            return refused.clone();
        }
        let text = inner.to_string();
        if !reasons.iter().any(|r| r.contains(&text)) {
            reasons.push(text);
        }
        cause = inner.source();
    }
    if reasons.is_empty() {
        reasons.push("no reason given".to_owned());
    }
    HttpError::Failed {
        host: host_of(url),
        reason: excerpt(&reasons.join(": "), 500),
    }
}
