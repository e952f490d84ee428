// Compiles the contracts beside this file with solc-js and writes out/<Contract>.json; with --check it
// writes nothing and fails if a committed artifact differs. Usage: node compile.js <dir of solc> [--check]
"use strict";
const fs = require("fs");
const path = require("path");

const SOLC_VERSION = "0.8.37";
const ARTIFACTS = {
  "Vault.sol": ["Vault"],
  "Settlement.sol": ["Settlement"],
  "TestToken.sol": ["TestToken"],
  "SeedVault.sol": ["SeedVault"],
  "Readers.sol": ["StorageReader", "ViewReader"],
  "TestMulticall.sol": ["TestMulticall"],
};

const [, , solcDir, flag] = process.argv;
if (!solcDir || (flag && flag !== "--check")) {
  console.error("usage: node compile.js <directory of the solc package> [--check]");
  process.exit(64);
}
const solc = require(path.resolve(solcDir));
if (!solc.version().startsWith(`${SOLC_VERSION}+`)) {
  console.error(`solc ${solc.version()} found, ${SOLC_VERSION} needed: npm install solc@${SOLC_VERSION}`);
  process.exit(69);
}

const sources = {};
for (const file of fs.readdirSync(__dirname).filter((name) => name.endsWith(".sol")).sort()) {
  sources[file] = { content: fs.readFileSync(path.join(__dirname, file), "utf8") };
}
const input = {
  language: "Solidity",
  sources,
  settings: {
    // No MCOPY: the readers also run on chains that never took Cancun, and on Ganache.
    evmVersion: "shanghai",
    optimizer: { enabled: true, runs: 10000 },
    // No metadata hash in the code: the same source gives the same bytes on every machine.
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: {
      "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] },
    },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const problem of output.errors || []) {
  console.error(problem.formattedMessage);
}
if ((output.errors || []).length > 0) {
  process.exit(1); // warnings too: the sources are small enough to have none
}

// AST ids inside type names change whenever an unrelated line is added; they say nothing.
const withoutAstIds = (text) => text.replace(/\)\d+(_storage|\b)/g, ")$1");
let drifted = 0;
for (const [file, names] of Object.entries(ARTIFACTS)) {
  for (const name of names) {
    const contract = output.contracts[file][name];
    const artifact = {
      contract: name,
      solc: solc.version(),
      abi: contract.abi,
      bytecode: `0x${contract.evm.bytecode.object}`,
      deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
      storageLayout: contract.storageLayout.storage.map(({ label, slot, offset, type }) => ({
        label,
        slot,
        offset,
        type: withoutAstIds(type),
      })),
    };
    const text = `${JSON.stringify(artifact, null, 1)}\n`;
    const target = path.join(__dirname, "out", `${name}.json`);
    if (flag !== "--check") {
      fs.mkdirSync(path.dirname(target), { recursive: true });
      fs.writeFileSync(target, text);
    } else if (!fs.existsSync(target) || fs.readFileSync(target, "utf8") !== text) {
      console.error(`${path.relative(process.cwd(), target)} is not what ${file} compiles to; run scripts/compile-contracts`);
      drifted += 1;
    }
  }
}
process.exit(drifted === 0 ? 0 : 1);
