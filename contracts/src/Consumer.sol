// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

import "@chainlink/contracts/src/v0.8/ChainlinkClient.sol";

/// A consumer of oracle answers, for tests and the demo.
///
/// It remembers every answer by request and counts how often each request was answered, so that a second
/// answer shows. Anybody may ask and change its settings: never give it money that matters.
contract Consumer is ChainlinkClient {
  using Chainlink for Chainlink.Request;

  /// What a callback does with its answer.
  enum Callback {
    Remember,
    Revert,
    BurnAllGas
  }

  Callback public callback;

  /// The most recent answers, of whatever request.
  uint256 public answer;
  uint256 public bid;
  uint256 public ask;
  string public report;

  /// By request id.
  mapping(bytes32 => uint256) public answers;
  mapping(bytes32 => uint256) public bids;
  mapping(bytes32 => uint256) public asks;
  mapping(bytes32 => string) public reports;
  mapping(bytes32 => uint256) public answersCount;
  mapping(bytes32 => address) public askedOracle;

  /// All answers ever taken.
  uint256 public answersTotal;

  constructor(address link, address oracle) {
    setChainlinkToken(link);
    setChainlinkOracle(oracle);
  }

  function setLink(address link) external {
    setChainlinkToken(link);
  }

  /// Applies to requests made from now on.
  function setOracle(address oracle) external {
    setChainlinkOracle(oracle);
  }

  function setCallback(Callback to) external {
    callback = to;
  }

  function getLink() external view returns (address) {
    return chainlinkTokenAddress();
  }

  function getOracle() external view returns (address) {
    return chainlinkOracleAddress();
  }

  // ---- asking; each returns the request's id, which is also the topic of ChainlinkRequested

  /// The number at `path` of the JSON document at `get`, times `times`. Any oracle contract will do.
  function requestUint256(
    bytes32 specId,
    string memory get,
    string memory path,
    int256 times,
    uint256 payment
  ) public returns (bytes32) {
    Chainlink.Request memory request = buildChainlinkRequest(specId, address(this), this.fulfill.selector);
    request.add("get", get);
    request.add("path", path);
    request.addInt("times", times);
    return sent(sendChainlinkRequest(request, payment));
  }

  /// The same question `count` times in one transaction; each has its own id and its own payment.
  function requestMany(
    uint256 count,
    bytes32 specId,
    string calldata get,
    string calldata path,
    int256 times,
    uint256 payment
  ) external {
    for (uint256 i = 0; i < count; i++) {
      requestUint256(specId, get, path, times, payment);
    }
  }

  /// Two numbers in one answer. Only an Operator understands it.
  function requestBidAsk(
    bytes32 specId,
    string calldata bidUrl,
    string calldata bidPath,
    string calldata askUrl,
    string calldata askPath,
    uint256 payment
  ) external returns (bytes32) {
    Chainlink.Request memory request = buildOperatorRequest(specId, this.fulfillBidAsk.selector);
    request.add("bidUrl", bidUrl);
    request.add("bidPath", bidPath);
    request.add("askUrl", askUrl);
    request.add("askPath", askPath);
    return sent(sendOperatorRequest(request, payment));
  }

  /// A text about a city. Only an Operator understands it.
  function requestReport(
    bytes32 specId,
    string calldata city,
    uint256 payment
  ) external returns (bytes32) {
    Chainlink.Request memory request = buildOperatorRequest(specId, this.fulfillReport.selector);
    request.add("city", city);
    return sent(sendOperatorRequest(request, payment));
  }

  /// Any bytes as the request's data, well formed or not; answered through `fulfill`.
  function requestRaw(
    bytes32 specId,
    bytes calldata data,
    uint256 payment
  ) external returns (bytes32) {
    Chainlink.Request memory request = buildChainlinkRequest(specId, address(this), this.fulfill.selector);
    request.setBuffer(data);
    return sent(sendChainlinkRequest(request, payment));
  }

  /// Takes back the payment of an expired request that was answered through `callbackFunction`.
  function cancel(
    bytes32 requestId,
    uint256 payment,
    bytes4 callbackFunction,
    uint256 expiration
  ) external {
    cancelChainlinkRequest(requestId, payment, callbackFunction, expiration);
  }

  // ---- being answered

  function fulfill(bytes32 requestId, uint256 value) external {
    accept(requestId);
    answer = value;
    answers[requestId] = value;
  }

  function fulfillBidAsk(
    bytes32 requestId,
    uint256 bidValue,
    uint256 askValue
  ) external {
    accept(requestId);
    bid = bidValue;
    ask = askValue;
    bids[requestId] = bidValue;
    asks[requestId] = askValue;
  }

  function fulfillReport(bytes32 requestId, string calldata text) external {
    accept(requestId);
    report = text;
    reports[requestId] = text;
  }

  function sent(bytes32 requestId) private returns (bytes32) {
    askedOracle[requestId] = chainlinkOracleAddress();
    return requestId;
  }

  /// A second answer is let in, from the same oracle only: it has to be seen to be counted.
  function accept(bytes32 requestId) private {
    require(msg.sender == askedOracle[requestId], "Source must be the oracle of the request");
    require(callback != Callback.Revert, "This consumer refuses its answers");
    while (callback == Callback.BurnAllGas) {}
    if (answersCount[requestId] == 0) {
      validateChainlinkCallback(requestId);
    }
    answersCount[requestId] += 1;
    answersTotal += 1;
  }
}
