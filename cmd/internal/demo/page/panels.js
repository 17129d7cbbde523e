// GitLab and Slipway.
import { h, clock } from "./dom.js";
import { people } from "./guide.js";

const glyphs = { success: "✓", succeeded: "✓", failed: "✕", running: "", asking: "?", queued: "⏳", pending: "", created: "", manual: "▶", canceled: "■", skipped: "–", rejected: "✕", expired: "✕", superseded: "–", "rolling back": "↺", "rolled back": "↺" };
const tones = { success: "ok", succeeded: "ok", failed: "bad", rejected: "bad", expired: "bad", running: "run", "rolling back": "back run", "rolled back": "back", asking: "ask", queued: "wait" };
const dot = (status) => h("i", { class: "dot " + (tones[status] || "idle"), role: "img", "aria-label": status }, glyphs[status] ?? "");

export const avatar = (who) => h("i", { class: "avatar " + who, "aria-hidden": "true" }, who === "slipway" ? "⛵" : who[0].toUpperCase());

const marks = {
  good: ["good", "good change"], worse: ["bad", "will lose requests"], slower: ["limping", "a little slower"], bad: ["bad", "will crash"], limping: ["limping", "will fail its check"], first: ["", "first release"], repair: ["good", "repair"],
};
const about = {
  good: "Changes the shop's words. It works.",
  worse: "Tries each payment twice. It works, but 4 % of the requests fail where it was 0.2 %, and customers wait longer.",
  slower: "A better search that takes a quarter more time. Good enough? Nobody has said.",
  bad: "Adds a second container to the pod, whose program crashes as soon as it starts. Nobody noticed in review.",
  limping: "Urgent, so it skips the canary. Lets another provider take the cards, in a container of its own. Its pods get ready and the smoke test passes, but customers cannot pay.",
  repair: "Removes the broken container from main, so that the next merge is fine.",
  first: "",
};

export function gitlab(s, ui, sc, act, redraw) {
  const open = ui.open ?? sc.iid;
  return s.merge_requests.map((m) => {
    const [tone, mark] = marks[m.kind] || ["", ""];
    const next = sc.next === "merge:" + m.iid;
    return h("article", { class: "mr " + m.state + (open === m.iid ? " open" : ""), key: m.iid, id: "mr-" + m.iid },
      h("header", null,
        h("button", { class: "fold", "aria-expanded": String(open === m.iid), onclick: () => { ui.open = open === m.iid ? 0 : m.iid; redraw(); } },
          h("span", { class: "state " + m.state }, m.state === "merged" ? "Merged" : "Open"),
          h("strong", null, m.title),
          h("small", null, `!${m.iid} by ${m.author}`, mark && h("em", { class: "mark " + tone }, mark))),
        m.state === "opened" && h("button", { class: "merge" + (next ? " primary" : ""), "data-next": next, disabled: !s.ready, onclick: () => act("merge", { iid: m.iid }, () => { ui.open = undefined; }) }, "Merge")),
      open === m.iid && h("div", { class: "inside" }, m.state === "opened" ? h("p", { class: "about" }, about[m.kind], s.broken && /slower|bad|limping/.test(m.kind) && !m.blocked ? " It also takes the container that is no good out again." : "") : merged(m, s, sc, act)));
  });
}

