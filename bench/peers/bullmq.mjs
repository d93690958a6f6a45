// Runs BullMQ as its documentation shows it, for go run ./bench.
//   node bullmq.mjs worker window|smooth
//   node bullmq.mjs enqueue
// Environment: PEER_REDIS (host:port), PEER_API (URL). It prints "ready" when it
// is; "enqueue" then reads lines "COUNT FIRST" and answers each with "done".
import { createHash, createHmac } from "node:crypto";
import { createInterface } from "node:readline";
import { Queue, Worker } from "bullmq";

const [host, port] = process.env.PEER_REDIS.split(":");
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const name = "snapshots";

// create asks for one snapshot and returns the error code, or "".
async function create(room) {
  const body = JSON.stringify(room);
  const url = new URL(process.env.PEER_API);
  const timestamp = Math.floor(Date.now() / 1000);
  const scope = new Date(timestamp * 1000).toISOString().slice(0, 10) + "/tiw/tc3_request";
  const hash = (text) => createHash("sha256").update(text).digest("hex");
  const mac = (key, text) => createHmac("sha256", key).update(text).digest();
  const canonical = `POST\n/\n\ncontent-type:application/json\nhost:${url.host}\n\ncontent-type;host\n${hash(body)}`;
  let key = "TC3simulator";
  for (const part of scope.split("/")) key = mac(key, part);
  const signature = mac(key, `TC3-HMAC-SHA256\n${timestamp}\n${scope}\n${hash(canonical)}`).toString("hex");
  const answer = await fetch(url, {
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "authorization": `TC3-HMAC-SHA256 Credential=simulator/${scope}, ` +
        `SignedHeaders=content-type;host, Signature=${signature}`,
      "x-tc-action": "CreateSnapshotTask",
      "x-tc-version": "2019-09-19",
      "x-tc-region": "ap-singapore",
      "x-tc-timestamp": String(timestamp),
    },
  });
  return (await answer.json()).Response.Error?.Code ?? "";
}

function work(way) {
  const limiter = way === "window" ? { max: 20, duration: 1000 } : { max: 1, duration: 50 };
  const worker = new Worker(name, async (job) => {
    const code = await create(job.data);
    if (code === "RequestLimitExceeded") {
      await worker.rateLimit(1000);
      throw Worker.RateLimitError();
    }
    if (code !== "") throw new Error(code);
  }, { connection, limiter, concurrency: 20 });
  process.on("SIGTERM", async () => {
    setTimeout(() => process.exit(1), 3000).unref(); // close waits for a Redis that may be gone
    await worker.close();
    process.exit(0);
  });
  return worker.waitUntilReady();
}

async function enqueue() {
  const queue = new Queue(name, { connection });
  await queue.waitUntilReady();
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    const [count, first] = line.split(" ").map(Number);
    for (let i = 0; i < count; i += 1000) {
      await queue.addBulk(Array.from({ length: Math.min(1000, count - i) }, (_, k) => ({
        name: "snapshot", data: { SdkAppId: 1400123480, RoomId: first + i + k, Whiteboard: {} },
      })));
    }
    console.log("done");
  }
  await queue.close();
}

if (process.argv[2] === "worker") {
  await work(process.argv[3]);
  console.log("ready");
} else {
  await enqueue();
}
