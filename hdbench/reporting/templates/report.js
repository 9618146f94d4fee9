"use strict";
// The viewer travels compressed, once; each shape waits in its button's data-glb.
const dialog = document.querySelector("dialog");

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

let viewer;
async function show(button) {
  viewer ??= unpack(document.getElementById("viewer").textContent);
  const frame = document.createElement("iframe");
  frame.title = button.getAttribute("aria-label");
  frame.dataset.glb = button.dataset.glb;
  frame.srcdoc = await viewer;
  dialog.querySelector("h3").textContent = button.dataset.title;
  dialog.querySelector("div").replaceChildren(frame);
  if (!dialog.open) dialog.showModal();
  frame.addEventListener("load", () => frame.focus());
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.glb) show(button);
  else if (button?.dataset.copy) navigator.clipboard?.writeText(button.dataset.copy).then(() => (button.textContent = "Copied"));
  else if (button?.dataset.halt !== undefined) {
    const halted = document.body.classList.toggle("halted");
    button.setAttribute("aria-pressed", halted);
    button.textContent = halted ? "Play the pictures" : "Pause the pictures";
  } else if (button?.dataset.close !== undefined || event.target === dialog) dialog.close();
});
dialog.addEventListener("close", () => dialog.open || dialog.querySelector("div").replaceChildren());
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
