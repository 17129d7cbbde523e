// Says times relative to now, and replaces what the page's stream says has changed.
"use strict";
(() => {
  const [main, badge, announce] = ["main", "live", "announce"].map(id => document.getElementById(id));
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function distance(seconds) {
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
    return relative.format(Math.trunc(seconds / size), unit);
  }

  function elapsed(seconds) {
    const s = Math.max(0, Math.floor(seconds)), m = Math.floor(s / 60), h = Math.floor(m / 60);
    return h ? `${h}h ${m % 60}m` : m ? `${m}m ${s % 60}s` : `${s}s`;
  }

  // absolute does not break within itself.
  function absolute(at) {
    return (at.toDateString() === new Date().toDateString() ? clock : day).format(at).replace(/\s/g, "\u00a0");
  }

  function sayTimes(root) {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime), seconds = (at - Date.now()) / 1000, as = t.dataset.as;
      let text = as === "elapsed" ? `for ${elapsed(-seconds)}` : distance(as === "deadline" ? seconds : Math.min(0, seconds));
      if (as === "both" || as === "deadline") text += ` · ${absolute(at)}`;
      if (t.title !== full.format(at)) t.title = full.format(at);
      if (t.textContent !== text) t.textContent = text;
    }
  }

  // morph makes one element like another and keeps what is equal, so that focus,
  // scrolling, selected text and opened logs stay as they are.
  function morph(was, is) {
    if (was.isEqualNode(is)) return;
    if (was.nodeName !== is.nodeName || was.id !== is.id) return was.replaceWith(is);
    if (was.nodeType === Node.TEXT_NODE) { was.data = is.data; return; }
    const keep = name => name === "open" && was.nodeName === "DETAILS";
    for (const a of [...was.attributes]) if (!is.hasAttribute(a.name) && !keep(a.name)) was.removeAttribute(a.name);
    for (const a of is.attributes) if (was.getAttribute(a.name) !== a.value && !keep(a.name)) was.setAttribute(a.name, a.value);
    const known = new Map([...was.children].filter(e => e.id).map(e => [e.id, e]));
    let at = was.firstChild;
    for (const next of [...is.childNodes]) {
      const same = next.id && known.get(next.id);
      if (same && same !== at) at = was.insertBefore(same, at);
      if (!at || (at.id && at.id !== next.id)) { was.insertBefore(next, at); continue; }
      const after = at.nextSibling;
      morph(at, next), at = after;
    }
    for (let after; at; at = after) { after = at.nextSibling; at.remove(); }
  }

  function show(page) {
    if (page.build !== document.documentElement.dataset.build) return location.reload();
    const parsed = document.createElement("template");
    parsed.innerHTML = page.html;
    sayTimes(parsed.content);
    const next = main.cloneNode(false);
    next.dataset.version = page.version;
    next.append(parsed.content);
    morph(main, next);
    document.title = `${page.title} · Slipway`;
    document.querySelector("link[rel=icon]").href = page.icon;
    if (announce.textContent !== page.announce) announce.textContent = page.announce;
  }

  let source, timer, wait = 1000;
  function say(state, words) { badge.dataset.state = state; badge.lastElementChild.textContent = words; }
  // alive: three heartbeats without a word mean that the connection is gone.
  function alive() { clearTimeout(timer); timer = setTimeout(again, 45000); }
  function open() {
    const url = new URL(main.dataset.events, location.href);
    url.searchParams.set("have", main.dataset.version);
    source = new EventSource(url);
    source.onopen = () => { wait = 1000; say("live", "Live"); alive(); };
    source.onerror = again;
    source.addEventListener("beat", alive);
    source.addEventListener("page", e => { alive(); show(JSON.parse(e.data)); });
    alive();
  }
  function again() {
    close();
    say("lost", "Reconnecting");
    timer = setTimeout(open, wait * (1 + Math.random()));
    wait = Math.min(wait * 2, 60000);
  }
  function close() { clearTimeout(timer); source?.close(); }

  badge.hidden = false;
  sayTimes(document);
  setInterval(() => sayTimes(document), 1000);
  // Browsers allow few connections to one server: only the page that is seen has one.
  document.addEventListener("visibilitychange", () => { close(); if (!document.hidden) open(); });
  addEventListener("pagehide", close);
  if (!document.hidden) open();
})();
