use alloy::primitives::{Address, address};
use dodona_keys::{KeyError, KeyRing, PlainKey, Strength};
use proptest::prelude::*;

use crate::secret;

/// The two test vectors of the Web3 Secret Storage Definition; both hold the key
/// 7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d under "testpassword".
const PBKDF2_VECTOR: &str = r#"{
    "crypto" : {
        "cipher" : "aes-128-ctr",
        "cipherparams" : { "iv" : "6087dab2f9fdbbfaddc31a909735c1e6" },
        "ciphertext" : "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf" : "pbkdf2",
        "kdfparams" : {
            "c" : 262144,
            "dklen" : 32,
            "prf" : "hmac-sha256",
            "salt" : "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
        },
        "mac" : "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
    },
    "id" : "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version" : 3
}"#;
const SCRYPT_VECTOR: &str = r#"{
    "crypto" : {
        "cipher" : "aes-128-ctr",
        "cipherparams" : { "iv" : "83dbcc02d8ccb40e466191a123791e0e" },
        "ciphertext" : "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf" : "scrypt",
        "kdfparams" : {
            "dklen" : 32,
            "n" : 262144,
            "p" : 8,
            "r" : 1,
            "salt" : "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
        },
        "mac" : "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
    },
    "id" : "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version" : 3
}"#;
const VECTOR_ADDRESS: Address = address!("0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b");

fn ring() -> KeyRing {
    KeyRing::new_with(&secret("a ring password"), Strength::InsecureFast).unwrap()
}

/// A small file of our own to vary; quick to open.
fn file() -> (Address, String) {
    let mut ring = ring();
    let address = ring.create().unwrap();
    (
        address,
        ring.export(address, &secret("file password")).unwrap(),
    )
}

fn read(json: &str) -> Result<Address, KeyError> {
    PlainKey::from_file(json, &secret("file password")).map(|key| key.address())
}

#[test]
fn the_published_vectors_import() {
    for vector in [SCRYPT_VECTOR, PBKDF2_VECTOR] {
        assert_eq!(
            ring().import(vector, &secret("testpassword")).unwrap(),
            VECTOR_ADDRESS
        );
    }
}

#[test]
fn an_exported_key_imports_elsewhere_and_signs_the_same() {
    let mut here = ring();
    let address = here.create().unwrap();
    let file = here.export(address, &secret("another password")).unwrap();
    let mut there = ring();
    assert_eq!(
        there.import(&file, &secret("another password")).unwrap(),
        address
    );
    let hash = alloy::primitives::B256::repeat_byte(3);
    assert_eq!(
        there.sign_hash(address, hash).unwrap(),
        here.sign_hash(address, hash).unwrap()
    );
}

#[test]
fn an_export_has_the_fields_other_programs_look_for() {
    let key = PlainKey::from_file(PBKDF2_VECTOR, &secret("testpassword")).unwrap();
    let file: serde_json::Value =
        serde_json::from_str(&key.to_file(&secret("p"), Strength::Standard).unwrap()).unwrap();
    assert_eq!(file["address"], "008aeeda4d805471df9b2a5b0f38a0c3bcba786b");
    assert_eq!(file["id"], "008aeeda-4d80-5471-df9b-2a5b0f38a0c3");
    assert_eq!(file["version"], 3);
    assert_eq!(file["crypto"]["cipher"], "aes-128-ctr");
    assert_eq!(file["crypto"]["kdf"], "scrypt");
    let params = &file["crypto"]["kdfparams"];
    assert_eq!(
        (&params["n"], &params["p"], &params["r"], &params["dklen"]),
        (&262_144.into(), &1.into(), &8.into(), &32.into())
    );
    assert_eq!(file["crypto"]["ciphertext"].as_str().unwrap().len(), 64);
    assert!(params.get("c").is_none(), "{params}");
}

#[test]
fn a_key_that_is_here_already_is_not_imported_again() {
    let mut ring = ring();
    ring.import(PBKDF2_VECTOR, &secret("testpassword")).unwrap();
    let again = ring
        .import(PBKDF2_VECTOR, &secret("testpassword"))
        .unwrap_err();
    assert_eq!(
        again,
        KeyError::Exists {
            address: VECTOR_ADDRESS
        }
    );
    assert_eq!(ring.addresses().len(), 1);
}

#[test]
fn a_wrong_file_password_is_refused_and_changes_nothing() {
    let mut ring = ring();
    let (_, file) = file();
    assert_eq!(
        ring.import(&file, &secret("something else")).unwrap_err(),
        KeyError::WrongPassword
    );
    assert!(ring.addresses().is_empty());
}

