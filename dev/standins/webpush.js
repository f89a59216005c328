#!/usr/bin/env node
// A push service for browsers: npm's web-push-testing, which decrypts each message and checks who sent it, and what it
// lacks: it keeps the headers, and a test scripts refusals by subscription.
//
//   POST   /subscribe, /notify/:hash, /expire-subscription/:hash, /get-notifications     web-push-testing's own
//   POST   /_script    {"hash": "...", "answers": [{"status": 429, "retry_after": 7}, "disconnect", 0]}    0: its own answer
//   GET    /_requests?hash=    the headers of what came
//
// With --until-stdin-closes it ends with its parent; the first line it prints is its port.
"use strict";

const { parseArgs } = require("node:util");
const Server = require("web-push-testing/src/server.js");
const { PushApiModel } = require("web-push-testing/src/PushApiModel.js");

const { values: options } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8085" },
    "until-stdin-closes": { type: "boolean", default: false },
  },
});

const scripts = new Map();
const requests = [];
const model = new PushApiModel();
const server = new Server(model, Number(options.port));
const app = server._app;

app.post("/_script", (request, response) => {
  scripts.set(request.body.hash, request.body.answers);
  response.json({ ok: true });
});
app.get("/_requests", (request, response) => {
  response.json(requests.filter((one) => !request.query.hash || one.hash === request.query.hash));
});
app.post("/notify/:hash", (request, response, next) => {
  const { hash } = request.params;
  const answers = scripts.get(hash) ?? [];
  const answer = answers.length > 1 ? answers.shift() : (answers[0] ?? 0);
  requests.push({ hash, headers: request.headers, length: request.body.length, answer });
  if (answer === "disconnect") return request.socket.destroy();
  if (answer === 0) return next();
  if (answer.retry_after !== undefined) response.set("Retry-After", String(answer.retry_after));
  response.sendStatus(answer.status);
});
server.setRequestHandlers();

// web-push-testing itself would listen on every interface.
const listening = app.listen(Number(options.port), options.host, () => {
  const { port } = listening.address();
  model.notifyUrl = `http://${options.host}:${port}/notify/`;
  console.log(port);
});
if (options["until-stdin-closes"]) {
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}
