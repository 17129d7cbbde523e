// The Slack channel as one person sees it, and the windows that open over it.
import { h, clock } from "./dom.js";
import { text } from "./mrkdwn.js";
import { people } from "./guide.js";
import { avatar } from "./panels.js";

export function slack(s, ui, sc, act, redraw) {
  const me = people[ui.user].id;
  const names = Object.fromEntries(s.slack.users.map((u) => [u.id, u.real_name]));
  const shown = [...(s.slack.messages || []), ...(s.slack.ephemerals || []).filter((m) => m.ephemeral_to === me)].filter((m) => !m.deleted).sort((a, b) => a.ts - b.ts);
  if (!shown.length) return h("p", { class: "empty" }, "Nothing yet. Slipway writes one message for each delivery and keeps it up to date.");
  return shown.map((m) => {
    const who = m.from_app ? "slipway" : Object.keys(people).find((k) => people[k].id === m.user) || "?";
    return h("article", { class: "message" + (m.ephemeral_to ? " private" : ""), key: m.ts + (m.ephemeral_to || ""), "data-ts": m.ts },
      m.ephemeral_to && h("p", { class: "only" }, "👁 Only visible to you"),
      m.thread_ts && m.thread_ts !== m.ts && h("p", { class: "only" }, "↪ replied to the message above, so that people are told"),
      avatar(who),
      h("div", null,
        h("p", { class: "by" }, h("b", null, m.from_app ? "Slipway" : names[m.user]), m.from_app && h("em", null, "APP"), h("time", null, clock(m.ts * 1000))),
        m.blocks?.length ? m.blocks.map((b) => block(b, m, { names, sc, ui, act, redraw })) : h("div", { class: "section" }, text({ type: "mrkdwn", text: m.text }, names))));
  });
}

function block(b, m, c) {
  const key = b.block_id;
  switch (b.type) {
    case "header": return h("h4", { key }, text(b.text, c.names));
    case "section": return h("div", { class: "section", key }, text(b.text, c.names),
      b.fields && h("div", { class: "fields" }, b.fields.map((f) => h("div", null, text(f, c.names)))),
      b.accessory && element(b.accessory, b, m, c));
    case "context": return h("div", { class: "context", key }, b.elements.map((e) => e.type === "image" ? null : h("span", null, text(e, c.names))));
    case "divider": return h("hr", { key });
    case "actions": return h("div", { class: "actions", key }, b.elements.map((e) => element(e, b, m, c)));
    default: return null;
  }
}

function element(e, b, m, c) {
  if (e.type !== "button") return null;
  const about = m.metadata?.event_payload?.id?.split("-")[1];
  const next = c.sc.next === "approve:" + about && e.action_id === "approve";
  const press = () => c.act("press", { ts: m.ts, button: b.block_id + "/" + e.action_id });
  return h("button", { key: e.action_id, class: e.style || "", "data-next": next, "data-action": e.action_id, onclick: () => {
    if (e.url) return window.open(e.url, "_blank", "noopener");
    if (!e.confirm) return press();
    c.ui.confirm = { ...e.confirm, yes: press };
    c.redraw();
  } }, text(e.text, c.names));
}

// dialog is the question that a button asks back, or the modal in front.
export function dialog(s, ui, act, redraw) {
  if (ui.confirm) {
    const q = ui.confirm, done = () => { ui.confirm = null; redraw(); };
    return [shade(done), h("form", { class: "dialog small", role: "alertdialog", "aria-labelledby": "dialog-title", onsubmit: (e) => { e.preventDefault(); done(); q.yes(); } },
      h("h3", { id: "dialog-title" }, text(q.title)), h("p", null, text(q.text)),
      h("footer", null, h("button", { type: "button", onclick: done }, text(q.deny)), h("button", { class: q.style || "primary", "data-next": q.style !== "danger", "data-first": true }, text(q.confirm))))];
  }
  const view = (s.slack.views || []).filter((v) => v.user === people[ui.user].id).at(-1);
  if (!view) return [];
  const close = () => act("close", { view: view.id });
  return [shade(close), h("form", { class: "dialog", key: view.id, role: "dialog", "aria-labelledby": "dialog-title", onsubmit: (e) => {
    e.preventDefault();
    act("submit", { view: view.id, values: Object.fromEntries(new FormData(e.target)) });
  } },
    h("h3", { id: "dialog-title" }, view.title),
    view.blocks.map((b) => field(b, view, s)),
    h("footer", null, h("button", { type: "button", onclick: close }, view.close || "Cancel"), view.submit && h("button", { class: "primary" }, view.submit)))];
}

const shade = (close) => h("div", { class: "shade", onclick: close });

function field(b, view, s) {
  if (b.type !== "input") {
    const names = Object.fromEntries(s.slack.users.map((u) => [u.id, u.real_name]));
    return b.type === "divider" ? h("hr") : h("div", { class: b.type }, b.text ? text(b.text, names) : (b.elements || []).map((e) => h("span", null, text(e, names))));
  }
  const e = b.element, name = b.block_id + "." + e.action_id, wrong = view.errors?.[b.block_id];
  const props = { name, id: name, "data-first": true, placeholder: e.placeholder?.text, maxlength: e.max_length, required: !b.optional, "aria-invalid": wrong ? "true" : null };
  return h("label", { key: b.block_id, for: name }, h("b", null, text(b.label), b.optional && " (optional)"),
    e.options ? h("select", props, e.options.map((o) => h("option", { value: o.value }, text(o.text)))) : e.multiline ? h("textarea", { ...props, rows: 3 }) : h("input", props),
    wrong ? h("small", { class: "wrong" }, wrong) : b.hint && h("small", null, text(b.hint)));
}
