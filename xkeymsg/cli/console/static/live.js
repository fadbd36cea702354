// Keeps a page current. The server says that something changed, and the page is requested again;
// then each element with `data-live` that differs is replaced. Nothing is parsed from text here.
"use strict";
const status = document.getElementById("live");
const pause = document.getElementById("pause");
let paused = false;
let waiting = false;

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

function refresh() {
  if (paused || waiting || document.hidden || !getSelection().isCollapsed) return;
  waiting = true;
  const request = new XMLHttpRequest();
  request.open("GET", location.pathname + location.search);
  request.responseType = "document";
  request.timeout = 20000;
  request.onloadend = () => {
    waiting = false;
    const page = request.status === 200 ? request.response : null;
    if (!page || paused) return;
    for (const before of document.querySelectorAll("[data-live][id]")) {
      const after = page.getElementById(before.id);
      if (after && !before.isEqualNode(after)) replaced(before, after);
    }
  };
  request.send();
}

if (status) {
  const events = new EventSource(status.dataset.events);
  events.onopen = () => { status.textContent = "live"; };
  events.onerror = () => { status.textContent = "not connected: shows the last state"; };
  events.addEventListener("changed", refresh);
  document.addEventListener("visibilitychange", refresh);
  window.addEventListener("pagehide", () => events.close());
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    refresh();
  });
}
