// The page: fetches what there is, paints it, and sends what people do.
import { h, paint } from "./dom.js";
import { guide, happened, people, scene, steps } from "./guide.js";
import { cluster } from "./cluster.js";
import { gitlab, slipway } from "./panels.js";
import { dialog, slack } from "./slack.js";

const $ = (id) => document.getElementById(id);
const ui = { user: "ada", open: undefined, confirm: null };
const log = [];
let state = null, last = "", shownNext = "", gone = false;

async function act(what, body, then) {
  try {
    const r = await fetch("/api/" + what, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user: ui.user, ...body }) });
    if (r.ok) return then?.();
    toast(sentence(await r.text()));
  } catch {
    toast("The demo does not answer. Is it still running?");
  }
}

const sentence = (s) => s.trim().replace(/^./, (c) => c.toUpperCase()).replace(/[^.!?]$/, "$&.");

let toastEnds;
function toast(text) {
  paint($("toast"), h("p", { key: text + Date.now() }, text));
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => paint($("toast")), 7000);
}

function redraw() {
  if (!state) return;
  const sc = scene(state, ui.user);
  paint($("steps"), steps(state));
  paint($("guide"), guide(sc, state, log, act));
  paint($("who"), h("span", null, "You are"), Object.entries(people).map(([id, p]) => h("button", { key: id, role: "radio", "aria-checked": String(ui.user === id), tabindex: ui.user === id ? "0" : "-1", onclick: () => { ui.user = id; ui.confirm = null; redraw(); } }, h("b", null, p.name), h("small", null, p.can))));
  paint($("gitlab"), gitlab(state, ui, sc, act, redraw));
  paint($("slipway"), slipway(state, sc));
  paint($("cluster"), cluster(state));
  keepBottom($("slack"), () => paint($("slack"), slack(state, ui, sc, act, redraw)));
  paintDialog();
  for (const name of ["gitlab", "slipway", "slack", "cluster"]) {
    const here = sc.watch === name || { merge: "gitlab", note: "gitlab", approve: "slack" }[sc.next?.split(":")[0]] === name;
    document.querySelector(".panel." + name).classList.toggle("now", here);
  }
  const next = sc.next || sc.watch + sc.iid;
  if (next !== shownNext) {
    shownNext = next;
    requestAnimationFrame(() => document.querySelector("[data-next], [data-look]")?.scrollIntoView({ block: "nearest" }));
    if (!sc.next && matchMedia("(max-width: 900px)").matches) document.querySelector(".panel.now")?.scrollIntoView({ block: "start" });
    else if (!sc.next) $("gitlab").querySelector(".mr.open")?.scrollIntoView({ block: "nearest" });
  }
}

// keepBottom scrolls as chats do: to the newest message, unless somebody reads further up.
function keepBottom(el, change) {
  const atEnd = el.scrollHeight - el.scrollTop - el.clientHeight < 40;
  change();
  if (atEnd) el.scrollTop = el.scrollHeight;
}

let before = null; // what had the focus when a window opened
function paintDialog() {
  const root = $("dialog"), was = root.childElementCount > 0;
  paint(root, dialog(state, ui, act, redraw));
  const is = root.childElementCount > 0;
  $("slack").inert = is;
  if (is && !was) {
    before = document.activeElement;
    (root.querySelector("[data-first]") || root.querySelector("button"))?.focus();
  } else if (was && !is) {
    (before?.isConnected ? before : $("slack")).focus({ preventScroll: true });
  }
}

document.addEventListener("keydown", (e) => {
  if (e.key === "Escape") $("dialog").querySelector(".shade")?.click();
  const radio = e.target.closest?.("[role=radio]");
  const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
  if (radio && way) {
    const all = [...$("who").querySelectorAll("[role=radio]")];
    const to = all[(all.indexOf(radio) + way + all.length) % all.length];
    to.click();
    to.focus();
    e.preventDefault();
  }
});

// Links of Slipway are real; what would lead into GitLab, Slack or the shop is shown here.
document.addEventListener("click", (e) => {
  const a = e.target.closest?.("a[href]");
  if (!a || !state || a.origin === location.origin) return;
  if (a.origin === state.slipway) {
    a.target = "_blank";
    a.rel = "noopener";
    return;
  }
  e.preventDefault();
  const mr = a.origin === state.gitlab && /\/merge_requests\/(\d+)/.exec(a.pathname);
  if (mr) {
    ui.open = +mr[1];
    redraw();
    $("mr-" + mr[1])?.scrollIntoView({ block: "nearest" });
    return;
  }
  toast(a.origin === state.gitlab ? "In real life this opens GitLab." : /\/archives\//.test(a.pathname) ? "In real life this opens Slack." : `In real life this opens ${a.host}.`);
});

let busy = false, again = false;
async function refresh() {
  again = true;
  if (busy) return;
  busy = true;
  while (again) {
    again = false;
    try {
      const raw = await (await fetch("/api/state")).text();
      if (raw !== last) {
        last = raw;
        take(JSON.parse(raw));
      }
    } catch {
      // the stream notices as well, and asks again
    }
  }
  busy = false;
}

let count = 0;
function take(next) {
  const at = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  if (state) {
    for (const text of happened(state, next)) log.unshift({ n: ++count, at, text });
    if (next.merge_requests.some((m) => m.state === "merged" && state.merge_requests.find((o) => o.iid === m.iid)?.state === "opened")) ui.open = undefined;
  }
  const said = state ? talk(state) : Infinity, now = talk(next);
  state = next;
  redraw();
  if (said < now) [...$("gitlab").querySelectorAll(".mr.open .note")].at(-1)?.scrollIntoView({ block: "nearest" });
}

// talk counts the comments beside Slipway's own note.
const talk = (s) => s.merge_requests.flatMap((m) => m.notes || []).filter((n) => n.reply || n.author !== "slipway").length;

// A standby counts down although nothing happens meanwhile.
setInterval(() => {
  if (state?.deliveries?.some((d) => d.stages?.some((st) => st.standby))) redraw();
}, 1000);

const stream = new EventSource("/api/events");
stream.onmessage = () => {
  if (gone) toast("The demo is back.");
  gone = false;
  refresh();
};
stream.onerror = () => {
  gone = true;
  toast("The demo has ended, or cannot be reached. Start it again with: slipway demo");
};
refresh();
