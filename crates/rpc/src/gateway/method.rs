//! What the gateway knows about methods: one table.

use std::sync::LazyLock;
use std::time::Duration;

use super::policy::MethodRules;
use crate::by_name::ByName;

/// How a question is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Cheap reads.
    Light,
    /// Executes code.
    Call,
    /// `eth_getLogs`.
    Logs,
    /// Traces and simulations, which may take minutes.
    Trace,
    /// `eth_sendRawTransaction`.
    Send,
    /// Answered by the gateway itself.
    Own(Own),
    /// Nothing is known about it: passed on once, and to another endpoint only if it cannot have
    /// had an effect.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    ChainId,
    BlockNumber,
    Accounts,
    Subscribe,
    Unsubscribe,
    NewFilter,
    NewBlockFilter,
    FilterChanges,
    FilterLogs,
    UninstallFilter,
    NewPendingFilter,
    Syncing,
    SendAndWait,
}

/// Where a question says which block it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Not about a block, or any endpoint will do.
    Nowhere,
    /// About the newest block without saying so: an endpoint at the tip.
    Tip,
    /// In this parameter; missing means `latest`.
    Param(usize),
    /// In this parameter; missing is left to the endpoint.
    Optional(usize),
    /// A block's hash in the first parameter.
    Hash,
    /// A transaction's hash in the first parameter: null is only believed at the tip.
    Transaction,
    /// In the filter object of the first parameter, which may span many blocks.
    Filter,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) at: At,
}

const fn m(name: &'static str, kind: Kind, at: At) -> Method {
    Method { name, kind, at }
}

use At::{Filter, Hash, Nowhere, Optional, Param, Tip, Transaction};
use Kind::{Call, Light, Logs, Send, Trace};

