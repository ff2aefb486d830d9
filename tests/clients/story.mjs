// What every library does in front of the gateway, whatever it calls it: reads and pays over HTTP, reads and subscribes
// over a WebSocket, and goes on while one of the gateway's upstreams is killed by whoever started us.
//
// Arguments: HTTP URL, WebSocket URL, private key, recipient, heads to be told of. Says `subscribed` when it listens, and
// `good` at the end; anything else is a failure, in words on standard error.
const [http, ws, key, to, wanted] = process.argv.slice(2);

function check(what, good) {
  if (!good) throw new Error(what);
}

export async function story(library) {
  const deadline = setTimeout(() => fail(new Error("nothing more happens")), 150_000);
  try {
    const client = await library({ http, ws, key, to });
    check("the chain is anvil's", (await client.chainId()) === 31337);
    const number = await client.number();
    const hash = await client.blockHash(number);
    check(`the block's hash is one: ${hash}`, /^0x[0-9a-f]{64}$/.test(hash));
    const before = BigInt(await client.balance());
    const paid = await client.pay();
    check(`it was paid: ${JSON.stringify(paid)}`, paid.status === 1 && paid.block > number);
    // Whoever was given a receipt is not told of an older block.
    const now = await client.number();
    check(`the gateway is at the block of the receipt: ${now}, ${paid.block}`, now >= paid.block);
    const after = BigInt(await client.balance());
    check(`the recipient has it: ${before}, ${after}`, after - before === 500_000_000_000_000_000n);
    // Whoever was shown a block is not shown an older one, over any door.
    check("the chain does not go back", (await client.numberOverSocket()) >= paid.block);

    const told = [];
    await new Promise((resolve, reject) => {
      const tell = (head) => {
        if (typeof head !== "number") return reject(new Error(JSON.stringify(head)));
        told.push(head);
        if (told.length >= Number(wanted)) resolve();
      };
      client.heads(tell).then(() => console.log("subscribed"), reject);
    });
    check(`no head is missing and none comes twice: ${told}`, told.every((head, at) => head === told[0] + at));
    await client.close();
    console.log("good");
    clearTimeout(deadline);
    process.exit(0);
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  console.error(error);
  process.exit(1);
}
