// web3.js as it is published. See story.mjs for what happens.
import { Web3 } from "web3";
import { story } from "./story.mjs";

await story(async ({ http, ws, key, to }) => {
  const provider = new Web3(http);
  const { address } = provider.eth.accounts.wallet.add(key)[0];
  const socket = new Web3(new Web3.providers.WebsocketProvider(ws));
  return {
    chainId: async () => Number(await provider.eth.getChainId()),
    number: async () => Number(await provider.eth.getBlockNumber()),
    blockHash: async (number) => (await provider.eth.getBlock(number)).hash,
    balance: () => provider.eth.getBalance(to),
    pay: async () => {
      const value = provider.utils.toWei("0.5", "ether");
      const receipt = await provider.eth.sendTransaction({ from: address, to, value });
      return { status: Number(receipt.status), block: Number(receipt.blockNumber) };
    },
    numberOverSocket: async () => Number(await socket.eth.getBlockNumber()),
    heads: async (tell) => {
      const heads = await socket.eth.subscribe("newBlockHeaders");
      heads.on("data", (head) => tell(Number(head.number)));
      heads.on("error", (error) => tell({ error: String(error) }));
    },
    close: () => socket.currentProvider.disconnect(),
  };
});
