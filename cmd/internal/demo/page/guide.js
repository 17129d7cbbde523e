// What to do next, what is happening, and what has just happened, in plain words.
import { h } from "./dom.js";

export const people = {
  ada: { name: "Ada", id: "U0ADA", can: "may approve" },
  ben: { name: "Ben", id: "U0BEN", can: "wrote the changes" },
  mallory: { name: "Mallory", id: "U0MALLORY", can: "may only look" },
};

export const find = (s, kind) => s.merge_requests.filter((m) => m.kind === kind).at(-1);
export const deliveryOf = (s, iid) => s.deliveries?.find((d) => d.iid === iid && !d.rollback);
const stageIn = (d, ...statuses) => d?.stages?.find((st) => statuses.includes(st.status));
const crashing = (s, place) =>
  s.places.some((p) => p.environment === place && (p.workloads || []).some((w) => w.Pods?.some((pod) => /crash|error/i.test(pod.Reason))));

const openRepair = (s) => s.merge_requests.find((m) => m.kind === "repair" && m.state === "opened");
const offered = (s, d, action) => s.slack.messages?.some((m) => m.metadata?.event_payload?.id === d.id && m.blocks?.some((b) => b.elements?.some((e) => e.action_id === action)));
// version names a release as people know it: by its merge request, or by its commit.
export const version = (s, sha) => {
  const m = s.merge_requests.find((m) => m.sha && m.sha.startsWith(sha));
  return m ? "!" + m.iid : sha;
};
const broke = (m) => /^(worse|bad|limping)$/.test(m.kind);
const tour = ["good", "worse", "slower", "bad", "limping"];

// scene says which action is next ("merge:3", "approve:3", "" for none) or which panel to
// watch, and which merge request it is about.
export function scene(s, user) {
  if (!s.ready) {
    return { watch: "cluster", iid: 1, title: "One moment", text: "Slipway delivers a first release of the shop, so that there is something to go back to." };
  }
  const active = s.merge_requests.map((m) => ({ m, d: s.deliveries?.find((d) => d.iid === m.iid) })).filter((x) => x.m.sha && !x.d?.finished);
  const moving = active.find((x) => !x.d?.asking);
  if (moving) return { iid: moving.m.iid, ...watching(s, moving.m, moving.d) };
  const asking = active[0];
  if (asking && !offered(s, asking.d, "approve")) {
    return { watch: "slack", iid: asking.m.iid, title: "Watch Slack", text: "Slipway brings its message there up to date." };
  }
  if (asking) {
    const iid = asking.m.iid, refusal = { ben: "You are Ben, who wrote it: press, and see Slipway refuse. Then be Ada.", mallory: "You are Mallory, who may not: press, and see Slipway refuse. Then be Ada." }[user];
    if (asking.d.stages?.some((st) => st.kind === "canary" && st.status === "asking")) {
      return { next: "approve:" + iid, iid, title: "The canary asks", text: refusal || `!${iid} answers a little more slowly than what runs: not bad enough to stop it, not good enough to pass. Approve ships it, Reject leaves production as it is.` };
    }
    const text = asking.m.kind === "limping" ? "Staging and the smoke test noticed nothing. Approve it, and see what customers get." : `Staging runs !${iid} and the smoke test passed. Slipway asks before it touches production.`;
    return { next: "approve:" + iid, iid, title: "Approve in Slack", text: refusal || text };
  }
  const last = s.deliveries.map((d) => ({ d, m: s.merge_requests.find((m) => m.iid === d.iid) })).find((x) => x.m);
  const todo = tour.map((kind) => find(s, kind)).find((m) => m.state === "opened"), repair = openRepair(s);
  if (broke(last.m) && s.broken) return { ...ended(s, last.m, last.d, !todo), iid: last.m.iid, end: true, go: todo && !todo.blocked ? todo : repair };
  if (todo?.blocked && repair) {
    return { next: "merge:" + repair.iid, iid: repair.iid, title: "Merge the repair", text: "The bad change was taken back in the cluster, but it is still in main. Ben has prepared its removal." };
  }
  if (todo) return { next: "merge:" + todo.iid, iid: todo.iid, ...inviting(s, todo) };
  const further = s.merge_requests.find((m) => m.state === "opened");
  if (further) {
    return { next: "merge:" + further.iid, iid: further.iid, title: "Play on", text: "Merge it, and this time reject it in Slack, or answer with a comment: @slipway approve." };
  }
  return { iid: last.m.iid, end: true, title: "That is Slipway", text: "Open another change and reject it, answer by a comment (@slipway approve), or be Mallory and get refused." };
}