#[test]
fn the_address_field_may_be_prefixed_upper_case_empty_or_missing_but_not_wrong() {
    let (address, json) = file();
    let plain = hex::encode(address);
    let with = |text: &str| json.replace(&format!("\"address\":\"{plain}\""), text);
    for text in [
        format!("\"address\":\"0x{plain}\""),
        format!("\"address\":\"{}\"", plain.to_uppercase()),
        format!("\"address\":\"{address}\""),
        "\"address\":\"\"".to_owned(),
        "\"address\":null".to_owned(),
        "\"note\":1".to_owned(),
    ] {
        assert_ne!(with(&text), json, "{text}");
        assert_eq!(read(&with(&text)), Ok(address), "{text}");
    }
    let stated = Address::repeat_byte(1);
    assert_eq!(
        read(&with(&format!("\"address\":\"{stated}\""))),
        Err(KeyError::AddressMismatch {
            stated,
            actual: address
        })
    );
    assert!(matches!(
        read(&with("\"address\":\"0x12\"")),
        Err(KeyError::NotAKeyFile { .. })
    ));
}

#[test]
fn hex_may_carry_a_prefix_and_crypto_a_capital() {
    let (address, json) = file();
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    for pointer in [
        "/crypto/ciphertext",
        "/crypto/mac",
        "/crypto/cipherparams/iv",
        "/crypto/kdfparams/salt",
    ] {
        let field = value.pointer_mut(pointer).unwrap();
        *field = format!("0x{}", field.as_str().unwrap()).into();
    }
    assert_eq!(
        read(&value.to_string().replace("\"crypto\"", "\"Crypto\"")),
        Ok(address)
    );
}

#[test]
fn files_that_are_something_else_are_named_as_such() {
    let (_, json) = file();
    for (from, to, word) in [
        ("\"version\":3", "\"version\":1", "version 1"),
        ("aes-128-ctr", "aes-256-gcm", "aes-256-gcm"),
        ("\"scrypt\"", "\"argon2id\"", "argon2id"),
        ("\"dklen\":32", "\"dklen\":16", "dklen 16"),
        ("\"n\":2,", "\"n\":3,", "n=3"),
        ("\"r\":8", "\"r\":0", "r=0"),
        ("\"p\":1,", "", "needs n, r and p"),
        ("\"mac\"", "\"mic\"", "mac"),
    ] {
        let changed = json.replace(from, to);
        assert_ne!(changed, json, "{from}");
        match read(&changed) {
            Err(KeyError::NotAKeyFile { what }) => {
                assert!(what.contains(word), "{what} should mention {word}")
            }
            other => panic!("{from} to {to}: {other:?}"),
        }
    }
}

#[test]
fn hostile_costs_are_refused_at_once() {
    let (_, json) = file();
    for (from, to) in [
        ("\"n\":2,", "\"n\":1073741824,"),
        ("\"n\":2,", "\"n\":9223372036854775808,"),
        ("\"r\":8", "\"r\":4294967295"),
        ("\"p\":1,", "\"p\":4294967295,"),
        ("\"p\":1,", "\"p\":1048577,"),
    ] {
        let changed = json.replace(from, to);
        assert_ne!(changed, json, "{from}");
        assert!(
            matches!(read(&changed), Err(KeyError::TooCostly { .. })),
            "{to}"
        );
    }
    let slow = PBKDF2_VECTOR.replace("262144", "4294967295");
    assert!(matches!(read(&slow), Err(KeyError::TooCostly { .. })));
}

#[test]
fn a_truncated_file_is_not_a_key_file() {
    let (_, json) = file();
    for length in 0..json.len() {
        assert!(
            matches!(read(&json[..length]), Err(KeyError::NotAKeyFile { .. })),
            "{length}"
        );
    }
}

#[test]
fn a_scalar_without_its_leading_zeros_is_padded() {
    // The one byte 01, encrypted with Python's hashlib and PyCryptodome.
    let mut ring = ring();
    let short = r#"{"version":3,"crypto":SHORT}"#
        .replace("SHORT", include_str!("short_scalar.json").trim());
    let address = ring.import(&short, &secret("testpassword")).unwrap();
    // The account of private key 1.
    assert_eq!(
        address,
        address!("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")
    );
}

proptest! {
    #[test]
    fn garbage_instead_of_a_key_file_is_an_error_and_never_a_panic(text in ".{0,300}") {
        prop_assert!(read(&text).is_err());
    }

    #[test]
    fn a_key_file_with_one_changed_byte_never_gives_another_key(at in any::<prop::sample::Index>(), with in 0x20u8..0x7f) {
        let (address, json) = file();
        let mut bytes = json.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(read) = read(&text)
        {
            prop_assert_eq!(read, address);
        }
    }
}
