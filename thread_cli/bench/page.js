"use strict";
// Every text reaches the page through textContent: whatever a model wrote stays text.

const PAGE_SIZE = 100;
const FOLDED_FROM = 300; // threads: larger trees start with their deeper levels folded
const COLUMNS = [
  ["task", (row) => row.task], ["", (row) => row.text], ["category", (row) => row.category], ["run", (row) => row.run],
  ["outcome", (row) => row.outcome], ["reward", (row) => row.reward], ["threads", (row) => row.threads],
  ["calls", (row) => row.calls], ["depth", (row) => row.depth], ["tokens", (row) => row.tokens],
];
const NUMBERS = new Set(["reward", "threads", "calls", "depth", "tokens"]);
const byId = (id) => document.getElementById(id);
const order = new Intl.Collator("en", { numeric: true }).compare;

let rows = [];
let byKey = new Map();
let shown = [];
let page = 0;
let sorting = { column: -1, descending: false };

function element(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

async function unpack(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (char) => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

const chunks = new Map(); // the newest few stay unpacked
async function episode(row) {
  if (!chunks.has(row.chunk)) {
    if (chunks.size >= 4) chunks.delete(chunks.keys().next().value);
    chunks.set(row.chunk, unpack(`chunk-${row.chunk}`));
  }
  return (await chunks.get(row.chunk))[row.place];
}

const number = (value) => (value === null ? "–" : value.toLocaleString("en-US", { maximumFractionDigits: 3 }));
const tone = (outcome) => (outcome === "solved" ? "good" : outcome === "answered" ? "plain" : "bad");

// --- the list

function options(id, name) {
  const values = [...new Set(rows.map((row) => row[name]))].sort(order);
  byId(id).append(...values.map((value) => {
    const option = element("option", value || "(none)");
    option.value = JSON.stringify(value);
    return option;
  }));
  byId(id).hidden = values.length < 2;
}

function filter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = ["run", "category", "outcome"].filter((name) => byId(name).value)
    .map((name) => [name, JSON.parse(byId(name).value)]);
  shown = rows.filter((row) => wanted.every(([name, value]) => row[name] === value) &&
    words.every((word) => row.sought.includes(word)));
  if (sorting.column >= 0) {
    const value = COLUMNS[sorting.column][1];
    const sign = sorting.descending ? -1 : 1;
    const compare = (a, b) => (typeof a === "string" ? order(a, b) : (a ?? -1) - (b ?? -1));
    shown.sort((a, b) => sign * compare(value(a), value(b)));
  }
  page = 0;
  list();
}

function list() {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
  byId("count").textContent = `${number(shown.length)} of ${number(rows.length)} episodes`;
  byId("page").textContent = `${page + 1} / ${pages}`;
  byId("back").disabled = page === 0;
  byId("forward").disabled = page + 1 >= pages;
  byId("list").tBodies[0].replaceChildren(...shown.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE).map(line));
}

function line(row) {
  const made = element("tr");
  for (const [name, value] of COLUMNS) {
    const cell = element("td", undefined, name === "" ? "long" : NUMBERS.has(name) ? "number" : "word");
    if (name === "task") {
      const link = element("a", row.task);
      link.href = `#${row.key}`;
      cell.append(link);
    } else {
      cell.textContent = name === "tokens" ? tokens(row) : NUMBERS.has(name) ? number(value(row)) : value(row);
    }
    if (name === "outcome") cell.classList.add(tone(row.outcome));
    made.append(cell);
  }
  return made;
}

function headings() {
  COLUMNS.forEach(([name], place) => {
    const heading = element("th", undefined, NUMBERS.has(name) ? "number" : "word");
    const button = element("button", name || "text");
    button.type = "button";
    button.addEventListener("click", () => {
      sorting = { column: place, descending: sorting.column === place && !sorting.descending };
      for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", sorting.descending ? "descending" : "ascending");
      filter();
    });
    heading.append(button);
    byId("list").tHead.rows[0].append(heading);
  });
}

// --- one episode

async function route() {
  const row = byKey.get(decodeURIComponent(location.hash.slice(1)));
  byId("overview").hidden = row !== undefined;
  byId("episode").hidden = row === undefined;
  if (row) open(row, await episode(row));
}

function tokens(of) {
  return (of.estimated ? "~" : "") + number(of.tokens);
}

function open(row, { message, seconds, threads }) {
  const figures = [row.run, row.category, `${number(row.threads)} threads`, `${number(row.calls)} calls`,
    `${row.depth} deep`, `${tokens(row)} tokens`, row.parallel];
  byId("name").textContent = [row.environment, row.task, row.text].filter(Boolean).join(" · ");
  byId("figures").replaceChildren(element("span", row.outcome, tone(row.outcome)),
    ` · ${figures.filter(Boolean).join(" · ")}`);
  byId("message").textContent = message;
  byId("thread").replaceChildren();
  byId("tree").replaceChildren();
  if (threads.length) byId("tree").append(tree(threads));
  else byId("tree").append(element("p", "The event log of this episode is not in the run's folder."));
  const lines = byId("timeline");
  lines.open = false;
  lines.hidden = !threads.some((thread) => thread.spans.length);
  lines.ontoggle = () => { // drawn when it is first looked at
    if (lines.open && lines.children.length === 1) lines.append(...timeline(threads, seconds));
  };
  for (const old of [...lines.children].slice(1)) old.remove();
  byId("tree").querySelector(".open")?.click();
  scrollTo(0, 0);
}

