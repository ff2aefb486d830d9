//! The parts of the contracts' interfaces that tests use, by their Solidity signatures.

use alloy::sol;

sol! {
    interface LinkToken {
        function transfer(address to, uint256 value) external returns (bool);
        function transferAndCall(address to, uint256 value, bytes data) external returns (bool);
        function balanceOf(address owner) external view returns (uint256);
    }

    /// What 0.4, 0.6 and the Operator share.
    interface Oracle {
        #[derive(Debug, PartialEq)]
        event OracleRequest(
            bytes32 indexed specId,
            address requester,
            bytes32 requestId,
            uint256 payment,
            address callbackAddr,
            bytes4 callbackFunctionId,
            uint256 cancelExpiration,
            uint256 dataVersion,
            bytes data
        );
        event CancelOracleRequest(bytes32 indexed requestId);

        function fulfillOracleRequest(
            bytes32 requestId,
            uint256 payment,
            address callbackAddress,
            bytes4 callbackFunctionId,
            uint256 expiration,
            bytes32 data
        ) external returns (bool);
        function setFulfillmentPermission(address node, bool allowed) external;
        function withdraw(address recipient, uint256 amount) external;
        function withdrawable() external view returns (uint256);
        function owner() external view returns (address);
        function transferOwnership(address to) external;
    }

    interface Operator {
        event OracleResponse(bytes32 indexed requestId);

        function fulfillOracleRequest2(
            bytes32 requestId,
            uint256 payment,
            address callbackAddress,
            bytes4 callbackFunctionId,
            uint256 expiration,
            bytes calldata data
        ) external returns (bool);
        function operatorRequest(
            address sender,
            uint256 payment,
            bytes32 specId,
            bytes4 callbackFunctionId,
            uint256 nonce,
            uint256 dataVersion,
            bytes calldata data
        ) external;
        function setAuthorizedSenders(address[] calldata senders) external;
        function getAuthorizedSenders() external view returns (address[] memory);
        function acceptAuthorizedReceivers(address[] calldata targets, address[] calldata senders) external;
        function acceptOwnership() external;
    }

    interface FluxAggregator {
        event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);
        event SubmissionReceived(int256 indexed submission, uint32 indexed round, address indexed oracle);

        function submit(uint256 roundId, int256 submission) external;
        function changeOracles(
            address[] calldata removed,
            address[] calldata added,
            address[] calldata addedAdmins,
            uint32 minSubmissions,
            uint32 maxSubmissions,
            uint32 restartDelay
        ) external;
        function updateFutureRounds(
            uint128 paymentAmount, uint32 minSubmissions, uint32 maxSubmissions, uint32 restartDelay, uint32 timeout
        ) external;
        function updateAvailableFunds() external;
        function latestAnswer() external view returns (int256);
        function latestRound() external view returns (uint256);
        function getAnswer(uint256 roundId) external view returns (int256);
        function withdrawablePayment(address oracle) external view returns (uint256);
    }

    interface Flags {
        function raiseFlags(address[] calldata subjects) external;
        function lowerFlags(address[] calldata subjects) external;
    }

    interface AuthorizedForwarder {
        function forward(address to, bytes calldata data) external;
        function setAuthorizedSenders(address[] calldata senders) external;
    }

    interface Consumer {
        event ChainlinkRequested(bytes32 indexed id);
        event ChainlinkFulfilled(bytes32 indexed id);
        event ChainlinkCancelled(bytes32 indexed id);

        /// What the callbacks do.
        #[derive(Debug)]
        enum Callback { Remember, Revert, BurnAllGas }

        function setOracle(address oracle) external;
        function setCallback(Callback to) external;
        function callback() external view returns (Callback);
        function requestUint256(bytes32 specId, string get, string path, int256 times, uint256 payment)
            external returns (bytes32);
        function requestMany(uint256 count, bytes32 specId, string get, string path, int256 times, uint256 payment)
            external;
        function requestBidAsk(
            bytes32 specId, string bidUrl, string bidPath, string askUrl, string askPath, uint256 payment
        ) external returns (bytes32);
        function requestReport(bytes32 specId, string city, uint256 payment) external returns (bytes32);
        function requestRaw(bytes32 specId, bytes data, uint256 payment) external returns (bytes32);
        function cancel(bytes32 requestId, uint256 payment, bytes4 callbackFunction, uint256 expiration) external;

        function answer() external view returns (uint256);
        function answersTotal() external view returns (uint256);
        function answers(bytes32 id) external view returns (uint256);
        function bids(bytes32 id) external view returns (uint256);
        function asks(bytes32 id) external view returns (uint256);
        function reports(bytes32 id) external view returns (string memory);
        function answersCount(bytes32 id) external view returns (uint256);
    }
}