function merged(m, s, sc, act) {
  const bare = (name) => name.replace(/^slipway\//, "");
  // What a commit status means is in its description: GitLab's own words are few.
  const meant = (j) => Object.keys(tones).find((t) => j.description.startsWith(t)) || j.status;
  const graph = (label, all) => all.length ? h("div", { class: "graph" }, h("b", null, label), h("ol", null, all.map((j) => h("li", { key: j.name, title: j.description || j.status }, dot(meant(j)), bare(j.name))))) : null;
  const names = (s.deliveries?.find((d) => d.iid === m.iid && !d.rollback)?.stages || []).map((st) => st.name);
  const place = (j) => names.indexOf(bare(j.name)) + 1 || 99;
  return [
    graph("CI pipeline", m.jobs || []), graph("Slipway", (m.stages || []).slice().sort((a, b) => place(a) - place(b))),
    m.deployments?.length ? h("p", { class: "deployments" }, h("b", null, "Deployments"), m.deployments.map((d) => h("span", { key: d.id, title: d.status }, dot(d.status), d.environment))) : null,
    (m.notes || []).map((n) => h("div", { class: "note" + (n.reply ? " reply" : "") + (n.author === "slipway" ? " ours" : ""), key: n.id, "data-look": !n.reply && n.author === "slipway" && sc.next === "note:" + m.iid },
      h("p", { class: "by" }, avatar(n.author), h("b", null, people[n.author]?.name || "Slipway"), h("time", null, clock(n.at)), (n.emoji || []).map((e) => h("span", { class: "emoji", key: e }, e))),
      h("div", { class: "md", html: n.html }))),
    h("form", { class: "comment", onsubmit: (e) => {
      e.preventDefault();
      const input = e.target.elements.body;
      act("comment", { iid: m.iid, body: input.value }, () => { input.value = ""; });
    } },
      h("input", { name: "body", autocomplete: "off", maxlength: "2000", list: "commands", placeholder: "Comment, e.g. @slipway status", "aria-label": "Comment on !" + m.iid }),
      h("datalist", { id: "commands" }, ["approve", "reject because …", "status", "rollback", "cancel", "retry", "help"].map((c) => h("option", { value: "@slipway " + c, key: c }))),
      h("button", null, "Comment")),
  ];
}

const statusWords = {
  loading: "Reading .slipway.yml", waiting: "Waiting for CI", running: "Under way", succeeded: "Delivered", failed: "Failed", "rolled back": "Rolled back",
  rejected: "Rejected", canceled: "Canceled", superseded: "Superseded", invalid: "Not started",
};

const says = (d) => d.asking ? "Waiting for people" : d.rollback && d.status === "succeeded" ? "Rolled back" : statusWords[d.status] || d.status;

export function slipway(s, sc) {
  const all = s.deliveries || [];
  const now = all.find((d) => d.iid === sc.iid) || all[0];
  if (!now) return h("p", { class: "empty" }, "No delivery yet. A merge starts one.");
  const mr = s.merge_requests.find((m) => m.iid === now.iid);
  const tone = now.asking ? "ask" : now.finished ? tones[now.status] || "idle" : "run";
  const before = !mr?.sha || sc.next?.startsWith("merge:");
  return [
    before && h("p", { class: "empty", key: "idle" }, "Waiting for a merge. The last delivery:"),
    h("div", { class: "delivery " + tone, key: now.id },
      h("p", { class: "head" }, h("span", { class: "pill " + tone }, says(now)), now.seconds ? h("small", null, now.seconds + " s") : null),
      h("p", { class: "what" }, version(now.iid), " ", now.rollback ? "Rollback of " : "", mr?.title),
      h("ol", { class: "stages" }, (now.stages || []).map((st) => h("li", { key: st.name, class: (tones[st.status] || "idle") + " " + (st.status === "pending" ? "pending" : "") },
        dot(st.status), h("div", null, h("b", null, st.name), h("small", null, word(st)), st.says && !/pending|skipped/.test(st.status) ? h("p", { key: st.says }, st.says) : null)))),
      !now.stages?.length && h("p", { class: "says" }, now.status === "waiting" ? "Starts when the CI pipeline has passed." : now.reason),
      h("a", { class: "button", href: now.url, target: "_blank", rel: "noopener" }, "Delivery page ↗")),
    all.length > 1 && h("div", { class: "older", key: "older" }, h("b", null, "Other deliveries"), h("ul", null, all.filter((d) => d !== now).slice(0, 8).map((d) => h("li", { key: d.id },
      h("a", { href: d.url, target: "_blank", rel: "noopener" }, dot(d.asking ? "asking" : d.status), `!${d.iid} ${says(d)}`))))),
  ];
}

function word(st) {
  if (st.kind === "judgement" && st.status === "succeeded") return "approved";
  return { pending: "to come", asking: "asks people" }[st.status] || st.status;
}

export const version = (iid) => h("span", { class: "version v" + (iid % 6) }, "!" + iid);
