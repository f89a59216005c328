#!/usr/bin/env node
// A message centre: npm's `smpp` as the SMPP side, with answers that a test scripts by number over HTTP.
//
//   POST   /_script    {"to": "491701234567" or "*", "delay_ms": 0, "answers": [0, 88, "silence", "disconnect",
//                        {"status": 0, "receipt": "UNDELIV", "err": "069", "receipt_first": true}]}
//                      the last answer repeats; a status is SMPP's command_status
//   POST   /_binds     {"answers": [13, 0]}    what the next binds are answered with
//   GET    /_messages?to=    each submit_sm as it was read, and the answer it got
//   GET    /_receipts?message_id=    each receipt and the status it was answered with
//   GET    /_stats     counts, and the most requests that waited for an answer at once
//   DELETE /_sessions  breaks every connection
//   GET    /healthz
//
// The login is notilog, secret. With --until-stdin-closes it ends with its parent; the first line it prints is
// {"smpp": port, "control": port}.
"use strict";

const http = require("node:http");
const { parseArgs } = require("node:util");
const smpp = require("smpp");

const { values: options } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "2775" },
    "control-port": { type: "string", default: "2776" },
    "until-stdin-closes": { type: "boolean", default: false },
  },
});

const LOGIN = { system_id: "notilog", password: "secret" };
const scripts = new Map();
let binds = [];
const messages = [];
const receipts = [];
let nextId = Date.now();
const stats = { binds: 0, refused_binds: 0, unbinds: 0, enquire_links: 0, submits: 0, waiting: 0, most_waiting: 0 };
const sessions = new Set();

function nextAnswer(to) {
  const script = scripts.get(to) ?? scripts.get("*");
  if (!script) return { answer: 0, delay: 0 };
  const answer = script.answers.length > 1 ? script.answers.shift() : (script.answers[0] ?? 0);
  return { answer, delay: script.delay_ms ?? 0 };
}

function bind(session, pdu) {
  const wrong = pdu.system_id !== LOGIN.system_id || pdu.password !== LOGIN.password;
  const status = binds.length ? binds.shift() : wrong ? smpp.ESME_RBINDFAIL : 0;
  session.send(pdu.response({ command_status: status, system_id: "SMSC" }));
  if (status !== 0) {
    stats.refused_binds += 1;
    session.close();
    return;
  }
  stats.binds += 1;
  sessions.add(session);
}

function stamp(date) {
  return date.toISOString().replace(/[-:T]/g, "").slice(2, 12);
}

// Appendix B of SMPP 3.4.
function sendReceipt(session, id, submit, stat, err) {
  const delivered = stat === "DELIVRD" ? "001" : "000";
  const now = stamp(new Date());
  const text = `id:${id} sub:001 dlvrd:${delivered} submit date:${now} done date:${now} stat:${stat} err:${err} text:`;
  session.deliver_sm(
    {
      source_addr: submit.destination_addr,
      destination_addr: submit.source_addr,
      esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
      short_message: text,
    },
    (answer) => receipts.push({ message_id: id, stat, answered: answer.command_status }),
  );
}

function submit(session, pdu) {
  stats.submits += 1;
  stats.waiting += 1;
  stats.most_waiting = Math.max(stats.most_waiting, stats.waiting);
  const { answer, delay } = nextAnswer(pdu.destination_addr);
  const said = typeof answer === "object" ? answer : { status: answer };
  const id = said.status === 0 ? (nextId++).toString(16) : null;
  const { message, udh } = pdu.short_message;
  messages.push({
    to: pdu.destination_addr,
    to_ton: pdu.dest_addr_ton,
    to_npi: pdu.dest_addr_npi,
    from: pdu.source_addr,
    from_ton: pdu.source_addr_ton,
    esm_class: pdu.esm_class,
    data_coding: pdu.data_coding,
    registered_delivery: pdu.registered_delivery,
    validity_period: pdu.validity_period,
    udh: udh ? Buffer.concat(udh.map((part) => Buffer.from(part))).toString("hex") : null,
    text: Buffer.isBuffer(message) ? message.toString("latin1") : message,
    answer,
    message_id: id,
    at: Date.now(),
  });
  const wantsReceipt = (pdu.registered_delivery & 3) !== 0 && id !== null;
  const receipt = () => sendReceipt(session, id, pdu, said.receipt ?? "DELIVRD", said.err ?? "000");
  setTimeout(() => {
    stats.waiting -= 1;
    if (answer === "disconnect") return session.destroy();
    if (answer === "silence") return;
    if (wantsReceipt && said.receipt_first) receipt();
    session.send(pdu.response({ command_status: said.status, message_id: id ?? "" }));
    if (wantsReceipt && !said.receipt_first) receipt();
  }, delay);
}

const server = smpp.createServer((session) => {
  session.on("bind_transceiver", (pdu) => bind(session, pdu));
  session.on("submit_sm", (pdu) => submit(session, pdu));
  session.on("enquire_link", (pdu) => {
    stats.enquire_links += 1;
    session.send(pdu.response());
  });
  session.on("unbind", (pdu) => {
    stats.unbinds += 1;
    session.send(pdu.response());
    session.close();
  });
  session.on("close", () => sessions.delete(session));
  session.on("error", () => session.destroy());
});

function body(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => resolve(JSON.parse(Buffer.concat(chunks).toString("utf8"))));
    request.on("error", reject);
  });
}

async function control(request, url) {
  const route = `${request.method} ${url.pathname}`;
  const wanted = (list, name) => list.filter((one) => !url.searchParams.has(name) || one[name] === url.searchParams.get(name));
  switch (route) {
    case "POST /_script": {
      const script = await body(request);
      scripts.set(script.to, script);
      return { ok: true };
    }
    case "POST /_binds":
      binds = (await body(request)).answers;
      return { ok: true };
    case "GET /_messages":
      return wanted(messages, "to");
    case "GET /_receipts":
      return wanted(receipts, "message_id");
    case "GET /_stats":
      return { ...stats, sessions: sessions.size };
    case "DELETE /_sessions":
      sessions.forEach((session) => session.destroy());
      return { ok: true };
    case "GET /healthz":
      return { ok: true };
    default:
      return undefined;
  }
}

const controlServer = http.createServer((request, response) => {
  const answer = (status, value) => {
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(value));
  };
  control(request, new URL(request.url, "http://x")).then(
    (value) => (value === undefined ? answer(404, { error: "no such path" }) : answer(200, value)),
    (error) => answer(400, { error: String(error) }),
  );
});

server.listen(Number(options.port), options.host, () => {
  controlServer.listen(Number(options["control-port"]), options.host, () => {
    console.log(JSON.stringify({ smpp: server.address().port, control: controlServer.address().port }));
  });
});
if (options["until-stdin-closes"]) {
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}
