//! What stands in secrets files, and the variables that override it.

use super::Key;
use crate::config::value::Kind;

pub(super) fn keys() -> Vec<Key> {
    let mut keys = vec![
        Key::new(
            "Database.URL",
            Kind::Secret,
            "",
            "Address of a PostgreSQL database (`postgres://user:password@host:5432/name`); nothing set means the \
             embedded database.",
        )
        .old(&["CL_DATABASE_URL", "DATABASE_URL"]),
        Key::new(
            "Database.AllowSimplePasswords",
            Kind::Bool,
            "false",
            "Accepts a database password of fewer than 16 characters; the development profile only.",
        )
        .old(&["CL_DATABASE_ALLOW_SIMPLE_PASSWORDS", "SKIP_DATABASE_PASSWORD_COMPLEXITY_CHECK"]),
        Key::new(
            "Password.Keystore",
            Kind::Secret,
            "",
            "Password of the key ring, at least 16 characters; `--password FILE` wins over it, and a terminal is \
             asked when neither is there.",
        )
        .old(&["CL_PASSWORD_KEYSTORE"]),
        Key::new(
            "Prometheus.AuthToken",
            Kind::Secret,
            "",
            "When set, `/metrics` asks for it as a bearer token.",
        )
        .old(&["CL_PROMETHEUS_AUTH_TOKEN", "PROMETHEUS_AUTH_TOKEN"]),
    ];
    let without = [
        (
            "Database.BackupURL",
            "this version makes no backups",
            &["CL_DATABASE_BACKUP_URL", "DATABASE_BACKUP_URL"][..],
        ),
        (
            "Password.VRF",
            "randomness jobs are not part of this node",
            &["CL_PASSWORD_VRF"],
        ),
        ("WebServer.LDAP", "this version knows local users only", &[]),
        ("WebServer.OIDC", "this version knows local users only", &[]),
        (
            "Pyroscope.AuthToken",
            "this node sends no profiles",
            &["CL_PYROSCOPE_AUTH_TOKEN", "PYROSCOPE_AUTH_TOKEN"],
        ),
        ("Explorer", "the explorer service was shut down", &[]),
        ("Mercury", "data streams are not part of this node", &[]),
        (
            "Threshold.ThresholdKeyShare",
            "off-chain reporting is not part of this node",
            &["CL_THRESHOLD_KEY_SHARE"],
        ),
        ("CRE", "workflows are not part of this node", &[]),
        ("EVM", "keys come in through `dodona keys eth import`", &[]),
        ("Solana", "only EVM chains are served", &[]),
        (
            "P2PKey",
            "off-chain reporting is not part of this node",
            &[],
        ),
        (
            "DKGRecipientKey",
            "off-chain reporting is not part of this node",
            &[],
        ),
    ];
    for (path, why, variables) in without {
        keys.push(
            Key::new(path, Kind::Any, "", "")
                .old(variables)
                .without_effect(why),
        );
    }
    keys
}
