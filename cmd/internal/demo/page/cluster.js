// The cluster: what runs in each environment, who gets the traffic, and what customers see.
import { h } from "./dom.js";
import { version } from "./panels.js";

const mrOf = (s, sha) => s.merge_requests.find((m) => m.sha && m.sha.startsWith(sha));
const tagOf = (image) => (image || "").split(":").pop();
const born = (x) => x.Created || x.Pods?.map((p) => p.Created).sort()[0] || "";
const byAge = (a, b) => born(a).localeCompare(born(b)) || a.Name.localeCompare(b.Name);

export function cluster(s) {
  return [...s.places.map((p) => h("section", { class: "place", key: p.environment },
    h("h3", null, p.environment, h("small", { title: "namespace" }, p.namespace)),
    p.environment === "production" && p.workloads?.length ? customers(s) : null,
    p.workloads?.length ? workloads(s, p) : h("p", { class: "empty" }, "Nothing runs here yet."))),
  h("a", { class: "button where", key: "where", href: s.slipway + "/environments", target: "_blank", rel: "noopener" }, "See what runs where ↗")];
}

function workloads(s, p) {
  const all = p.workloads.slice().sort(byAge), beside = all.filter((w) => w.Labels?.["slipway.dev/version"]);
  return [all.filter((w) => !beside.includes(w)).map((w) => rolling(s, w)),
    beside.length > 0 && h("div", { class: "releases", key: "releases" }, beside.map((w) => release(s, p, w)))];
}

// customers shows what the shop answers now.
function customers(s) {
  const ok = s.shop.status === 200, sha = /version ([0-9a-f]{8})/.exec(s.shop.text)?.[1], mr = sha && mrOf(s, sha);
  return h("div", { class: "customers " + (ok ? "ok" : "bad"), key: "customers" },
    h("b", null, ok ? "Customers see" : "Customers get an error", mr ? version(mr.iid) : s.shop.status && !ok ? h("code", null, s.shop.status) : null),
    h("p", { key: s.shop.text }, s.shop.text));
}

// release is one of the Deployments that stand side by side in blue-green.
function release(s, p, w) {
  const mr = mrOf(s, tagOf(w.Images[0])), pods = (w.Pods || []).slice().sort(byAge);
  const [look, says] = role(s, p, w);
  return h("div", { class: "workload release " + look + " v" + ((mr?.iid ?? 0) % 6), key: w.Name, title: w.Name },
    h("p", { class: "head" }, version(mr?.iid ?? "?"), h("b", { class: "role" }, says), h("span", { class: w.Ready < w.Desired ? "short" : "" }, `${w.Ready}/${w.Desired}`)),
    h("ul", { class: "pods small" }, pods.map((pod) => podBox(s, pod, true))));
}

// role says what a release is there for, in the words of the page.
function role(s, p, w) {
  const track = w.Labels?.["slipway.dev/track"];
  if (/^(baseline|canary)$/.test(track)) return w.Pods?.every((pod) => pod.Reason === "Terminating") ? ["going", track + " is going"] : [w.Ready < w.Desired ? "coming" : "live", track];
  if (w.Pods?.some((pod) => p.traffic?.includes(pod.Name))) return ["live", "gets the traffic"];
  const st = s.deliveries?.filter((d) => !d.finished).flatMap((d) => d.stages || []).find((st) => st.place === p.environment && /running|rolling back/.test(st.status));
  if (w.Pods?.length && w.Pods.every((pod) => pod.Reason === "Terminating") || !w.Desired) return ["going", "is going"];
  if (st?.status === "rolling back") return ["going", "was taken back"];
  if (!st?.standby) return ["coming", w.Ready < w.Desired ? "comes up" : "is ready"];
  const left = Math.ceil((st.standby - Date.now()) / 1000);
  return ["standby", left > 0 ? `on standby, ${left} s` : "on standby"];
}

// rolling is a Deployment whose pods are replaced one by one.
function rolling(s, w) {
  return h("div", { class: "workload", key: w.Kind + w.Name },
    h("p", { class: "head" }, h("b", null, w.Name), h("span", { class: w.Ready < w.Desired ? "short" : "" }, `${w.Ready}/${w.Desired} ready`)),
    h("ul", { class: "pods" }, (w.Pods || []).slice().sort(byAge).map((pod) => podBox(s, pod, false))));
}

function podBox(s, pod, small) {
  const crash = /crash|error|pull/i.test(pod.Reason), stopping = pod.Reason === "Terminating";
  const look = crash ? "crash" : stopping ? "stopping" : pod.Ready ? "ready" : "starting";
  const tag = tagOf(pod.Images[0]), mr = mrOf(s, tag), color = "v" + ((mr?.iid ?? 0) % 6);
  const extra = small ? [] : pod.Images.slice(1).map((i) => i.split("/").pop());
  const says = crash ? pod.Reason : look === "starting" && pod.Reason && pod.Reason !== "ContainerCreating" ? pod.Reason : look;
  return h("li", { class: "pod " + look + " " + color, key: pod.Name, title: `${pod.Name}\n${pod.Images.join("\n")}\n${pod.Phase} ${pod.Reason} ${pod.Message}` },
    !small && [h("b", { class: "version " + color }, mr ? "!" + mr.iid : "?"), h("code", null, tag.slice(0, 8))],
    h("span", { class: "phase" }, says), extra.map((e) => h("small", { key: e }, "+ " + e)), pod.Restarts > 0 && h("small", { class: "restarts", key: "r" }, `${pod.Restarts} restart${pod.Restarts > 1 ? "s" : ""}`));
}
