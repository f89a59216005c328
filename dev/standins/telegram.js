#!/usr/bin/env node
// A Telegram Bot API: telegram-test-api behind a proxy that adds what it lacks, namely refusals that
// a test scripts by chat, a full getMe, methods in any case, and a log of what was sent.
//
//   POST   /_script    {"chat_id": "7" or "*", "delay_ms": 0, "answers": [
//                        {"status": 429, "retry_after": 3},
//                        {"status": 403, "description": "Forbidden: bot was blocked by the user"},
//                        "disconnect", {"status": 200}]}          the last answer repeats
//   GET    /_messages?chat_id=    every sendMessage and the answer it got
//   GET    /_stats     counts
//   DELETE /_all       forgets messages and scripts
//   GET    /healthz
"use strict";

const http = require("node:http");
const { parseArgs } = require("node:util");
const TelegramServer = require("telegram-test-api");

const MAX_TEXT = 4096;
const DESCRIPTIONS = {
  400: "Bad Request: chat not found",
  401: "Unauthorized",
  403: "Forbidden: bot was blocked by the user",
  404: "Not Found",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
};

const { values: options } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8082" },
    token: { type: "string", default: "123456:TEST" },
    keep: { type: "string", default: "200000" },
  },
});
const keep = Number(options.keep);

let messages = [];
let sent = 0;
const scripts = new Map();
const byStatus = new Map();

// The real server, on a port of its own that only this process knows.
const inner = new TelegramServer({ host: "127.0.0.1", storeTimeout: 60 });
const innerServer = http.createServer(inner.webServer);
const agent = new http.Agent({ keepAlive: true });
setInterval(() => inner.cleanUp(), 10_000).unref();

function readBody(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    request.on("error", reject);
  });
}

function parameters(request, url, body) {
  const type = request.headers["content-type"] ?? "";
  const given = type.includes("json") ? JSON.parse(body || "{}") : Object.fromEntries(new URLSearchParams(body));
  return { ...Object.fromEntries(url.searchParams), ...given };
}

