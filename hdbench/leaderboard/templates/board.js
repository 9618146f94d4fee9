"use strict";
// Tables are whole without this script; it sorts and filters them, and turns samples.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// A line between groups that can be told apart by the column at `place`.
function part(rows, place) {
  let last;
  for (const row of rows) {
    const group = place < 0 ? undefined : row.cells[place].dataset.group;
    row.classList.toggle("break", group !== undefined && last !== undefined && group !== last);
    last = group ?? last;
  }
}

function sort(table, place) {
  const body = table.tBodies[0];
  const key = (row) => (place ? parseFloat(row.cells[place].dataset.key) : row.dataset.name);
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort(([a], [b]) => (place ? (Number.isNaN(a) ? Infinity : a) - (Number.isNaN(b) ? Infinity : b) || 0 : a.localeCompare(b)));
  body.append(...rows.map(([, row]) => row));
  all("thead th", table).forEach((head, index) => (index === place ? head.setAttribute("aria-sort", "ascending") : head.removeAttribute("aria-sort")));
  part(body.rows, place || -1);
}

for (const table of all("main table")) {
  const heads = all("thead th", table);
  if (!table.tBodies[0]?.classList.contains("models")) continue;
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, place));
  });
  part(table.tBodies[0].rows, heads.findIndex((head) => head.hasAttribute("aria-sort")));
}

const filters = document.querySelector(".filters");
if (filters) {
  filters.hidden = false;
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", () => {
    const wanted = all("[data-filter]", filters).map((select) => [select.dataset.filter, select.value]);
    for (const section of all("main section")) section.hidden = wanted.some(([name, value]) => value && section.dataset[name] !== value);
    const text = filters.querySelector("[data-search]").value.trim().toLowerCase();
    for (const row of all("tbody tr[data-name]")) row.hidden = !row.dataset.name.includes(text);
  });
}

const dialog = document.querySelector("dialog");
if (dialog) {
  const canvas = dialog.querySelector("canvas");
  let stop = () => {};

  function unpack(button) {
    const bytes = Uint8Array.from(atob(button.dataset.points), (letter) => letter.charCodeAt(0));
    const numbers = new Int16Array(bytes.buffer);
    const frames = Number(button.dataset.frames);
    const size = numbers.length / frames;
    return Array.from({ length: frames }, (_, frame) => Float32Array.from(numbers.subarray(frame * size, (frame + 1) * size), (value) => value / 32767));
  }

  // A cloud seen through a long lens: far points first, darker and smaller.
  function show(button) {
    const frames = unpack(button);
    const brush = canvas.getContext("2d");
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let [turn, tilt, zoom, turning, playing, held] = [-0.66, 0.38, 1, !calm, !calm, null];
    let living = true;
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
    dialog.querySelector("h3").textContent = button.dataset.title;
    dialog.showModal();
    canvas.focus();
    const scale = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;

    function draw(time) {
      const points = frames[playing && frames.length > 1 ? Math.floor(time / 80) % frames.length : 0];
      const [sin, cos, up, level] = [Math.sin(turn), Math.cos(turn), Math.sin(tilt), Math.cos(tilt)];
      const radius = 0.46 * Math.min(canvas.width, canvas.height) * zoom;
      const seen = [];
      for (let i = 0; i < points.length; i += 3) {
        const x = -(points[i] * cos - points[i + 2] * sin);
        const depth = points[i] * sin + points[i + 2] * cos;
        seen.push([depth * level - points[i + 1] * up, x, points[i + 1] * level + depth * up]);
      }
      seen.sort((a, b) => b[0] - a[0]);
      brush.clearRect(0, 0, canvas.width, canvas.height);
      brush.fillStyle = ink;
      for (const [depth, x, y] of seen) {
        const size = (2.6 - depth) * radius * 0.0062;
        brush.globalAlpha = 0.9 - 0.32 * (depth + 1);
        brush.beginPath();
        brush.arc(canvas.width / 2 + x * radius, canvas.height / 2 - y * radius, size, 0, 7);
        brush.fill();
      }
    }
    function frame(time) {
      if (!living) return;
      if (turning) turn += 0.006;
      draw(time);
      requestAnimationFrame(frame);
    }
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      [held, turning] = [[event.clientX, event.clientY], false];
    };
    canvas.onpointermove = (event) => {
      if (!held) return;
      turn -= (event.clientX - held[0]) * 0.01;
      tilt = Math.max(-1.5, Math.min(1.5, tilt + (event.clientY - held[1]) * 0.01));
      held = [event.clientX, event.clientY];
    };
    canvas.onpointerup = canvas.onpointercancel = () => (held = null);
    canvas.onwheel = (event) => {
      event.preventDefault();
      zoom = Math.max(0.5, Math.min(6, zoom * Math.exp(-event.deltaY * 0.001)));
    };
    canvas.onkeydown = (event) => {
      const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
      if (event.key === " ") playing = turning = !(playing || turning);
      else if (event.key in moves) {
        turning = false;
        turn += moves[event.key][0];
        tilt = Math.max(-1.5, Math.min(1.5, tilt + moves[event.key][1]));
      } else return;
      event.preventDefault();
    };
    stop = () => (living = false);
    canvas.dataset.state = "ready";
    requestAnimationFrame(frame);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.points) show(button);
    else if (button?.dataset.halt !== undefined) {
      const halted = document.body.classList.toggle("halted");
      button.setAttribute("aria-pressed", halted);
      button.textContent = halted ? "Play the pictures" : "Pause the pictures";
    }
    else if (button?.dataset.close !== undefined || event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => stop());
}
