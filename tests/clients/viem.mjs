// viem as it is published. See story.mjs for what happens.
import { createPublicClient, createWalletClient, http as overHttp, parseEther, webSocket } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { anvil } from "viem/chains";
import { story } from "./story.mjs";

await story(async ({ http, ws, key, to }) => {
  const provider = createPublicClient({ chain: anvil, transport: overHttp(http), pollingInterval: 100 });
  const wallet = createWalletClient({ account: privateKeyToAccount(key), chain: anvil, transport: overHttp(http) });
  const socket = createPublicClient({ chain: anvil, transport: webSocket(ws) });
  return {
    chainId: () => provider.getChainId(),
    number: async () => Number(await provider.getBlockNumber({ cacheTime: 0 })),
    blockHash: async (number) => (await provider.getBlock({ blockNumber: BigInt(number) })).hash,
    balance: () => provider.getBalance({ address: to }),
    pay: async () => {
      const hash = await wallet.sendTransaction({ to, value: parseEther("0.5") });
      const receipt = await provider.waitForTransactionReceipt({ hash });
      return { status: receipt.status === "success" ? 1 : 0, block: Number(receipt.blockNumber) };
    },
    numberOverSocket: async () => Number(await socket.getBlockNumber({ cacheTime: 0 })),
    heads: async (tell) => {
      const { unsubscribe } = await socket.transport.subscribe({
        params: ["newHeads"],
        onData: ({ result }) => tell(Number(result.number)),
        onError: (error) => tell({ error: String(error) }),
      });
      return unsubscribe;
    },
    close: async () => (await socket.transport.getRpcClient()).close(),
  };
});
