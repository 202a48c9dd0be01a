// sarif.mjs FILE: whether FILE is SARIF 2.1.0, by the schema of its makers.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.MCPCTL_TEST_NODE_MODULES}/x.js`);
const Ajv = require("ajv-draft-04");
const schema = JSON.parse(
  readFileSync(`${process.env.MCPCTL_TEST_NODE_MODULES}/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json`, "utf8"),
);
const validate = new (Ajv.default ?? Ajv)({
  strict: false,
  validateFormats: false,
  unicodeRegExp: false,
  allErrors: true,
}).compile(schema);
const log = JSON.parse(readFileSync(process.argv[2], "utf8"));
if (!validate(log)) {
  console.error(JSON.stringify(validate.errors, null, 1));
  process.exit(1);
}
console.log(`${log.runs[0].results.length} results`);
