// The differences from a Node server that stay, and why. `docs/PROTOCOL.md` has this table.
//
// `cases`: names, or beginnings of names with a star. Each case that is named must differ, and each that differs
// must be named; `shows` is what Fleetcast's side of each must look like.

export const DIFFERENCES = [];

const matches = (pattern, name) =>
  pattern.includes("*")
    ? new RegExp(`^${pattern.split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`, "s").test(name)
    : pattern === name;

export const differenceOf = (name, list = DIFFERENCES) =>
  list.find(({ cases }) => cases.some((pattern) => matches(pattern, name)));
