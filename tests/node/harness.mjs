// Proves that the runner works: installs, passes arguments and environment, captures facts and the exit code.
import { clients, report } from "./clients.mjs";

report({ clients: Object.entries(clients).filter(([, io]) => typeof io === "function").map(([name]) => name) });
report({ args: process.argv.slice(2), variable: process.env.HARNESS_VARIABLE });
process.exitCode = Number(process.env.HARNESS_EXIT ?? 0);
