// Makes keys and tokens with Node's own cryptography, so that nothing verifies what it signed itself.
// Argument: {keys: {name: "rsa" | "p256" | "p384" | "ed25519" | "secret: …"}, tokens: {label: {key, alg, header?, claims}}}
import { createHmac, constants, generateKeyPairSync, sign } from "node:crypto";
import { report } from "./clients.mjs";

const { keys, tokens } = JSON.parse(process.argv[2]);

const make = {
  rsa: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  p256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  p384: () => generateKeyPairSync("ec", { namedCurve: "P-384" }),
  ed25519: () => generateKeyPairSync("ed25519"),
};
const made = {};
for (const [name, kind] of Object.entries(keys)) {
  if (kind.startsWith("secret: ")) {
    made[name] = { secret: kind.slice(8) };
    continue;
  }
  const { publicKey, privateKey } = make[kind]();
  made[name] = {
    privateKey,
    public: publicKey.export({ type: "spki", format: "pem" }),
    private: privateKey.export({ type: "pkcs8", format: "pem" }),
    jwk: { ...publicKey.export({ format: "jwk" }), kid: name },
  };
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function signature(alg, key, body) {
  const bits = alg.slice(2);
  switch (alg.slice(0, 2)) {
    // With a public key in place of the secret: the classic confusion.
    case "HS":
      return createHmac(`sha${bits}`, key.secret ?? key.public).update(body).digest("base64url");
    case "RS":
      return sign(`sha${bits}`, body, key.privateKey).toString("base64url");
    case "PS": {
      const padding = constants.RSA_PKCS1_PSS_PADDING;
      const saltLength = constants.RSA_PSS_SALTLEN_DIGEST;
      return sign(`sha${bits}`, body, { key: key.privateKey, padding, saltLength }).toString("base64url");
    }
    case "ES":
      return sign(`sha${bits}`, body, { key: key.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
    case "Ed":
      return sign(null, body, key.privateKey).toString("base64url");
    default:
      return "";
  }
}

const signed = {};
for (const [label, { key, alg, header = {}, claims }] of Object.entries(tokens)) {
  const body = `${part({ typ: "JWT", alg, ...header })}.${part(claims)}`;
  signed[label] = `${body}.${signature(alg, made[key], Buffer.from(body))}`;
}
const shown = Object.entries(made).map(([name, { privateKey, ...rest }]) => [name, rest]);
report({ keys: Object.fromEntries(shown), tokens: signed });
