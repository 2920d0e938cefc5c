// Logs in, creates a zone and queries it: node zones.js HOST:PORT PROTO_DIR NAME, the admin's password on stdin.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, protoDirectory, zoneName] = process.argv.slice(2);
const password = fs.readFileSync(0, "utf8").trim();

function load() {
  const directory = path.join(protoDirectory, "zcloud", "v1");
  const files = fs.readdirSync(directory).filter((name) => name.endsWith(".proto"));
  const definition = loader.loadSync(
    files.map((name) => path.join("zcloud", "v1", name)),
    { includeDirs: [protoDirectory], keepCase: true, longs: Number, enums: String, defaults: true },
  );
  return grpc.loadPackageDefinition(definition).zcloud.v1;
}

function call(client, name, request, metadata = new grpc.Metadata()) {
  const options = { deadline: new Date(Date.now() + 60_000) };
  return new Promise((resolve, reject) => {
    client[name](request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main() {
  const api = load();
  const credentials = grpc.credentials.createInsecure();
  const sessions = new api.SessionService(address, credentials);
  const zones = new api.ZoneService(address, credentials);
  try {
    const session = await call(sessions, "LogInByAccount", { account_name: "admin", password });
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${session.inventory.token}`);
    const written = metadata.clone();
    written.set("zcloud-reason", encodeURIComponent("Node.js client"));
    const created = await call(zones, "CreateZone", { name: zoneName }, written);
    const queried = await call(zones, "QueryZone", { filter: `name = "${zoneName}"`, count: true }, metadata);
    const refusal = await call(zones, "CreateZone", { name: "" }, written).then(
      () => null,
      (error) => ({ code: grpc.status[error.code], message: error.details }),
    );
    console.log(JSON.stringify({ created: created.inventory, queried, refusal }));
  } finally {
    sessions.close();
    zones.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
