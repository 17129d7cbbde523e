// Slack's mrkdwn as elements. Nothing in it can become HTML.
import { clock, h } from "./dom.js";

const signs = { white_check_mark: "✅", x: "❌", warning: "⚠️", rocket: "🚀", no_entry_sign: "🚫", ship: "🚢", tada: "🎉" };
const decode = (s) => s.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

const rules = [
  [/^```\n?([\s\S]+?)\n?```/, (m) => h("pre", null, decode(m[1]))],
  [/^`([^`\n]+)`/, (m) => h("code", null, decode(m[1]))],
  [/^<!date\^(\d+)\^([^|>]*)\|[^>]*>/, (m) => h("time", null, date(+m[1], m[2]))],
  [/^<@([A-Z0-9]+)(?:\|([^>]*))?>/, (m, c) => h("span", { class: "mention" }, "@" + (c.names[m[1]] || m[2] || m[1]))],
  [/^<!(here|channel|everyone)[^>]*>/, (m) => h("span", { class: "mention" }, "@" + m[1])],
  [/^<(https?:[^|>]+)\|([^>]*)>/, (m, c) => h("a", { href: decode(m[1]) }, inline(m[2], c))],
  [/^<(https?:[^>]+)>/, (m) => h("a", { href: decode(m[1]) }, decode(m[1]))],
  [/^\*(?=\S)([^\n]*?\S)\*(?![\w*])/, (m, c) => h("strong", null, inline(m[1], c)), true],
  [/^_(?=\S)([^\n]*?\S)_(?!\w)/, (m, c) => h("em", null, inline(m[1], c)), true],
  [/^~(?=\S)([^\n]*?\S)~(?!\w)/, (m, c) => h("s", null, inline(m[1], c)), true],
  [/^:([a-z0-9_+-]+):/, (m) => signs[m[1]] || m[0]],
  [/^\n/, () => h("br")],
];

function inline(text, c) {
  const out = [];
  let plain = "";
  for (let i = 0; i < text.length; ) {
    const rest = text.slice(i);
    const boundary = i === 0 || !/\w/.test(text[i - 1]);
    const hit = rules.map(([re, to, word]) => (!word || boundary) && [re.exec(rest), to]).find((r) => r && r[0]);
    if (!hit) {
      plain += text[i++];
      continue;
    }
    if (plain) out.push(decode(plain));
    plain = "";
    out.push(hit[1](hit[0], c));
    i += hit[0][0].length;
  }
  if (plain) out.push(decode(plain));
  return out;
}

function date(seconds, format) {
  const d = new Date(seconds * 1000);
  const today = d.toDateString() === new Date().toDateString();
  const tomorrow = d.toDateString() === new Date(Date.now() + 864e5).toDateString();
  const day = today ? "today" : tomorrow ? "tomorrow" : d.toLocaleDateString([], { day: "numeric", month: "short" });
  return format.replace(/\{date[a-z_]*\}/g, day).replace(/\{time(_secs)?\}/g, clock(d));
}

// text shows a text object of Block Kit.
export function text(t, names) {
  if (!t) return "";
  if (typeof t === "string") return t;
  if (t.type === "plain_text") return t.text;
  const blocks = [];
  for (const part of t.text.split(/((?:^&gt; ?.*(?:\n|$))+)/m)) {
    if (/^&gt;/.test(part)) blocks.push(h("blockquote", null, inline(part.trimEnd().replace(/^&gt; ?/gm, ""), { names })));
    else if (part) blocks.push(inline(part, { names }));
  }
  return blocks;
}
