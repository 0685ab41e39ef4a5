// Reads an AsyncAPI document from standard input, and prints what AsyncAPI's own parser finds wrong.

import { text } from "node:stream/consumers";
import process from "node:process";

import parserPackage from "@asyncapi/parser";

const { Parser } = parserPackage;
const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
for (const { severity, message, path } of diagnostics) {
  console.log(severity, message, path.join("."));
}
// 0 is an error, 1 a warning; others are advice.
const wrong = diagnostics.filter(({ severity }) => severity <= 1);
process.exit(document === undefined || wrong.length > 0 ? 1 : 0);
