// Creates a snapshot task with Tencent's official Node client, describes it
// until it has ended, and prints the responses as one JSON document.
// Environment: TIW_ENDPOINT (host:port), TIW_SECRET_ID, TIW_SECRET_KEY.
import { CommonClient } from "tencentcloud-sdk-nodejs-common";

const client = new CommonClient(process.env.TIW_ENDPOINT, "2019-09-19", {
  credential: { secretId: process.env.TIW_SECRET_ID, secretKey: process.env.TIW_SECRET_KEY },
  region: "ap-singapore",
  profile: { httpProfile: { protocol: "http://", reqTimeout: 10 } },
});

const SdkAppId = 1400124720;
const created = await client.request("CreateSnapshotTask", {
  SdkAppId,
  RoomId: 20261122,
  Whiteboard: { Width: 640, Height: 360, InitParams: '{"ratio":"16:9","note":"<白板> & more"}' },
});

// The quota of DescribeSnapshotTask is 20 a second.
let described;
do {
  await new Promise((resolve) => setTimeout(resolve, 100));
  described = await client.request("DescribeSnapshotTask", { SdkAppId, TaskID: created.TaskID });
} while (described.Status !== "Finished");

let rejected;
try {
  await client.request("CreateSnapshotTask", { SdkAppId, RoomId: "a string", Whiteboard: {} });
} catch (err) {
  rejected = { code: err.code, requestId: err.requestId };
}

console.log(JSON.stringify({ created, described, rejected }));