function inviting(s, m) {
  if (m.kind === "good") return { title: "Merge this", text: "A good change, reviewed and ready. Merging it is all that people do in GitLab; Slipway does the rest." };
  if (m.kind === "worse") return { title: "Merge one that is worse", text: "It works, so nothing crashes, but customers lose requests and wait longer. See the canary find out and stop it." };
  if (m.kind === "slower") return { title: "Merge one that is slower", text: "It is a little slower than what runs. Is that good enough? The canary can't say, and asks." };
  if (m.kind === "limping") return { title: "Merge one that limps", text: "It is urgent, so it skips the canary. Its pods get ready and the smoke test passes, but customers cannot pay. See how Slipway finds out." };
  const good = find(s, "good"), there = s.deliveries.find((d) => d.iid === good.iid);
  return { title: "Now merge the bad one", text: `${there?.status === "succeeded" && !there.rollback ? `!${good.iid} is in production. ` : ""}This one crashes as soon as it starts. See what Slipway makes of it.` };
}

// ended tells how a change that is no good came to its end.
function ended(s, m, d, over) {
  const next = "note:" + m.iid, bye = over ? " That is the tour." : "";
  const back = stageIn(d, "rolled back");
  if (d.stages?.some((st) => st.kind === "canary" && st.status === "failed")) return { next, title: "The canary stopped it", text: "It was worse than the baseline beside it, so both are gone. Production went on as it was, and the note has the figures." + bye };
  if (!back) return { next, title: "It went no further", text: "It is still in main, though. Ben has prepared its removal." + bye };
  if (back.place === "staging") return { next, title: "Taken back", text: "Staging runs the release before again, production never noticed, and Slipway's note says why." + bye };
  return { next, title: "Back in one step", text: `Customers got errors for a few seconds; now ${back.now ? version(s, back.now) : "the release before"} serves them again. It was still running, so moving the traffic was enough. The note says what the check saw.` + bye };
}

function watching(s, m, d) {
  const running = stageIn(d, "rolling back") || stageIn(d, "running", "queued");
  if (!d || !running) return { watch: "gitlab", title: "Watch GitLab", text: `The CI pipeline builds and tests !${m.iid}. Slipway starts when it has passed.` };
  if (running.status === "queued") return { watch: "slipway", title: "Watch Slipway", text: `Another delivery is using ${running.place}. This one waits for its turn.` };
  if (running.kind === "canary") return { watch: "cluster", title: "Watch the canary", text: `Three fresh pods of what runs (the baseline) and three of !${m.iid} (the canary) share the traffic, and their errors and latency are compared. Time runs fast here: each second counts as a minute's worth of requests.` };
  if (running.kind === "job") return { watch: "gitlab", title: "Watch GitLab", text: "Staging runs it. Slipway plays the smoke test, a manual job of the CI pipeline, and waits for it." };
  return { watch: "cluster", title: "Watch the cluster", ...deploying(s, m, d, running) };
}

function deploying(s, m, d, st) {
  const before = st.previous ? version(s, st.previous) : "";
  if (d.rollback) return { text: `Slipway puts back what ran in ${st.place} before !${m.iid}.` };
  if (st.status === "rolling back") {
    if (st.place === "production") return { title: "The traffic goes back", text: `${st.saw ? "The check of the shop has failed. " : ""}${before} is still running: moving the traffic to it is one step. Then !${m.iid} goes.` };
    return { text: `It keeps crashing in ${st.place}. Slipway puts the recorded release back, and checks that it runs.` };
  }
  if (st.standby && s.shop.status !== 200) return { title: "Customers get errors", text: `Every pod of !${m.iid} is ready, but the shop fails. Slipway asks it every second, and ${before} is on standby.` };
  if (st.standby) return { title: "On hot standby", text: `Customers get !${m.iid}. ${before} still runs beside it for a while, ready to take the traffic back. ${offered(s, d, "promote") ? "Wait, or press Promote now or Roll back in Slack." : "Slipway asks the shop every second."}` };
  if (crashing(s, st.place)) return { text: "The new pod crashes. The old ones still serve; Slipway has seen it." };
  if (st.place === "production" && before) return { text: `Slipway brings !${m.iid} up beside ${before}. Customers stay with ${before} until every new pod is ready; then all of the traffic moves at once.` };
  return { text: `Slipway rolls !${m.iid} out to ${st.place}: a new pod comes, an old one goes, until all are new.` };
}

export function steps(s) {
  const good = find(s, "good"), g = deliveryOf(s, good?.iid), over = (kind) => !!deliveryOf(s, find(s, kind)?.iid)?.finished;
  const all = [
    ["Merge", good?.state === "merged"],
    ["Approve", !!g?.stages?.some((st) => st.kind === "judgement" && /succeeded|rejected|canceled|skipped|expired/.test(st.status))],
    ["In production", !!g?.finished],
    ["Worse", over("worse")],
    ["Slower", over("slower")],
    ["Crashes", over("bad")],
    ["Limps", over("limping")],
  ];
  const now = s.ready ? all.findIndex(([, done]) => !done) : -1;
  return all.map(([word, done], i) => h("li", { class: done ? "done" : i === now ? "now" : "", "aria-current": i === now ? "step" : null }, h("b", null, done ? "✓" : i + 1), h("span", null, word)));
}

