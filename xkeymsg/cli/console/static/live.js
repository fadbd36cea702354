// Keeps a page current. The server says that something changed, and the page is requested again;
// then each element with `data-live` that differs is replaced. Nothing is parsed from text here. The
// page says "live" only if it shows the present state.
"use strict";
const status = document.getElementById("live");
const pause = document.getElementById("pause");
let connected = false;
let paused = false;
let waiting = false;
let failed = false;
let stale = false; // something changed that is not shown

function replaced(before, after) {
  const open = new Set([...before.querySelectorAll("details[open][id]")].map((each) => each.id));
  const scrolled = [...before.querySelectorAll(".frame")].map((each) => [each.scrollLeft, each.scrollTop]);
  const focused = before.contains(document.activeElement) ? document.activeElement.id : "";
  const ours = document.importNode(after, true);
  ours.querySelectorAll("details[id]").forEach((each) => { each.open = open.has(each.id); });
  before.replaceWith(ours);
  ours.querySelectorAll(".frame").forEach((each, at) => { each.scrollTo(...(scrolled[at] ?? [0, 0])); });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

const isSelected = () => !getSelection().isCollapsed;

function say() {
  let text = "live";
  if (!connected) text = "not connected: shows the last state";
  else if (paused) text = "paused: shows the last state";
  else if (failed) text = "the update failed: shows the last state";
  else if (stale && isSelected()) text = "waits, because text is selected: shows the last state";
  if (status.textContent !== text) status.textContent = text;
}

function refresh() {
  stale = true;
  if (!paused && !waiting && !document.hidden && !isSelected()) request();
  say();
}

function request() {
  const asked = new XMLHttpRequest();
  waiting = true;
  stale = false;
  asked.open("GET", location.pathname + location.search);
  asked.responseType = "document";
  asked.timeout = 20000;
  asked.onloadend = () => {
    const page = asked.status === 200 ? asked.response : null;
    waiting = false;
    failed = !page;
    if (failed) setTimeout(refresh, 5000);
    if (paused || isSelected() || failed) stale = true;
    else show(page);
    if (stale && !failed) refresh();
    say();
  };
  asked.send();
}

function show(page) {
  for (const before of document.querySelectorAll("[data-live][id]")) {
    const after = page.getElementById(before.id);
    if (after && !before.isEqualNode(after)) replaced(before, after);
  }
}

function listen() {
  const events = new EventSource(status.dataset.events);
  const leave = () => events.close();
  events.onopen = () => {
    connected = true;
    refresh(); // changes before this have sent no event
  };
  events.onerror = () => {
    connected = false;
    if (events.readyState === EventSource.CLOSED) { // refused: the browser does not try again
      window.removeEventListener("pagehide", leave);
      setTimeout(listen, 10000);
    }
    say();
  };
  events.addEventListener("changed", refresh);
  window.addEventListener("pagehide", leave);
}

if (status) {
  listen();
  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("selectionchange", () => { if (stale) refresh(); });
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    refresh();
  });
}
