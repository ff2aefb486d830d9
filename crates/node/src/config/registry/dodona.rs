//! Our own section: what the Chainlink node has no word for.

use super::Key;
use crate::config::value::Kind;

pub(super) fn keys() -> Vec<Key> {
    vec![
        Key::new(
            "Dodona.Development",
            Kind::Bool,
            "false",
            "The development profile: allows insecure values (`InsecureFastScrypt`, `[Insecure]`, simple database \
             passwords) and refuses to listen beyond loopback.",
        )
        .old(&["CHAINLINK_DEV"]),
        Key::new(
            "Dodona.DatabasePath",
            Kind::Text,
            "",
            "File of the embedded database, used where no `Database.URL` is given; nothing set means \
             `dodona.sqlite` in `RootDir`.",
        )
        .old(&["DODONA_DATABASE_PATH"]),
        Key::new(
            "Dodona.MaxConcurrentRuns",
            Kind::Int { min: 1, max: 10_000 },
            "64",
            "Runs that this process has in flight at most; further ones wait in the database.",
        )
        .old(&["DODONA_MAX_CONCURRENT_RUNS"]),
        Key::new(
            "Dodona.AllowPlaintextOn",
            Kind::List,
            "[]",
            "Addresses beyond loopback on which `WebServer.ListenIP` may serve plain http: private or VPN addresses, \
             or `0.0.0.0` inside a container whose port is published to loopback.",
        )
        .old(&["DODONA_ALLOW_PLAINTEXT_ON"]),
        Key::new(
            "Dodona.Egress.Profile",
            Kind::Choice(&["standard", "strict"]),
            "standard",
            "`strict`: jobs and bridges call only what `Allow` lists, and no entry means no call; `standard`: every \
             public address, and private ones where a task or bridge may.",
        ),
        Key::new(
            "Dodona.Egress.AllowRequesterURLs",
            Kind::Bool,
            "false",
            "Under `strict`: fetch URLs that a request brought, as public https GET on port 443 without body or \
             credentials.",
        ),
        Key::new(
            "Dodona.Egress.Allow",
            Kind::List,
            "[]",
            "Under `strict`: one entry each, `job <external id> GET,POST https://host:port/path max=<bytes> rate=<calls a minute>` or \
             `bridge <name> POST …`; `max` and `rate` may be left out, `*.example.com` stands for all names below it.",
        ),
    ]
}
