//! Which questions may be put twice when it is not known what became of the first.

/// A method we do not know is put twice only if its name does not speak of doing something.
pub(crate) fn is_harmless(method: &str) -> bool {
    const DEEDS: &[&str] = &[
        "send", "submit", "sign", "set", "add", "remove", "start", "stop", "unlock", "import",
        "export", "write", "mine", "reset", "publish",
    ];
    let lower = method.to_lowercase();
    let name = lower.split_once('_').map_or(&*lower, |(_, name)| name);
    !DEEDS.iter().any(|deed| name.starts_with(deed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_that_speak_of_doing_something_are_not_repeated() {
        assert!(is_harmless("bor_getAuthor"));
        assert!(is_harmless("ots_getApiLevel"));
        for method in [
            "mev_sendBundle",
            "evm_mine",
            "anvil_setBalance",
            "hardhat_reset",
        ] {
            assert!(!is_harmless(method), "{method}");
        }
    }
}
