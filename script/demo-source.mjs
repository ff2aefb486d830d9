// The demo's data source: a price that is another one each time somebody asks.
//
//   node demo-source.mjs FILE
//
// Prints where it listens and appends every price it serves to FILE, one a line, so that the demo can compare.

import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const [, , served] = process.argv;
let cents = 150_000 + Math.floor(Math.random() * 100_000);

createServer((request, response) => {
  if (request.url !== "/price") {
    response.writeHead(404).end();
    return;
  }
  cents += 1 + Math.floor(Math.random() * 999);
  const price = (cents / 100).toFixed(2);
  appendFileSync(served, `${price}\n`);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(`{"pair": "ETH/USD", "price": {"USD": ${price}}}\n`);
}).listen(0, "127.0.0.1", function () {
  console.log(`http://127.0.0.1:${this.address().port}/price`);
});