function tree(threads) {
  const lists = new Map([["", element("ul")]]);
  const items = new Map();
  for (const thread of threads) {
    const item = element("li");
    const fold = element("button", "", "fold");
    fold.tabIndex = -1;
    const row = element("div", undefined, "row");
    row.append(fold, opener(thread));
    item.append(row);
    items.set(thread.path, item);
    const above = thread.path.slice(0, Math.max(thread.path.lastIndexOf("."), 0));
    const folded = threads.length >= FOLDED_FROM && thread.depth > 1;
    if (!lists.has(above)) lists.set(above, branch(items.get(above), folded));
    lists.get(above).append(item);
  }
  return lists.get("");
}

function branch(item, folded) {
  const below = element("ul");
  const fold = item.querySelector(".fold");
  const show = () => {
    const closed = item.classList.contains("folded");
    fold.textContent = closed ? "▸" : "▾";
    fold.setAttribute("aria-label", closed ? "Unfold" : "Fold");
  };
  item.classList.toggle("folded", folded);
  fold.removeAttribute("tabindex");
  fold.addEventListener("click", () => { item.classList.toggle("folded"); show(); });
  item.append(below);
  show();
  return below;
}

function opener(thread) {
  const button = element("button", undefined, "open");
  const mark = thread.failed ? ["✗", "bad"] : thread.ended ? ["✓", "good"] : ["■", "plain"];
  button.append(element("span", mark[0], mark[1]), element("span", title(thread), "title"),
    element("span", thread.failure || (thread.result ? `→ ${thread.result}` : ""), "result"),
    element("span", tokens(thread), "tokens"));
  button.addEventListener("click", () => {
    for (const other of byId("tree").querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    read(thread);
  });
  return button;
}

// --- the timeline: what a thread does differs by the height of its bar, so that it reads without colours

const BARS = [ // top and height, of 10
  ["model", 0, 10, "model call"], ["action", 2, 6, "action"], ["waiting", 4.5, 1, "waiting"],
  ["other", 3.5, 3, "engine or Python"],
];
const PARTS = 2000; // of an episode's time

function drawing(width, [start, ...spans]) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", `0 0 ${width} 10`);
  made.setAttribute("preserveAspectRatio", "none");
  for (let at = 0; at < spans.length; at += 2) {
    const [doing, y, height] = BARS[spans[at]];
    const bar = document.createElementNS(made.namespaceURI, "rect");
    for (const [name, value] of Object.entries({ x: start, y, width: spans[at + 1], height })) {
      bar.setAttribute(name, value);
    }
    bar.classList.add(doing);
    made.append(bar);
    start += spans[at + 1];
  }
  return made;
}

function timeline(threads, seconds) {
  const head = element("div", undefined, "line", "axis");
  head.append(element("span"), element("span"));
  for (const part of [0, 1, 2, 3, 4]) head.lastChild.append(element("span", `${number(part * seconds / 4)} s`));
  const lines = threads.map((thread) => {
    const made = element("div", undefined, "line");
    const name = element("button", `${thread.path} · ${title(thread)}`);
    name.type = "button";
    name.addEventListener("click", () => read(thread));
    made.append(name, drawing(PARTS, thread.spans));
    return made;
  });
  const key = element("p", undefined, "key");
  BARS.forEach(([, , , words], place) => key.append(drawing(10, [0, place, 10]), ` ${words} `));
  return [head, ...lines, key];
}

function title(thread) {
  const lines = thread.context.trimEnd().replace(/=>$/, "").trimEnd().split("\n");
  return lines[lines.length - 1].trim() || "(empty)";
}

function read(thread) {
  const parts = element("pre");
  for (const [kind, text] of thread.parts) parts.append(element("span", text, kind));
  const seconds = thread.seconds === null ? "" : ` · ${number(thread.seconds)} s`;
  const figures = `depth ${thread.depth} · ${tokens(thread)} tokens · ${number(thread.calls)} calls${seconds}`;
  byId("thread").replaceChildren(element("h2", `${thread.path} · ${title(thread)}`),
    element("p", figures, "note"),
    ...section("given", thread.context), element("h3", "wrote, and read"), parts,
    ...section("failed", thread.failure), ...section("returned", thread.result));
  byId("thread").scrollTop = 0;
}

const section = (name, text) => (text ? [element("h3", name), element("pre", text, name)] : []);

async function start() {
  rows = await unpack("index");
  for (const row of rows) {
    const texts = [row.task, row.category, row.text, row.message, row.outcome, row.run];
    row.sought = texts.join("\n").toLowerCase();
  }
  byKey = new Map(rows.map((row) => [row.key, row]));
  options("run", "run");
  options("category", "category");
  options("outcome", "outcome");
  headings();
  byId("filter").addEventListener("input", filter);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("back").addEventListener("click", () => { page -= 1; list(); });
  byId("forward").addEventListener("click", () => { page += 1; list(); });
  addEventListener("hashchange", route);
  filter();
  await route();
}

addEventListener("DOMContentLoaded", start);