/// Sorted by name.
static TABLE: &[Method] = &[
    m("arbtrace_block", Trace, Param(0)),
    m("arbtrace_call", Trace, Param(2)),
    m("arbtrace_callMany", Trace, Param(1)),
    m("arbtrace_filter", Trace, Filter),
    m("arbtrace_get", Trace, Transaction),
    m("arbtrace_replayBlockTransactions", Trace, Param(0)),
    m("arbtrace_replayTransaction", Trace, Transaction),
    m("arbtrace_transaction", Trace, Transaction),
    m("debug_accountRange", Trace, Param(0)),
    m("debug_dumpBlock", Trace, Param(0)),
    m("debug_executionWitness", Trace, Param(0)),
    m("debug_executionWitnessByBlockHash", Trace, Hash),
    m("debug_getBadBlocks", Trace, Tip),
    m("debug_getModifiedAccountsByHash", Trace, Hash),
    m("debug_getModifiedAccountsByNumber", Trace, Param(0)),
    m("debug_getRawBlock", Light, Param(0)),
    m("debug_getRawHeader", Light, Param(0)),
    m("debug_getRawReceipts", Light, Param(0)),
    m("debug_getRawTransaction", Light, Transaction),
    m("debug_intermediateRoots", Trace, Hash),
    m("debug_storageRangeAt", Trace, Hash),
    m("debug_traceBadBlock", Trace, Hash),
    m("debug_traceBlock", Trace, Nowhere),
    m("debug_traceBlockByHash", Trace, Hash),
    m("debug_traceBlockByNumber", Trace, Param(0)),
    m("debug_traceCall", Trace, Param(1)),
    m("debug_traceCallMany", Trace, Tip),
    m("debug_traceTransaction", Trace, Transaction),
    m("erigon_getLatestLogs", Trace, Filter),
    m("erigon_getLogs", Trace, Filter),
    m("eth_accounts", Kind::Own(Own::Accounts), Nowhere),
    m("eth_blobBaseFee", Light, Tip),
    m("eth_blockNumber", Kind::Own(Own::BlockNumber), Nowhere),
    m("eth_call", Call, Param(1)),
    m("eth_callBundle", Trace, Tip),
    m("eth_callMany", Call, Tip),
    m("eth_chainId", Kind::Own(Own::ChainId), Nowhere),
    m("eth_coinbase", Light, Nowhere),
    m("eth_createAccessList", Call, Optional(1)),
    m("eth_estimateGas", Call, Optional(1)),
    m("eth_estimateGasBundle", Trace, Tip),
    m("eth_feeHistory", Call, Param(1)),
    m("eth_gasPrice", Light, Tip),
    m("eth_getAccount", Light, Param(1)),
    m("eth_getBalance", Light, Param(1)),
    m("eth_getBlockByHash", Light, Hash),
    m("eth_getBlockByNumber", Light, Param(0)),
    m("eth_getBlockReceipts", Light, Param(0)),
    m("eth_getBlockTransactionCountByHash", Light, Hash),
    m("eth_getBlockTransactionCountByNumber", Light, Param(0)),
    m("eth_getCode", Light, Param(1)),
    m(
        "eth_getFilterChanges",
        Kind::Own(Own::FilterChanges),
        Nowhere,
    ),
    m("eth_getFilterLogs", Kind::Own(Own::FilterLogs), Nowhere),
    m("eth_getHeaderByHash", Light, Hash),
    m("eth_getHeaderByNumber", Light, Param(0)),
    m("eth_getLogs", Logs, Filter),
    m("eth_getProof", Call, Param(2)),
    m("eth_getRawTransactionByHash", Light, Transaction),
    m("eth_getStorageAt", Light, Param(2)),
    m("eth_getTransactionByBlockHashAndIndex", Light, Hash),
    m("eth_getTransactionByBlockNumberAndIndex", Light, Param(0)),
    m("eth_getTransactionByHash", Light, Transaction),
    m("eth_getTransactionCount", Light, Param(1)),
    m("eth_getTransactionReceipt", Light, Transaction),
    m("eth_getTransactionReceiptsByBlock", Light, Param(0)),
    m("eth_getUncleByBlockHashAndIndex", Light, Hash),
    m("eth_getUncleByBlockNumberAndIndex", Light, Param(0)),
    m("eth_getUncleCountByBlockHash", Light, Hash),
    m("eth_getUncleCountByBlockNumber", Light, Param(0)),
    m("eth_hashrate", Light, Nowhere),
    m("eth_maxPriorityFeePerGas", Light, Tip),
    m("eth_mining", Light, Nowhere),
    m(
        "eth_newBlockFilter",
        Kind::Own(Own::NewBlockFilter),
        Nowhere,
    ),
    m("eth_newFilter", Kind::Own(Own::NewFilter), Nowhere),
    m(
        "eth_newPendingTransactionFilter",
        Kind::Own(Own::NewPendingFilter),
        Nowhere,
    ),
    m("eth_protocolVersion", Light, Nowhere),
    m("eth_sendRawTransaction", Send, Nowhere),
    m(
        "eth_sendRawTransactionSync",
        Kind::Own(Own::SendAndWait),
        Nowhere,
    ),
    m("eth_simulateV1", Trace, Param(1)),
    m("eth_subscribe", Kind::Own(Own::Subscribe), Nowhere),
    m("eth_syncing", Kind::Own(Own::Syncing), Nowhere),
    m(
        "eth_uninstallFilter",
        Kind::Own(Own::UninstallFilter),
        Nowhere,
    ),
    m("eth_unsubscribe", Kind::Own(Own::Unsubscribe), Nowhere),
    m("net_listening", Light, Nowhere),
    m("net_peerCount", Light, Nowhere),
    m("net_version", Light, Nowhere),
    m("ots_getContractCreator", Trace, Tip),
    m("ots_getInternalOperations", Trace, Transaction),
    m("ots_getTransactionBySenderAndNonce", Trace, Tip),
    m("ots_getTransactionError", Trace, Transaction),
    m("ots_searchTransactionsAfter", Trace, Tip),
    m("ots_searchTransactionsBefore", Trace, Tip),
    m("ots_traceTransaction", Trace, Transaction),
    m("trace_block", Trace, Param(0)),
    m("trace_call", Trace, Param(2)),
    m("trace_callMany", Trace, Param(1)),
    m("trace_filter", Trace, Filter),
    m("trace_get", Trace, Transaction),
    m("trace_rawTransaction", Trace, Tip),
    m("trace_replayBlockTransactions", Trace, Param(0)),
    m("trace_replayTransaction", Trace, Transaction),
    m("trace_transaction", Trace, Transaction),
    m("txpool_content", Light, Tip),
    m("txpool_inspect", Light, Tip),
    m("txpool_status", Light, Tip),
    m("web3_clientVersion", Light, Nowhere),
    m("web3_sha3", Light, Nowhere),
];

/// Everything else.
pub(crate) static UNKNOWN: Method = m("other", Kind::Other, Tip);

pub(crate) fn find(name: &str) -> &'static Method {
    place(name).map_or(&UNKNOWN, |at| &TABLE[at])
}

/// Where in the table it stands.
fn place(name: &str) -> Option<usize> {
    static PLACES: LazyLock<ByName<&str, usize>> = LazyLock::new(|| {
        let names = TABLE.iter().map(|method| method.name);
        names.zip(0..).collect()
    });
    PLACES.get(name).copied()
}

/// Which methods of the table some rules permit: what is asked all the time is looked up.
pub(crate) struct Permitted(Box<[bool]>);

impl Permitted {
    pub(crate) fn by(rules: &MethodRules) -> Self {
        Self(
            TABLE
                .iter()
                .map(|method| rules.permit(method.name))
                .collect(),
        )
    }

