// Every stock client generation the gateway must serve, under one name each.
import client25 from "client-2.5";
import * as client31 from "client-3.1";
import * as client40 from "client-4.0";
import * as client44 from "client-4.4";
import * as client48 from "client-4.8";

// 2.x is CommonJS whose export is the function itself; the others export `io`.
const ioOf = (module) => module.io ?? module.default?.io ?? module.default ?? module;

export const clients = {
  "2.5": ioOf(client25),
  "3.1": ioOf(client31),
  "4.0": ioOf(client40),
  "4.4": ioOf(client44),
  "4.8": ioOf(client48),
};

// One JSON line per fact: the Rust side reads them with `Finished::facts`.
export const report = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`);
