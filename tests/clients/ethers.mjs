// ethers as it is published. See story.mjs for what happens.
import { JsonRpcProvider, Wallet, WebSocketProvider, parseEther } from "ethers";
import { story } from "./story.mjs";

await story(async ({ http, ws, key, to }) => {
  // ethers gives its own last answer to the same question for a quarter of a second: a balance that is asked for before
  // and after a payment that was quicker than that would be the old one, whatever the gateway says.
  const provider = new JsonRpcProvider(http, undefined, { cacheTimeout: -1 });
  const wallet = new Wallet(key, provider);
  const socket = new WebSocketProvider(ws);
  return {
    chainId: async () => Number((await provider.getNetwork()).chainId),
    number: () => provider.getBlockNumber(),
    blockHash: async (number) => (await provider.getBlock(number)).hash,
    balance: () => provider.getBalance(to),
    pay: async () => {
      const sent = await wallet.sendTransaction({ to, value: parseEther("0.5") });
      const receipt = await sent.wait();
      return { status: receipt.status, block: receipt.blockNumber };
    },
    numberOverSocket: () => socket.getBlockNumber(),
    heads: async (tell) => socket.on("block", (number) => tell(Number(number))),
    logs: async (tell) => socket.on({ address: to }, (log) => tell(log)),
    close: () => Promise.all([socket.destroy(), provider.destroy()]),
  };
});
