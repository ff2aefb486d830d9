//! Which methods a caller may use: lists of names and patterns.

/// What is let through. `only`, where it is given, is all there is; of the rest `deny` takes away
/// and `allow` gives back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MethodRules {
    /// Nothing but these; empty: everything.
    pub only: Vec<String>,
    pub deny: Vec<String>,
    /// Let through although `deny` names them.
    pub allow: Vec<String>,
}

impl MethodRules {
    pub(crate) fn permit(&self, method: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|pattern| matches(pattern, method));
        if !self.only.is_empty() && !named(&self.only) {
            return false;
        }
        !named(&self.deny) || named(&self.allow)
    }

    /// Whether it is given by name, so that it may be had although others may not have it.
    pub(crate) fn gives(&self, method: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|pattern| matches(pattern, method));
        named(&self.allow)
    }
}

/// A method's name in which `*` stands for anything, also for nothing.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(beginning) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return name.ends_with(piece);
        }
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_anything_anywhere() {
        for (pattern, name, fits) in [
            ("eth_call", "eth_call", true),
            ("eth_call", "eth_callMany", false),
            ("eth_*", "eth_call", true),
            ("eth_*", "eth_", true),
            ("eth_*", "trace_call", false),
            ("*", "anything", true),
            ("*_subscribe", "eth_subscribe", true),
            ("*_subscribe", "eth_subscription", false),
            ("eth_get*By*", "eth_getBlockByHash", true),
            ("eth_get*By*", "eth_getLogs", false),
            ("eth_*Hash", "eth_getBlockByHash", true),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn only_is_all_there_is_and_allow_gives_back_what_deny_takes() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let rules = MethodRules {
            only: list(&["eth_*", "debug_*"]),
            deny: list(&["debug_*", "eth_sign*"]),
            allow: list(&["debug_traceCall"]),
        };
        for (method, permitted) in [
            ("eth_call", true),
            ("eth_signTypedData", false),
            ("debug_traceCall", true),
            ("debug_setHead", false),
            ("net_version", false),
        ] {
            assert_eq!(rules.permit(method), permitted, "{method}");
        }
        assert!(MethodRules::default().permit("anything"));
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_a_name_matches_it(name in "[a-z_é]{0,12}", cuts in prop::collection::vec(0_usize..13, 0..4)) {
            let mut letters: Vec<char> = name.chars().collect();
            for cut in cuts {
                let at = cut.min(letters.len());
                letters.insert(at, '*');
            }
            let pattern: String = letters.into_iter().collect();
            prop_assert!(matches(&pattern, &name));
        }
    }
}