    /// None for a method that is not in the table.
    pub(crate) fn get(&self, method: &'static Method) -> Option<bool> {
        self.0.get(TABLE.element_offset(method)?).copied()
    }
}

impl Kind {
    /// Whether asking twice is as good as asking once.
    pub(crate) fn is_repeatable(self) -> bool {
        !matches!(self, Self::Send | Self::Other)
    }

    /// All attempts together, and each of them.
    pub(crate) fn deadlines(self) -> (Duration, Duration) {
        let secs = |total, attempt| (Duration::from_secs(total), Duration::from_secs(attempt));
        match self {
            Self::Light | Self::Own(_) => secs(5, 2),
            Self::Call | Self::Send => secs(10, 5),
            Self::Logs | Self::Other => secs(30, 15),
            Self::Trace => secs(120, 60),
        }
    }
}

/// Namespaces that are nobody's business through a gateway, unless somebody says otherwise: they
/// hold accounts, steer a client, or belong to the consensus client.
pub(crate) const DENIED: &[&str] = &[
    "account_*",
    "admin_*",
    "clique_*",
    "debug_*",
    "eea_*",
    "engine_*",
    "eth_resend",
    "eth_sendTransaction",
    "eth_sign*",
    "ibft_*",
    "istanbul_*",
    "les_*",
    "lespay_*",
    "miner_*",
    "parity_*Account*",
    "parity_*account*",
    "parity_accept*",
    "parity_add*",
    "parity_change*",
    "parity_checkRequest",
    "parity_clear*",
    "parity_composeTransaction",
    "parity_decryptMessage",
    "parity_delete*",
    "parity_derive*",
    "parity_drop*",
    "parity_execute*",
    "parity_export*",
    "parity_import*",
    "parity_kill*",
    "parity_lock*",
    "parity_new*",
    "parity_open*",
    "parity_post*",
    "parity_remove*",
    "parity_set*",
    "parity_sign*",
    "parity_start*",
    "parity_stop*",
    "parity_test*",
    "parity_upgrade*",
    "perm_*",
    "personal_*",
    "plugins_*",
    "priv_*",
    "qbft_*",
    "secretstore_*",
    "shh_*",
    "signer_*",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::policy::matches;

    #[test]
    fn the_table_is_sorted_and_every_method_is_found() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
        for method in TABLE {
            assert_eq!(find(method.name).name, method.name);
        }
        assert_eq!(find("eth_somethingNew").kind, Kind::Other);
    }

    #[test]
    fn what_rules_permit_is_known_for_the_table_and_for_nothing_else() {
        let rules = MethodRules {
            deny: vec!["eth_call".to_owned()],
            ..MethodRules::default()
        };
        let permitted = Permitted::by(&rules);
        for method in TABLE {
            let name = method.name;
            assert_eq!(permitted.get(find(name)), Some(rules.permit(name)));
        }
        assert_eq!(permitted.get(find("eth_call")), Some(false));
        assert_eq!(permitted.get(find("eth_somethingNew")), None);
    }

    #[test]
    fn what_executes_or_looks_through_much_is_dear_whatever_it_is_called() {
        for method in [
            "trace_filter",
            "trace_replayTransaction",
            "trace_replayBlockTransactions",
            "trace_callMany",
            "trace_get",
            "trace_rawTransaction",
            "debug_traceBlock",
            "debug_traceCallMany",
            "debug_storageRangeAt",
            "debug_executionWitness",
            "erigon_getLogs",
            "eth_callBundle",
            "eth_simulateV1",
            "ots_searchTransactionsBefore",
            "arbtrace_filter",
        ] {
            assert_eq!(find(method).kind, Trace, "{method}");
        }
    }

    #[test]
    fn methods_that_touch_accounts_or_steer_a_client_are_denied_and_reads_are_not() {
        let denied = |method: &str| DENIED.iter().any(|pattern| matches(pattern, method));
        for method in [
            "personal_unlockAccount",
            "admin_addPeer",
            "miner_start",
            "debug_setHead",
            "engine_newPayloadV4",
            "account_list",
            "eth_sign",
            "eth_signTransaction",
            "eth_signTypedData_v4",
            "eth_sendTransaction",
            "eth_resend",
            "parity_newAccountFromSecret",
            "parity_allAccountsInfo",
            "parity_defaultAccount",
            "parity_setEngineSigner",
            "parity_postTransaction",
            "parity_signMessage",
            "clique_propose",
            "les_setClientParams",
            "signer_confirmRequest",
        ] {
            assert!(denied(method), "{method}");
        }
        for method in [
            "eth_sendRawTransaction",
            "eth_call",
            "trace_block",
            "net_version",
            "parity_getBlockReceipts",
            "parity_pendingTransactions",
            "parity_nextNonce",
        ] {
            assert!(!denied(method), "{method}");
        }
    }
}