const goOn = { slower: "Go on: merge one that is slower", bad: "Go on: merge one that crashes", limping: "Go on: merge one that limps", repair: "Play on: merge the repair" };

export function guide(sc, s, log, act) {
  const news = log[0];
  return [
    h("div", { class: "do " + (sc.next ? "act" : "look") + (sc.end ? " end" : ""), key: sc.title + sc.iid },
      h("strong", { class: "title" }, sc.next || sc.end ? "" : h("i", { class: "spin" }), sc.title),
      h("p", { "aria-live": "polite" }, sc.text)),
    sc.end && h("div", { class: "more", key: "more" }, s.broken ? sc.go && h("button", { class: "go", onclick: () => act("merge", { iid: sc.go.iid }) }, goOn[sc.go.kind]) : [
      h("button", { onclick: () => act("open", { kind: "good" }) }, "Another good change"),
      h("button", { onclick: () => act("open", { kind: "worse" }) }, "Another that is worse"),
      h("button", { onclick: () => act("open", { kind: "bad" }) }, "Another that crashes"),
      h("button", { onclick: () => act("open", { kind: "limping" }) }, "Another that limps")]),
    h("details", { class: "log", key: "log" },
      h("summary", { title: "Show what happened so far" }, h("b", null, "Just now"), h("span", { key: news?.n, class: "news" }, news ? news.text : "The demo has started.")),
      h("ol", null, log.slice(0, 40).map((e) => h("li", { key: e.n }, h("time", null, e.at), e.text)))),
  ];
}

// happened tells in words what is new in a state.
export function happened(was, s) {
  const out = [];
  const say = (text) => out.push(text);
  for (const m of s.merge_requests) {
    const before = was.merge_requests.find((x) => x.iid === m.iid);
    if (!before) say(`Ben opened !${m.iid} “${m.title}”.`);
    else if (before.state !== m.state) say(`!${m.iid} was merged; GitLab told Slipway by a hook.`);
    for (const n of (m.notes || []).filter((n) => !before?.notes?.some((o) => o.id === n.id))) {
      if (n.author !== "slipway") say(`${people[n.author]?.name || n.author} commented on !${m.iid}.`);
      else if (n.reply) say(`Slipway answered the comment on !${m.iid}.`);
    }
  }
  for (const d of s.deliveries || []) {
    const before = was.deliveries?.find((x) => x.id === d.id);
    const what = d.rollback ? `rollback of !${d.iid}` : `delivery of !${d.iid}`;
    if (!before) say(`Slipway opened a ${what}, wrote a note in GitLab and a message in Slack.`);
    for (const st of d.stages || []) {
      const old = before?.stages?.find((x) => x.name === st.name);
      if (old?.status !== st.status) stageNews(st, d, say);
      if (st.standby && !old?.standby) say(`${st.place}'s traffic goes to !${d.iid} now; ${version(s, st.previous)} is on hot standby.`);
    }
    if (d.finished && !before?.finished) say(`The ${what} ended: ${d.status !== "succeeded" ? d.status : d.rollback ? "what ran before runs again" : "delivered"}${d.seconds ? `, after ${d.seconds} s` : ""}.`);
  }
  for (const e of (s.slack.ephemerals || []).filter((e) => !was.slack.ephemerals?.some((o) => o.ts === e.ts))) {
    const who = Object.values(people).find((p) => p.id === e.ephemeral_to);
    say(`Slipway told ${who?.name || "somebody"} privately: ${e.text}`);
  }
  for (const p of s.places) {
    if (crashing(s, p.environment) && !crashing(was, p.environment)) say(`A new pod in ${p.environment} crashed.`);
  }
  if (was.shop.text !== s.shop.text) say(`Customers ${s.shop.status === 200 ? "see" : "get an error"}: ${s.shop.text}.`);
  return out;
}

function stageNews(st, d, say) {
  const words = {
    "deploy/running": `Slipway is applying !${d.iid}'s manifests to ${st.place}.`,
    "deploy/queued": `${st.place} is in use; !${d.iid} waits for its turn.`,
    "deploy/succeeded": `${st.place} runs !${d.iid} now.`,
    "canary/running": `A baseline and a canary of !${d.iid} are compared in ${st.place}.`,
    "canary/succeeded": "The canary passed.",
    "canary/asking": "The canary is neither good nor bad. Slipway asked in Slack.",
    "job/running": "Slipway played the smoke test.",
    "job/succeeded": "The smoke test passed.",
    "judgement/asking": "Slipway asked in Slack whether to go on.",
    "judgement/succeeded": st.says ? `It may go on: ${st.says}.` : "It may go on.",
    "judgement/rejected": `People said no: ${st.says}.`,
  };
  const any = { "rolling back": `${st.place || st.name} failed: ${st.says}. Slipway takes it back.`, "rolled back": `${st.place || st.name} is back on ${st.now || "the release before"}.`, failed: `${st.name} failed: ${st.says}.` };
  const text = words[st.kind + "/" + st.status] || any[st.status];
  if (text) say(text);
}
