// Compiles the contracts our tests talk to into out/NAME.json: name, compiler, abi, bytecode.
//
// The oracle contracts come from their published package and stay there; only Consumer.sol is ours.
// Does nothing when no input has changed since the last build. One worker per compiler, because each
// carries a compiler translated to JavaScript and takes seconds.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "out");
const require = createRequire(import.meta.url);

const published = "@chainlink/contracts/src";
/** By compiler: which contract of which source becomes out/NAME.json. */
const plan = {
  "solc-0.4": [
    { name: "LinkToken", contract: "LinkToken", source: `${published}/v0.4/LinkToken.sol` },
    { name: "OracleV04", contract: "Oracle", source: `${published}/v0.4/Oracle.sol` },
  ],
  "solc-0.6": [
    { name: "OracleV06", contract: "Oracle", source: `${published}/v0.6/Oracle.sol` },
    { name: "FluxAggregator", contract: "FluxAggregator", source: `${published}/v0.6/FluxAggregator.sol` },
    { name: "Flags", contract: "Flags", source: `${published}/v0.6/Flags.sol` },
  ],
  "solc-0.7": [
    { name: "Operator", contract: "Operator", source: `${published}/v0.7/Operator.sol` },
    { name: "AuthorizedForwarder", contract: "AuthorizedForwarder", source: `${published}/v0.7/AuthorizedForwarder.sol` },
    { name: "OperatorFactory", contract: "OperatorFactory", source: `${published}/v0.7/OperatorFactory.sol` },
  ],
  "solc-0.8": [{ name: "Consumer", contract: "Consumer", source: "src/Consumer.sol" }],
};

if (isMainThread) {
  await buildAll();
} else {
  parentPort.postMessage(compile(workerData));
}

async function buildAll() {
  const stamp = join(out, "inputs.sha256");
  const inputs = hashOfInputs();
  const artefacts = Object.values(plan).flat().map(({ name }) => join(out, `${name}.json`));
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === inputs && artefacts.every(existsSync)) return;

  console.error("compiling the contracts …");
  // Into place only when everything compiled: a build that was interrupted leaves nothing half done.
  const fresh = join(here, "node_modules", `.out.${process.pid}`);
  mkdirSync(fresh, { recursive: true });
  try {
    const compiled = await Promise.all(Object.keys(plan).map(inWorker));
    for (const artefact of compiled.flat()) {
      writeFileSync(join(fresh, `${artefact.name}.json`), JSON.stringify(artefact));
      console.error(`  ${artefact.name.padEnd(20)} ${artefact.compiler}`);
    }
    writeFileSync(join(fresh, "inputs.sha256"), inputs);
    rmSync(out, { recursive: true, force: true });
    renameSync(fresh, out);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function hashOfInputs() {
  const hash = createHash("sha256");
  const ours = readdirSync(join(here, "src")).sort().map((file) => join("src", file));
  // The lock file stands for the published sources and the compilers.
  for (const file of ["build.mjs", "package-lock.json", ...ours]) {
    hash.update(file).update("\0").update(readFileSync(join(here, file))).update("\0");
  }
  return hash.digest("hex");
}

function inWorker(compiler) {
  return new Promise((resolve, reject) => {
    new Worker(new URL(import.meta.url), { workerData: compiler }).on("message", resolve).on("error", reject);
  });
}

function compile(compiler) {
  const solc = quietly(() => require(compiler));
  const wanted = plan[compiler];
  const settings = {
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  };
  // Runs on every chain an operator has, not only where the newest instructions are known.
  if (compiler === "solc-0.8") settings.evmVersion = "paris";
  const sources = Object.fromEntries(wanted.map(({ source }) => [source, { content: read(source) }]));
  const input = JSON.stringify({ language: "Solidity", sources, settings });

  const found = (path) => {
    try {
      return { contents: read(path) };
    } catch (error) {
      return { error: error.message };
    }
  };
  const result = JSON.parse(
    solc.compileStandardWrapper ? solc.compileStandardWrapper(input, found) : solc.compile(input, { import: found }),
  );
  const errors = (result.errors ?? []).filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join("\n"));

  return wanted.map(({ name, contract, source }) => {
    const { abi, evm } = result.contracts[source][contract];
    return { name, compiler: solc.version(), abi, bytecode: `0x${evm.bytecode.object}` };
  });
}

function read(path) {
  return readFileSync(join(here, path.startsWith("src/") ? path : join("node_modules", path)), "utf8");
}

/** The oldest compiler makes Node warn about its asm.js, which is no news to anybody. */
function quietly(load) {
  const emit = process.emitWarning;
  process.emitWarning = () => {};
  process.removeAllListeners("warning");
  try {
    return load();
  } finally {
    process.emitWarning = emit;
  }
}
