// Elements from data, and the smallest change from one picture to the next, so that
// focus, scrolling, typed text and motion survive an update.

export function h(tag, props, ...children) {
  return { tag, props: props || {}, children: children.flat(9).filter((c) => c != null && c !== false && c !== "") };
}

// paint makes what is inside root look as the children say.
export function paint(root, ...children) {
  patchChildren(root, children.flat(9).filter((c) => c != null && c !== false && c !== ""));
}

function make(v) {
  if (typeof v !== "object") return document.createTextNode(String(v));
  const el = document.createElement(v.tag);
  el._props = {};
  patch(el, v);
  return el;
}

function same(node, v) {
  if (typeof v !== "object") return node.nodeType === Node.TEXT_NODE;
  return node.nodeType === Node.ELEMENT_NODE && node.localName === v.tag && (node._key ?? null) === (v.props.key ?? null);
}

function patch(el, v) {
  const old = el._props || {};
  el._key = v.props.key ?? null;
  for (const name of new Set([...Object.keys(old), ...Object.keys(v.props)])) {
    const value = v.props[name];
    if (name === "key" || old[name] === value) continue;
    if (name === "html") {
      el.innerHTML = value; // rendered and cleaned by the server
    } else if (name.startsWith("on")) {
      el[name] = value || null;
    } else if (name === "open") {
      el.open = !!value;
    } else if (value == null || value === false) {
      el.removeAttribute(name);
    } else {
      el.setAttribute(name, value === true ? "" : value);
    }
  }
  el._props = v.props;
  if (!("html" in v.props)) patchChildren(el, v.children);
}

function patchChildren(el, children) {
  const keyed = new Map();
  for (const n of el.childNodes) if (n._key != null) keyed.set(n._key, n);
  let at = el.firstChild;
  for (const v of children) {
    const key = typeof v === "object" ? v.props.key : null;
    let node = key != null ? keyed.get(key) : at;
    if (node && same(node, v)) {
      if (node === at) at = at.nextSibling;
      else el.insertBefore(node, at);
      if (typeof v === "object") patch(node, v);
      else if (node.data !== String(v)) node.data = String(v);
      keyed.delete(key);
      continue;
    }
    el.insertBefore(make(v), at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

export const clock = (when) => new Date(when).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
