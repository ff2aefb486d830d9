use alloy::primitives::{Address, B256, Signature};
use dodona_keys::{KeyError, KeyRing, Strength};
use proptest::prelude::*;

use crate::secret;

fn recover(signature: &Signature, hash: B256) -> Address {
    signature.recover_address_from_prehash(&hash).unwrap()
}

fn ring_of(keys: usize) -> KeyRing {
    let mut ring =
        KeyRing::new_with(&secret("correct horse battery"), Strength::InsecureFast).unwrap();
    for _ in 0..keys {
        ring.create().unwrap();
    }
    ring
}

fn open(sealed: &[u8], password: &str) -> Result<KeyRing, KeyError> {
    KeyRing::open_with(sealed, &secret(password), Strength::InsecureFast)
}

#[test]
fn a_ring_sealed_and_opened_holds_the_same_keys_and_signs_the_same() {
    let ring = ring_of(3);
    let reopened = open(&ring.seal().unwrap(), "correct horse battery").unwrap();
    assert_eq!(reopened.addresses(), ring.addresses());
    assert!(ring.addresses().is_sorted());
    let hash = B256::repeat_byte(7);
    for address in ring.addresses() {
        let signature = ring.sign_hash(address, hash).unwrap();
        assert_eq!(recover(&signature, hash), address);
        assert_eq!(reopened.sign_hash(address, hash).unwrap(), signature);
    }
}

#[test]
fn an_empty_ring_opens_too() {
    let sealed = ring_of(0).seal().unwrap();
    assert!(
        open(&sealed, "correct horse battery")
            .unwrap()
            .addresses()
            .is_empty()
    );
}

#[test]
fn a_wrong_password_is_refused_with_a_sentence() {
    let sealed = ring_of(1).seal().unwrap();
    let refused = open(&sealed, "incorrect horse battery").unwrap_err();
    assert_eq!(refused, KeyError::WrongPassword);
    assert_eq!(
        refused.to_string(),
        "the password is wrong (or what it should open has been altered)"
    );
}

#[test]
fn sealing_twice_gives_different_bytes() {
    let ring = ring_of(1);
    let (one, two) = (ring.seal().unwrap(), ring.seal().unwrap());
    assert_ne!(one, two);
}

#[test]
fn a_truncated_ring_is_damaged_and_an_altered_one_does_not_open() {
    let sealed = ring_of(2).seal().unwrap();
    for length in 0..sealed.len() {
        assert!(
            matches!(
                open(&sealed[..length], "correct horse battery"),
                Err(KeyError::Damaged { .. })
            ),
            "{length}"
        );
    }
    let text = String::from_utf8(sealed).unwrap();
    let weakened = text.replace("\"passes\":1", "\"passes\":2");
    assert_ne!(weakened, text);
    assert_eq!(
        open(weakened.as_bytes(), "correct horse battery").unwrap_err(),
        KeyError::WrongPassword
    );
}

#[test]
fn a_ring_of_a_newer_program_is_named_as_such() {
    let text = String::from_utf8(ring_of(1).seal().unwrap()).unwrap();
    let newer = text.replace("\"version\":1", "\"version\":9");
    assert_eq!(
        open(newer.as_bytes(), "correct horse battery").unwrap_err(),
        KeyError::NewerVersion {
            version: 9,
            known: 1
        }
    );
}

#[test]
fn a_ring_that_asks_for_absurd_memory_is_refused_before_taking_it() {
    let text = String::from_utf8(ring_of(1).seal().unwrap()).unwrap();
    let greedy = text.replace("\"memory_kib\":8", "\"memory_kib\":4000000000");
    assert_ne!(greedy, text);
    assert!(matches!(
        open(greedy.as_bytes(), "correct horse battery"),
        Err(KeyError::Damaged { .. })
    ));
}

#[test]
fn a_ring_sealed_for_development_is_strengthened_when_opened_for_real() {
    let weak = ring_of(1);
    let strong = KeyRing::open(&weak.seal().unwrap(), &secret("correct horse battery")).unwrap();
    assert!(strong.should_be_stored_again());
    let sealed = String::from_utf8(strong.seal().unwrap()).unwrap();
    assert!(sealed.contains("\"memory_kib\":65536"), "{sealed}");
    let reopened = KeyRing::open(sealed.as_bytes(), &secret("correct horse battery")).unwrap();
    assert!(!reopened.should_be_stored_again());
    assert_eq!(reopened.addresses(), weak.addresses());
}

#[test]
fn a_deleted_key_no_longer_signs() {
    let mut ring = ring_of(2);
    let gone = ring.addresses()[0];
    ring.delete(gone).unwrap();
    assert_eq!(ring.addresses().len(), 1);
    assert_eq!(
        ring.sign_hash(gone, B256::ZERO).unwrap_err(),
        KeyError::Unknown { address: gone }
    );
    assert_eq!(
        ring.delete(gone).unwrap_err(),
        KeyError::Unknown { address: gone }
    );
}

#[test]
fn printing_a_ring_shows_addresses_and_no_key() {
    let ring = ring_of(1);
    let address = ring.addresses()[0];
    let exported = ring.plain(address).unwrap();
    for shown in [
        format!("{ring:?}"),
        format!("{ring:#?}"),
        format!("{exported:?}"),
    ] {
        assert!(
            shown
                .to_lowercase()
                .contains(&format!("{address:?}").to_lowercase()),
            "{shown}"
        );
        assert!(shown.len() < 150, "more than an address is shown: {shown}");
    }
}

proptest! {
    #[test]
    fn garbage_instead_of_a_ring_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes, "correct horse battery").is_err());
    }

    #[test]
    fn a_ring_with_one_changed_byte_never_opens(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let original = ring_of(1);
        let mut sealed = original.seal().unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        // Some changes are none: white space, or a letter case JSON does not care about.
        if let Ok(ring) = open(&sealed, "correct horse battery") {
            prop_assert_eq!(ring.addresses(), original.addresses());
        }
    }
}
