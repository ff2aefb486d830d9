"""web3.py as it is published: the same as story.mjs."""

import asyncio
import sys

from web3 import AsyncWeb3, Web3
from web3.providers import WebSocketProvider

HTTP, WS, KEY, TO, WANTED = sys.argv[1:]


def over_http() -> int:
    w3 = Web3(Web3.HTTPProvider(HTTP))
    assert w3.is_connected()
    assert w3.eth.chain_id == 31337
    number = w3.eth.block_number
    assert len(w3.eth.get_block(number)["hash"]) == 32
    before = w3.eth.get_balance(TO)
    account = w3.eth.account.from_key(KEY)
    signed = account.sign_transaction(
        {
            "to": TO,
            "value": 5 * 10**17,
            "gas": 21000,
            "nonce": w3.eth.get_transaction_count(account.address, "pending"),
            "maxFeePerGas": 2 * w3.eth.gas_price,
            "maxPriorityFeePerGas": w3.eth.max_priority_fee,
            "chainId": 31337,
        }
    )
    sent = w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = w3.eth.wait_for_transaction_receipt(sent, timeout=30, poll_latency=0.1)
    assert receipt["status"] == 1 and receipt["blockNumber"] > number
    # Whoever was given a receipt is not told of an older block.
    assert w3.eth.block_number >= receipt["blockNumber"]
    assert w3.eth.get_balance(TO) - before == 5 * 10**17
    # Filters do not belong to any one client behind the gateway.
    assert w3.eth.filter("latest").get_new_entries() is not None
    return receipt["blockNumber"]


async def over_socket(shown: int) -> None:
    async with AsyncWeb3(WebSocketProvider(WS)) as w3:
        assert await w3.eth.block_number >= shown
        await w3.eth.subscribe("newHeads")
        print("subscribed", flush=True)
        told = []
        async for message in w3.socket.process_subscriptions():
            told.append(message["result"]["number"])
            if len(told) >= int(WANTED):
                break
        assert told == list(range(told[0], told[0] + len(told))), told


asyncio.run(asyncio.wait_for(over_socket(over_http()), 150))
print("good", flush=True)