function reply(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(value)}\n`);
}

function refusal(status, description, retryAfter) {
  const body = { ok: false, error_code: status, description: description ?? DESCRIPTIONS[status] ?? "Scripted" };
  if (retryAfter === undefined) return body;
  const said = description ?? `${body.description}: retry after ${retryAfter}`;
  return { ...body, description: said, parameters: { retry_after: retryAfter } };
}

// Calls the real server; a path without a bot is its own interface, which plays the user's side.
function forward(path, values) {
  return new Promise((resolve, reject) => {
    const { address, port } = innerServer.address();
    const headers = { "content-type": "application/json" };
    const call = http.request({ host: address, port, path, method: "POST", agent, headers }, (answer) => {
      readBody(answer).then((text) => resolve({ status: answer.statusCode, body: JSON.parse(text) }), reject);
    });
    call.on("error", reject);
    call.end(JSON.stringify(values));
  });
}

function nextAnswer(chat) {
  const script = scripts.get(chat) ?? scripts.get("*");
  if (!script) return { answer: { status: 200 }, delay: 0 };
  const answer = script.answers.length > 1 ? script.answers.shift() : (script.answers[0] ?? { status: 200 });
  return { answer, delay: answer.delay_ms ?? script.delay_ms ?? 0 };
}

// What the Bot API itself refuses, in its words.
function fault(values) {
  const text = values.text ?? "";
  if (values.chat_id === undefined || values.chat_id === "") return "Bad Request: chat_id is empty";
  if (text === "") return "Bad Request: message text is empty";
  if ([...text].length > MAX_TEXT) return "Bad Request: message is too long";
  return undefined;
}

async function sendMessage(values, response) {
  const chat = String(values.chat_id ?? "");
  const message = {
    received_at: Date.now(),
    chat_id: chat,
    text: values.text ?? null,
    parse_mode: values.parse_mode ?? null,
    answer: null,
    message_id: null,
  };
  const wrong = fault(values);
  const { answer, delay } = wrong ? { answer: { status: 400, description: wrong }, delay: 0 } : nextAnswer(chat);
  remember(message);
  if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
  if (answer === "disconnect") {
    count(message, 0);
    response.socket.destroy();
    return;
  }
  if (answer.status !== 200) {
    count(message, answer.status);
    reply(response, answer.status, refusal(answer.status, answer.description, answer.retry_after));
    return;
  }
  const { status, body } = await forward(`/bot${options.token}/sendMessage`, values);
  // It dates messages in milliseconds; the Bot API does in seconds.
  if (body.result?.date) body.result.date = Math.floor(body.result.date / 1000);
  message.message_id = body.result?.message_id ?? null;
  count(message, status);
  reply(response, status, body);
}

function remember(message) {
  sent += 1;
  messages.push(message);
  if (messages.length > 2 * keep) messages = messages.slice(-keep);
}

function count(message, status) {
  message.answer = status;
  byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
}

function getMe(response) {
  const result = {
    id: Number(options.token.split(":")[0]),
    is_bot: true,
    first_name: "notilog stand-in",
    username: "notilog_test_bot",
    can_join_groups: true,
    can_read_all_group_messages: false,
    supports_inline_queries: false,
    can_connect_to_business: false,
    has_main_web_app: false,
  };
  reply(response, 200, { ok: true, result });
}

function addScripts(body) {
  const wanted = JSON.parse(body);
  for (const script of Array.isArray(wanted) ? wanted : [wanted]) {
    const { chat_id: chat, answers = [], delay_ms: delay = 0 } = script;
    if (chat === undefined) throw new Error("a script needs a chat_id");
    if (!Array.isArray(answers)) throw new Error("answers must be a list");
    const plain = answers.map((answer) => (typeof answer === "number" ? { status: answer } : answer));
    const strange = plain.find((answer) => answer !== "disconnect" && !Number.isInteger(answer?.status));
    if (strange !== undefined) throw new Error(`an answer needs a status: ${JSON.stringify(strange)}`);
    scripts.set(String(chat), { answers: plain, delay_ms: delay });
  }
}

const control = {
  "GET /healthz": (url, body, response) => reply(response, 200, { ok: true }),
  "POST /_script": (url, body, response) => {
    try {
      addScripts(body);
      reply(response, 200, { ok: true });
    } catch (error) {
      reply(response, 400, { error: error.message });
    }
  },
  "GET /_messages": (url, body, response) => {
    const chat = url.searchParams.get("chat_id");
    reply(response, 200, messages.filter((message) => chat === null || message.chat_id === chat));
  },
  "GET /_stats": (url, body, response) => {
    reply(response, 200, { messages: sent, by_status: Object.fromEntries(byStatus) });
  },
  "DELETE /_all": (url, body, response) => {
    messages = [];
    sent = 0;
    scripts.clear();
    byStatus.clear();
    reply(response, 200, { ok: true });
  },
};

async function handle(request, response) {
  const url = new URL(request.url, "http://localhost");
  const body = await readBody(request);
  const own = control[`${request.method} ${url.pathname}`];
  if (own) return own(url, body, response);

  let values;
  try {
    values = parameters(request, url, body);
  } catch {
    return reply(response, 400, refusal(400, "Bad Request: can't parse JSON object"));
  }
  const [, token, method] = /^\/bot([^/]+)\/([^/]+)$/i.exec(decodeURIComponent(url.pathname)) ?? [];
  if (method && token !== options.token) return reply(response, 401, refusal(401));
  if (method?.toLowerCase() === "getme") return getMe(response);
  if (method?.toLowerCase() === "sendmessage") return sendMessage(values, response);
  const path = method ? `/bot${token}/${method[0].toLowerCase()}${method.slice(1)}` : url.pathname;
  const answer = await forward(path, values);
  return reply(response, answer.status, answer.body);
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    if (!response.headersSent) reply(response, 500, refusal(500, error.message));
  });
});
server.keepAliveTimeout = 60_000;

innerServer.listen(0, "127.0.0.1", () => {
  server.listen(Number(options.port), options.host, () => {
    console.log(`Telegram Bot API on http://${options.host}:${options.port}`);
  });
});
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
