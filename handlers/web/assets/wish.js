// Sends what people ask for on an environment's page to the API, with the token that they typed. The token is in no
// storage, and is forgotten when the answer is there.
"use strict";
document.addEventListener("submit", async event => {
  const form = event.target.closest("form[data-wish]");
  if (!form) return;
  event.preventDefault();
  const said = form.querySelector("output"), button = form.querySelector("button"), token = form.elements.token;
  button.disabled = true, said.textContent = "Asking …";
  try {
    const answer = await fetch(form.dataset.wish, {
      method: "POST", credentials: "omit", redirect: "error",
      headers: { "Authorization": `Bearer ${token.value.trim()}`, "Content-Type": "application/json" },
      body: JSON.stringify({
        project: form.dataset.project, environment: form.dataset.environment,
        release: form.elements.release.value, reason: form.elements.reason.value, key: crypto.randomUUID(),
      }),
    });
    const told = await answer.json();
    said.textContent = told.error || told.answer || "The rollback has begun.";
    if (answer.ok && told.taken && told.url) {
      const link = document.createElement("a");
      link.href = told.url, link.textContent = "See it";
      said.append(" ", link);
    }
  } catch {
    said.textContent = "Slipway could not be reached, so nobody knows whether this came in. Look at the deliveries before you try again.";
  }
  token.value = "", button.disabled = false;
});
