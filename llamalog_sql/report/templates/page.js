// Folding, choosing categories, and printing everything unfolded. Without it the page shows all there is.
"use strict";
for (const tools of document.querySelectorAll(".tools")) tools.hidden = false;

const timeline = document.querySelector(".timeline");
const folds = timeline ? timeline.querySelectorAll("details") : [];
for (const button of document.querySelectorAll("button[data-fold]")) {
  button.addEventListener("click", () => {
    for (const fold of folds) fold.open = button.dataset.fold === "open";
  });
}

// a step stays while it, or anything below it, has a category that is wanted; what was folded away is unfolded
const choices = document.querySelectorAll("button[data-category]");
function choose() {
  const wanted = new Set();
  for (const choice of choices) {
    if (choice.getAttribute("aria-pressed") === "true") wanted.add(choice.dataset.category);
  }
  let shown = 0;
  for (const step of [...timeline.querySelectorAll(".step")].reverse()) {
    const isWanted = wanted.has(step.dataset.category);
    shown += isWanted;
    for (let fold = step.closest("details"); isWanted && fold; fold = fold.parentElement.closest("details")) fold.open = true;
    step.hidden = !isWanted && !step.querySelector(".step:not([hidden])");
  }
  document.getElementById("chosen").textContent = `${shown} change${shown === 1 ? "" : "s"} shown`;
}
for (const choice of choices) {
  choice.addEventListener("click", () => {
    choice.setAttribute("aria-pressed", choice.getAttribute("aria-pressed") !== "true");
    choose();
  });
}

// the drawing of the jobs: each line knows its depth, what is below it follows it
const drawing = document.querySelector("svg[data-row]");
if (drawing) {
  const high = Number(drawing.dataset.row);
  const lines = [...drawing.querySelectorAll("g[data-depth]")];
  const edges = [...drawing.querySelectorAll("path.edge")];
  const place = () => {
    let y = high / 2;
    let hiddenBelow = Infinity;
    const at = [];
    lines.forEach((line, number) => {
      const depth = Number(line.dataset.depth);
      if (depth <= hiddenBelow) hiddenBelow = Infinity;
      const isAway = depth > hiddenBelow;
      line.classList.toggle("away", isAway);
      edges[number].classList.toggle("away", isAway);
      if (isAway) return;
      at[number] = y;
      line.setAttribute("transform", `translate(${line.dataset.x} ${y})`);
      const above = line.dataset.parent;
      if (above !== "") {
        const from = lines[Number(above)].dataset.x;
        edges[number].setAttribute("d", `M${from} ${at[Number(above)] + 8}V${y}H${line.dataset.x - 8}`);
      }
      y += high;
      if (line.getAttribute("aria-expanded") === "false") hiddenBelow = depth;
    });
    drawing.setAttribute("height", y - high / 2);
    drawing.setAttribute("viewBox", `0 0 ${drawing.getAttribute("width")} ${y - high / 2}`);
  };
  const fold = (line, isOpen) => {
    line.setAttribute("aria-expanded", isOpen);
    place();
  };
  drawing.setAttribute("role", "group");
  for (const line of lines) {
    if (line.dataset.below === "0") continue;
    line.setAttribute("role", "button");
    line.setAttribute("tabindex", "0");
    line.setAttribute("aria-expanded", "true");
    const toggle = () => fold(line, line.getAttribute("aria-expanded") !== "true");
    line.addEventListener("click", toggle);
    line.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") toggle();
      else if (event.key === "ArrowLeft") fold(line, false);
      else if (event.key === "ArrowRight") fold(line, true);
      else return;
      event.preventDefault();
    });
  }
  window.addEventListener("beforeprint", () => {
    for (const line of lines) if (line.hasAttribute("aria-expanded")) line.setAttribute("aria-expanded", "true");
    place();
  });
}

// where the style cannot unfold for print
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const fold of closed) fold.open = true;
});
window.addEventListener("afterprint", () => {
  for (const fold of closed) fold.open = false;
});
